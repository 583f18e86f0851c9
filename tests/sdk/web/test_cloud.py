from __future__ import annotations

import json

import httpx
import ollama
import pytest

import agentkit
from agentkit import AsyncClient, Client
from agentkit._errors import RequestError, ResponseError, WebError
from agentkit.web import Cloud, Page, SearchResult

FOUND = {"results": [{"title": "T", "url": "https://pages.test/", "content": "C", "score": 1}]}
READ = {"title": "T", "content": "C", "links": ["https://pages.test/a"]}


@pytest.fixture(autouse=True)
def key(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OLLAMA_API_KEY", "secret")


def test_a_search_is_what_the_published_client_sends(wire) -> None:
    wire.answers(json=FOUND)
    answer = wire.call("web_search", "hot water")
    ours = wire.requests[-1]
    assert (answer.results[0].title, answer["results"][0]["url"]) == ("T", "https://pages.test/")
    theirs: list[httpx.Request] = []
    transport = httpx.MockTransport(lambda request: theirs.append(request) or httpx.Response(200, json=FOUND))
    ollama.Client(transport=transport).web_search("hot water")
    assert (ours.method, ours.url) == (theirs[0].method, theirs[0].url)
    assert (
        json.loads(ours.content) == json.loads(theirs[0].content) == {"query": "hot water", "max_results": 3}
    )
    assert ours.headers["authorization"] == "Bearer secret"


def test_a_fetch_is_answered_with_title_content_and_links(wire) -> None:
    wire.answers(json=READ)
    answer = wire.call("web_fetch", "pages.test")
    assert (answer.title, answer.content, answer.links) == ("T", "C", ["https://pages.test/a"])
    assert wire.body() == {"url": "pages.test"}
    assert str(wire.requests[-1].url) == "https://ollama.com/api/web_fetch"


def test_absent_fields_are_none(wire) -> None:
    wire.answers(json={"content": "C"})
    answer = wire.call("web_fetch", "pages.test")
    assert (answer.title, answer.links, "links" in answer) == (None, None, False)


@pytest.mark.parametrize("method", ["web_search", "web_fetch"])
def test_without_a_key_nothing_is_sent(wire, method: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("OLLAMA_API_KEY")
    with pytest.raises(RequestError, match="AGENTKIT_API_KEY"):
        wire.call(method, "text")
    assert wire.requests == []


def test_our_key_and_our_address_come_before_ollamas(wire, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AGENTKIT_API_KEY", "ours")
    monkeypatch.setenv("OLLAMA_CLOUD_BASE_URL", "https://theirs.test")
    wire.answers(json=FOUND)
    wire.call("web_search", "text")
    assert wire.requests[-1].headers["authorization"] == "Bearer ours"
    assert wire.requests[-1].url.host == "theirs.test"
    monkeypatch.setenv("AGENTKIT_CLOUD_BASE_URL", "https://ours.test/v/")
    wire.call("web_search", "text")
    assert str(wire.requests[-1].url) == "https://ours.test/v/api/web_search"


def test_headers_and_login_for_ones_own_server_do_not_reach_the_cloud() -> None:
    seen: list[httpx.Request] = []
    transport = httpx.MockTransport(lambda request: seen.append(request) or httpx.Response(200, json=FOUND))
    headers = {"Authorization": "Bearer given", "X-Gateway": "inside"}
    login = {"auth": ("user", "password"), "cookies": {"id": "1"}, "params": {"team": "a"}}
    with Client("here:1", headers=headers, transport=transport, **login) as client:
        client.web_search("text")
    assert seen[0].headers["authorization"] == "Bearer given"
    assert not {"x-gateway", "cookie"} & set(seen[0].headers)
    assert str(seen[0].url) == "https://ollama.com/api/web_search"


@pytest.mark.parametrize(
    ("status", "error", "next_step"),
    [
        (401, "unauthorized", "settings/keys"),
        (403, "ollama cloud is disabled", "Searxng"),
        (429, "rate limit exceeded", "wait a while"),
    ],
)
def test_a_refusal_says_what_to_do_next(wire, status: int, error: str, next_step: str) -> None:
    wire.answers(status, json={"error": error})
    with pytest.raises(ResponseError, match=next_step) as refusal:
        wire.call("web_search", "text")
    assert refusal.value.status_code == status
    assert error in refusal.value.error


def test_another_refusal_keeps_its_own_words(wire) -> None:
    wire.answers(400, json={"error": "missing request body"})
    with pytest.raises(ResponseError) as refusal:
        wire.call("web_fetch", "pages.test")
    assert refusal.value.error == "missing request body"


def test_a_cloud_that_does_not_answer_is_not_taken_for_ones_own_server(wire) -> None:
    wire.fails(httpx.ConnectError)
    with pytest.raises(agentkit.ConnectionError, match="AGENTKIT_CLOUD_BASE_URL"):
        wire.call("web_search", "text")


def test_answers_are_waited_for_half_a_minute_unless_the_caller_says_otherwise(wire) -> None:
    wire.answers(json=FOUND)
    wire.call("web_search", "text")
    assert wire.requests[-1].extensions["timeout"]["read"] == 30


@pytest.mark.anyio
async def test_a_client_closes_what_it_has_opened_for_the_cloud() -> None:
    async with AsyncClient(
        transport=httpx.MockTransport(lambda _: httpx.Response(200, json=FOUND))
    ) as client:
        await client.web_search("text")
        opened = client._cloud_http
    assert opened.is_closed


@pytest.mark.anyio
async def test_the_cloud_is_a_search_provider_and_a_source_of_pages() -> None:
    bodies: list[dict[str, object]] = []

    def answer(request: httpx.Request) -> httpx.Response:
        bodies.append(json.loads(request.content))
        return httpx.Response(200, json=FOUND if request.url.path == "/api/web_search" else READ)

    cloud = Cloud(api_key="secret", transport=httpx.MockTransport(answer))
    assert await cloud.search("text", 50) == [SearchResult("T", "https://pages.test/", "C")]
    assert await cloud.fetch("https://pages.test/") == Page(
        "https://pages.test/", "T", "C", ("https://pages.test/a",)
    )
    assert bodies[0]["max_results"] == 10


@pytest.mark.anyio
async def test_a_refusal_of_the_cloud_is_an_error_of_the_web() -> None:
    refusing = Cloud(
        transport=httpx.MockTransport(lambda _: httpx.Response(429, json={"error": "slow down"}))
    )
    with pytest.raises(WebError, match="wait a while"):
        await refusing.search("text", 3)
