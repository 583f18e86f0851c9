"""Context control by header, on every route for which a model runs."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import httpx
import pytest
from fastapi import FastAPI
from openai import AsyncOpenAI
from support.tiny_bert import write_tiny_bert

from agentkit_server.dialects._control import HEADERS
from agentkit_server.models.store import Store
from agentkit_server.residency.residency import Residence
from agentkit_server.runner.scripted import ScriptedLauncher, ScriptedModel

from .conftest import Turns

pytestmark = pytest.mark.anyio

PAGE = (Path(__file__).parents[2] / "docs/reference/openai.md").read_text(encoding="utf-8")
USER = {"role": "user", "content": "hi"}
CHAT: dict[str, Any] = {"model": "tiny", "messages": [USER], "stream": False}
GENERATING = {
    "/v1/chat/completions": CHAT,
    "/v1/completions": {"model": "tiny", "prompt": "hi"},
    "/v1/responses": {"model": "tiny", "input": "hi"},
    "/v1/messages": {"model": "tiny", "messages": [USER], "max_tokens": 5},
    "/api/chat": CHAT,
    "/api/generate": {"model": "tiny", "prompt": "hi", "stream": False},
}
LOADING = {
    "/v1/embeddings": {"model": "embedder", "input": "hi"},
    "/v1/rerank": {"model": "reranker", "query": "q", "documents": ["d"]},
    "/api/embed": {"model": "embedder", "input": "hi"},
    "/api/tokenize": {"model": "tiny", "text": "hi"},
}
EVERY = GENERATING | LOADING
MODELS = {
    "tiny": ScriptedModel(),
    "embedder": ScriptedModel(pooling="mean"),
    "reranker": ScriptedModel(pooling="rank"),
}
LONG = "word " * 200
LONG_MESSAGES = [{"role": "user", "content": LONG}, {"role": "assistant", "content": "ok"}, USER]
TOO_LONG = {
    "/v1/completions": {"prompt": LONG},
    "/v1/responses": {"input": LONG_MESSAGES},
    "/api/generate": {"prompt": LONG, "raw": True},
}


@pytest.fixture
def reranker(store: Store, tmp_path: Path) -> None:
    store.link_file("reranker", write_tiny_bert(tmp_path / "bert.gguf", "rank"))


def test_the_documented_headers_are_those_of_the_code() -> None:
    page = PAGE.split("<!-- headers -->")[1].split("<!-- /headers -->")[0]
    named = re.findall(r"^\| `([\w-]+)` \| `(\w+)` \|", page, re.MULTILINE)
    assert {name.lower(): field for name, field in named} == {
        name: header.field for name, header in HEADERS.items()
    }


@pytest.mark.parametrize("path", sorted(EVERY))
async def test_a_header_sets_how_long_the_context_is(
    http: httpx.AsyncClient, launcher: ScriptedLauncher, reranker: None, path: str
) -> None:
    body = EVERY[path]
    launcher.model = MODELS[body["model"]]
    length = 40 if body["model"] == "reranker" else 300
    answer = await http.post(path, json=body, headers={"X-Agentkit-Num-Ctx": str(length)})
    assert answer.status_code == 200, answer.text
    assert [spec.n_ctx for spec in launcher.launches] == [length]


@pytest.mark.parametrize("path", sorted(EVERY))
async def test_a_header_sets_how_long_the_model_stays(
    app: FastAPI, http: httpx.AsyncClient, launcher: ScriptedLauncher, reranker: None, path: str
) -> None:
    body = EVERY[path]
    launcher.model = MODELS[body["model"]]
    answer = await http.post(path, json=body, headers={"X-Agentkit-Keep-Alive": "-1"})
    assert answer.status_code == 200, answer.text
    residency = app.state.backend.residency
    assert isinstance(residency, Residence)
    assert [row.expires_at for row in residency.loaded()] == [None]


@pytest.mark.parametrize("path", sorted(GENERATING))
async def test_what_a_header_allows_to_be_cut_is_cut(http: httpx.AsyncClient, path: str) -> None:
    body = GENERATING[path] | TOO_LONG.get(path, {"messages": LONG_MESSAGES})
    control = {"X-Agentkit-Num-Ctx": "200"}
    refused = await http.post(path, json=body, headers=control)
    assert refused.status_code == 400, refused.text
    cut = await http.post(path, json=body, headers={**control, "X-Agentkit-Truncate": "TRUE"})
    assert cut.status_code == 200, cut.text


@pytest.mark.parametrize("path", sorted(GENERATING))
async def test_a_run_and_a_deadline_reach_the_engine(
    http: httpx.AsyncClient, launcher: ScriptedLauncher, path: str
) -> None:
    control = {"X-Agentkit-Run-Id": "run-1", "X-Agentkit-Max-Seconds": "60.5"}
    answer = await http.post(path, json=GENERATING[path], headers=control)
    assert answer.status_code == 200, answer.text
    [request] = launcher.requests
    assert (request.pin, request.deadline_ns > 0) == ("run-1", True)


@pytest.mark.parametrize("path", sorted(EVERY))
@pytest.mark.parametrize(
    ("header", "value"),
    [
        ("num-ctx", "many"),
        ("num-ctx", "0"),
        ("num-ctx", "1.5"),
        ("num-ctx", "1_000"),
        ("num-ctx", "99999999999"),
        ("num-ctx", ""),
        ("truncate", "yes"),
        ("max-seconds", "0"),
        ("max-seconds", "inf"),
        ("max-seconds", "nan"),
        ("keep-alive", ""),
        ("run-id", ""),
        ("run-id", "x" * 201),
        ("num-ctxx", "5"),
        ("context", "5"),
    ],
)
async def test_a_header_that_cannot_be_read_is_a_400_that_names_it(
    http: httpx.AsyncClient, reranker: None, launcher: ScriptedLauncher, path: str, header: str, value: str
) -> None:
    answer = await http.post(path, json=EVERY[path], headers={f"X-Agentkit-{header}": value})
    assert answer.status_code == 400, answer.text
    assert f"x-agentkit-{header}" in said(answer)
    assert launcher.launches == []


def said(answer: httpx.Response) -> str:
    """The message, in any dialect's shape."""
    error = answer.json()["error"]
    return error if isinstance(error, str) else error["message"]


