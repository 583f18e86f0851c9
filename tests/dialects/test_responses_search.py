"""A web search that the server does for the model, against a stand-in for SearXNG on loopback."""

from __future__ import annotations

import json
import threading
from collections.abc import AsyncIterator, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

import httpx
import pytest
from fastapi import FastAPI
from support.responses import events, kinds

from agentkit_server.app import create_app
from agentkit_server.errors import BadRequest, SearchFailed
from agentkit_server.models.store import Store
from agentkit_server.runner.scripted import ScriptedLauncher
from agentkit_server.search import Searxng
from agentkit_server.settings import Settings

pytestmark = pytest.mark.anyio

SEARCH = {"type": "web_search"}
FUNCTION = {"type": "function", "name": "f", "parameters": {"type": "object", "properties": {}}}


class Engine(ThreadingHTTPServer):
    """Finds two pages for every query."""

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.queries: list[str] = []
        self.status = 200
        self.results: Any = [
            {"title": "Oslo", "url": "https://oslo.example.org/a", "content": "Mild."},
            {"title": "Rome", "url": "https://rome.test/", "content": None},
        ]

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_address[1]}"


class _Handler(BaseHTTPRequestHandler):
    server: Engine

    def do_GET(self) -> None:
        query = parse_qs(urlsplit(self.path).query)
        assert query["format"] == ["json"]
        self.server.queries += query["q"]
        self.send_response(self.server.status)
        self.end_headers()
        self.wfile.write(json.dumps({"results": self.server.results}).encode())

    def log_message(self, format: str, *args: Any) -> None:
        pass