async def test_a_duration_that_is_none_is_refused_as_in_the_body(http: httpx.AsyncClient) -> None:
    answer = await http.post("/v1/chat/completions", json=CHAT, headers={"X-Agentkit-Keep-Alive": "soon"})
    assert (answer.status_code, answer.json()["error"]["param"]) == (400, "keep_alive")


@pytest.mark.parametrize(
    ("headers", "fields", "status"),
    [
        ({"X-Agentkit-Num-Ctx": "300"}, {"num_ctx": 300}, 200),
        ({"X-Agentkit-Num-Ctx": "300"}, {"num_ctx": None}, 200),
        ({"X-Agentkit-Num-Ctx": "300"}, {"num_ctx": 301}, 400),
        ({"X-Agentkit-Truncate": "true"}, {"truncate": False}, 400),
        ({"X-Agentkit-Keep-Alive": "300"}, {"keep_alive": 300}, 200),
        ({"X-Agentkit-Keep-Alive": "300"}, {"keep_alive": "5m"}, 400),
    ],
)
async def test_a_header_and_a_field_have_to_say_the_same(
    http: httpx.AsyncClient, headers: dict[str, str], fields: dict[str, Any], status: int
) -> None:
    answer = await http.post("/v1/chat/completions", json=CHAT | fields, headers=headers)
    assert answer.status_code == status, answer.text
    if status == 400:
        assert answer.json()["error"]["param"] == next(iter(fields))
        assert "send one of them" in answer.json()["error"]["message"]


async def test_a_native_context_length_is_one_of_the_options(
    http: httpx.AsyncClient, launcher: ScriptedLauncher
) -> None:
    headers = {"X-Agentkit-Num-Ctx": "300"}
    for options, status in (({"num_ctx": 301}, 400), ([], 200), ({"temperature": 0}, 200)):
        answer = await http.post("/api/chat", json=CHAT | {"options": options}, headers=headers)
        assert answer.status_code == status, answer.text
    assert [spec.n_ctx for spec in launcher.launches] == [300]
    wrong = await http.post("/api/chat", json=CHAT | {"options": "no"}, headers=headers)
    assert (wrong.status_code, "options" in wrong.json()["error"]) == (400, True)


async def test_a_header_that_comes_twice_is_refused(http: httpx.AsyncClient) -> None:
    twice = [("X-Agentkit-Num-Ctx", "300"), ("x-agentkit-num-ctx", "400")]
    answer = await http.post("/v1/chat/completions", json=CHAT, headers=twice)
    assert (answer.status_code, "2 times" in said(answer)) == (400, True)


async def test_the_published_client_sends_them_with_every_request(
    http: httpx.AsyncClient, turns: Turns
) -> None:
    client = AsyncOpenAI(
        base_url="http://127.0.0.1/v1",
        api_key="unused",
        http_client=http,
        default_headers={"X-Agentkit-Num-Ctx": "512", "X-Agentkit-Truncate": "true"},
    )
    await client.chat.completions.create(model="tiny", messages=[{"role": "user", "content": "hi"}])
    [turn] = turns.asked
    assert (turn.load.num_ctx, turn.truncate) == (512, True)