@pytest.fixture
def engine() -> Iterator[Engine]:
    with Engine() as engine:
        thread = threading.Thread(target=engine.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        yield engine
        engine.shutdown()
        thread.join()


@pytest.fixture
def settings(tmp_path: Path, engine: Engine) -> Settings:
    return Settings(host="127.0.0.1:0", models=tmp_path / "models", api_keys=[], search=engine.url)


@pytest.fixture
def app(settings: Settings, launcher: ScriptedLauncher, store: Store) -> FastAPI:
    return create_app(settings, launcher, store)


@pytest.fixture
async def http(app: FastAPI) -> AsyncIterator[httpx.AsyncClient]:
    transport = httpx.ASGITransport(app, raise_app_exceptions=False)
    async with (
        app.router.lifespan_context(app),
        httpx.AsyncClient(transport=transport, base_url="http://127.0.0.1", timeout=30) as client,
    ):
        yield client


def called(*calls: tuple[str, dict[str, Any]]) -> str:
    return "\n".join(
        f"<tool_call>\n{json.dumps({'name': name, 'arguments': arguments})}\n</tool_call>"
        for name, arguments in calls
    )


def replies(*texts: str) -> Any:
    """A script that says `texts` one after the other."""
    left = list(texts)
    return lambda prompt: left.pop(0) if len(left) > 1 else left[0]


async def ask(http: httpx.AsyncClient, **more: Any) -> httpx.Response:
    return await http.post("/v1/responses", json={"model": "tiny", "input": "hi", "tools": [SEARCH], **more})


async def test_the_server_searches_and_the_model_answers(
    http: httpx.AsyncClient, launcher: ScriptedLauncher, engine: Engine
) -> None:
    launcher.script = replies(called(("web_search", {"query": "weather oslo"})), "It is mild.")
    answer = (await ask(http, include=["web_search_call.action.sources"])).json()
    search, message = answer["output"]
    assert engine.queries == ["weather oslo"]
    assert (search["type"], search["status"]) == ("web_search_call", "completed")
    assert [each["url"] for each in search["action"]["sources"]] == [
        "https://oslo.example.org/a",
        "https://rome.test/",
    ]
    assert message["content"][0]["text"] == "It is mild."
    first, second = launcher.requests
    prompt = launcher.model.decode(second.prompt)
    assert '"content": "Mild."' in prompt and "<tool_response>" in prompt
    assert answer["usage"]["input_tokens"] == len(first.prompt) + len(second.prompt)
    assert answer["usage"]["input_tokens_details"]["cached_tokens"] >= len(first.prompt) - 1


async def test_a_search_is_streamed_and_the_conversation_goes_on_from_it(
    http: httpx.AsyncClient, launcher: ScriptedLauncher
) -> None:
    launcher.script = replies(called(("web_search", {"query": "x"})), "Mild.", "Bye.")
    found = events((await ask(http, stream=True)).text)
    steps = ["in_progress", "searching", "completed"]
    item = ["output_item.added", *(f"web_search_call.{step}" for step in steps), "output_item.done"]
    assert kinds(found)[: len(item) + 2] == ["created", "in_progress", *item]
    assert kinds(found).count("in_progress") == 1
    response = found[-1]["response"]
    after = await ask(http, input="thanks", previous_response_id=response["id"])
    assert after.status_code == 200
    assert '"content": "Mild."' in launcher.model.decode(launcher.requests[-1].prompt)
    # A client that keeps the conversation itself, without what was found.
    bare = {key: value for key, value in response["output"][0].items() if key != "results"}
    await ask(http, input=[{"role": "user", "content": "hi"}, bare, {"role": "user", "content": "so?"}])
    assert "not in the conversation any more" in launcher.model.decode(launcher.requests[-1].prompt)


async def test_a_call_of_the_callers_ends_the_searching(
    http: httpx.AsyncClient, launcher: ScriptedLauncher, engine: Engine
) -> None:
    launcher.script = called(("web_search", {"query": "x"}), ("f", {}))
    answer = (await ask(http, tools=[SEARCH, FUNCTION])).json()
    assert [item["type"] for item in answer["output"]] == ["function_call", "web_search_call"]
    assert len(launcher.requests) == len(engine.queries) == 1


async def test_searches_are_bounded(
    http: httpx.AsyncClient, launcher: ScriptedLauncher, engine: Engine
) -> None:
    searching = called(("web_search", {"query": "x"}), ("web_search", {"query": "y"}))
    launcher.script = replies(searching, searching, "Enough.")
    answer = (await ask(http, max_tool_calls=3, tool_choice={"type": "web_search"})).json()
    assert [item["status"] for item in answer["output"][:-1]] == ["completed"] * 3 + ["failed"]
    assert engine.queries == ["x", "y", "x"]
    assert answer["output"][-1]["content"][0]["text"] == "Enough."


async def test_an_engine_that_fails_is_told_to_the_model(
    http: httpx.AsyncClient, launcher: ScriptedLauncher, engine: Engine
) -> None:
    engine.status = 403
    launcher.script = replies(called(("web_search", {"query": "x"})), "I do not know.")
    search, _ = (await ask(http)).json()["output"]
    assert (search["status"], search["results"]) == ("failed", [])
    assert "its JSON answers are off" in search["error"]
    assert "answered 403" in launcher.model.decode(launcher.requests[-1].prompt)


@pytest.mark.parametrize(
    ("tool", "status", "param"),
    [
        ({"filters": {"allowed_domains": ["example.org"]}, "search_context_size": "low"}, 200, None),
        ({"user_location": {"type": "approximate"}}, 200, None),
        ({"user_location": {"type": "approximate", "city": "Oslo"}}, 501, "tools[0].user_location"),
        ({"search_context_size": "huge"}, 400, "tools[0]"),
        ({"filters": {"allowed_domains": ["Example.org"]}}, 200, None),
        (
            {"filters": {"allowed_domains": ["https://example.org"]}},
            400,
            "tools[0].filters.allowed_domains",
        ),
    ],
)
async def test_how_to_search_is_honoured_or_refused(
    http: httpx.AsyncClient, launcher: ScriptedLauncher, tool: dict[str, Any], status: int, param: str | None
) -> None:
    launcher.script = replies(called(("web_search", {"query": "x"})), "Mild.")
    answer = await ask(http, tools=[{**SEARCH, **tool}])
    assert answer.status_code == status, answer.text
    if status != 200:
        assert answer.json()["error"]["param"] == param
    elif "filters" in tool:
        [found] = answer.json()["output"][0]["results"]
        assert found["url"] == "https://oslo.example.org/a"


async def test_a_search_that_must_not_go_out_is_not_offered(http: httpx.AsyncClient) -> None:
    answer = (await ask(http, tools=[{**SEARCH, "external_web_access": False}])).json()
    assert "external_web_access is false" in answer["notes"][0]


async def test_the_password_of_an_engine_is_not_told(engine: Engine) -> None:
    engine.status = 500
    secret = engine.url.replace("//", "//user:secret@")
    with pytest.raises(SearchFailed) as failed:
        await Searxng(secret).search("x")
    assert engine.url in failed.value.message and "secret" not in failed.value.message


@pytest.mark.parametrize(
    "wrong",
    [{"search": "localhost:8888"}, {"search": "http://a:b"}, {"search": "ftp://a/"}, {"responses_keep": "x"}],
)
async def test_a_setting_that_is_wrong_is_told_before_the_start(
    settings: Settings, launcher: ScriptedLauncher, store: Store, wrong: dict[str, str]
) -> None:
    [name] = wrong
    with pytest.raises(BadRequest, match=f"AGENTKIT_{name.upper()}"):
        create_app(settings.model_copy(update=wrong), launcher, store)


async def test_an_engine_that_is_none_is_an_error_of_its_own(engine: Engine) -> None:
    engine.results = "none"
    with pytest.raises(SearchFailed, match="did not answer with the JSON of SearXNG"):
        await Searxng(engine.url).search("x")
    with pytest.raises(SearchFailed, match="does not answer"):
        await Searxng("http://127.0.0.1:1").search("x")
