"""Tool choice on the real smollm2, which was never taught to call tools: whatever it would rather write,
what comes out is what was asked for. All fifty prompts: `just calls`."""

from __future__ import annotations

import json
import os
from collections.abc import AsyncIterator
from typing import Any

import anyio
import httpx
import pytest
from jsonschema import Draft202012Validator
from support.awkward import PROMPTS, SCHEMAS, TOOLS
from support.listening import listening
from support.smollm2 import gguf_path

from agentkit_server.app import create_app
from agentkit_server.models.store import Store
from agentkit_server.runner.process import ProcessLauncher
from agentkit_server.settings import Settings

pytestmark = pytest.mark.anyio

COUNT = int(os.environ.get("AGENTKIT_TEST_PROMPTS", "5"))
"""Prompts of each kind."""
AT_ONCE = 6
MARKERS = ("<tool_call>", "</tool_call>", "<|im_start|>", "<|im_end|>", "\ud800")
NAMED = list(SCHEMAS)


@pytest.fixture(scope="module")
def anyio_backend() -> str:
    return "asyncio"


@pytest.fixture(scope="module")
async def http(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[httpx.AsyncClient]:
    models = tmp_path_factory.mktemp("models")
    store = Store(models)
    store.link_file("smollm2", gguf_path())
    settings = Settings(host="127.0.0.1:0", models=models, api_keys=[], context_length=8192)
    async with (
        listening(create_app(settings, ProcessLauncher(), store)) as url,
        httpx.AsyncClient(base_url=url, timeout=600) as client,
    ):
        yield client


def choice(kind: str, at: int) -> Any:
    named = {"type": "function", "function": {"name": NAMED[at % len(NAMED)]}}
    return {"required": "required", "named": named, "none": "none"}[kind]


async def native(http: httpx.AsyncClient, prompt: str, tool_choice: Any) -> tuple[str, list[tuple[str, Any]]]:
    body = {
        "model": "smollm2",
        "messages": [{"role": "user", "content": prompt}],
        "tools": TOOLS,
        "tool_choice": tool_choice,
        "parallel_tool_calls": len(prompt) % 4 == 0,
        "stream": False,
        "options": {"num_predict": 300, "seed": 1},
    }
    response = await http.post("/api/chat", json=body)
    assert response.status_code == 200, response.text
    answer = response.json()
    message = answer["message"]
    calls = [
        (call["function"]["name"], call["function"]["arguments"]) for call in message.get("tool_calls", ())
    ]
    assert answer["done_reason"] in ("stop", "length")
    return message["content"], calls


async def openai(http: httpx.AsyncClient, prompt: str, tool_choice: Any) -> tuple[str, list[tuple[str, Any]]]:
    body = {
        "model": "smollm2",
        "messages": [{"role": "user", "content": prompt}],
        "tools": TOOLS,
        "tool_choice": tool_choice,
        "parallel_tool_calls": len(prompt) % 4 == 0,
        "max_tokens": 300,
        "seed": 1,
    }
    response = await http.post("/v1/chat/completions", json=body)
    assert response.status_code == 200, response.text
    [answer] = response.json()["choices"]
    message = answer["message"]
    found = message.get("tool_calls") or []
    # A token limit leaves the last call unfinished.
    finished = found if answer["finish_reason"] == "tool_calls" else found[:-1]
    calls = [(call["function"]["name"], json.loads(call["function"]["arguments"])) for call in finished]
    return message["content"] or "", calls


DIALECTS = {"native": native, "openai": openai}


@pytest.mark.parametrize("kind", ["required", "named", "none"])
@pytest.mark.parametrize("dialect", list(DIALECTS))
async def test_every_call_is_valid_and_there_are_none_where_none_may_be(
    http: httpx.AsyncClient, dialect: str, kind: str
) -> None:
    outcomes: dict[int, tuple[str, list[tuple[str, Any]]]] = {}
    limiter = anyio.CapacityLimiter(AT_ONCE)

    async def ask(at: int, prompt: str) -> None:
        async with limiter:
            outcomes[at] = await DIALECTS[dialect](http, prompt, choice(kind, at))

    # Every prompt in turn where all are asked, else one of each kind.
    chosen = list(enumerate(PROMPTS))[:: max(1, len(PROMPTS) // COUNT)][:COUNT]
    async with anyio.create_task_group() as tasks:
        for at, prompt in chosen:
            tasks.start_soon(ask, at, prompt)

    complete = 0
    for at, (text, calls) in outcomes.items():
        assert not any(marker in text for marker in MARKERS), text
        if kind == "none":
            assert calls == []
            continue
        assert not text.strip()
        complete += bool(calls)
        for name, arguments in calls:
            assert kind == "required" or name == NAMED[at % len(NAMED)]
            Draft202012Validator(SCHEMAS[name], format_checker=Draft202012Validator.FORMAT_CHECKER).validate(
                arguments
            )
    if kind != "none":
        # A call that ran into its token limit is no call, and says so.
        assert complete >= 0.8 * len(chosen)


@pytest.mark.parametrize("kind", ["required", "named"])
async def test_calls_stream_with_index_and_id(http: httpx.AsyncClient, kind: str) -> None:
    # A call that ran into its token limit is no call: the next prompt is tried.
    for at in range(5):
        end = await streamed_call(http, kind, at)
        if end != "length":
            break
    assert end == "tool_calls"


async def streamed_call(http: httpx.AsyncClient, kind: str, at: int) -> str:
    """How the answer to prompt `at` ended; one call is checked as far as it came."""
    body = {
        "model": "smollm2",
        "messages": [{"role": "user", "content": PROMPTS[at]}],
        "tools": TOOLS,
        "tool_choice": choice(kind, at),
        "parallel_tool_calls": False,
        "stream": True,
        "max_tokens": 300,
    }
    async with http.stream("POST", "/v1/chat/completions", json=body) as response:
        assert response.headers["x-agentkit-constraint"] in ("exact", "checked")
        lines = [line async for line in response.aiter_lines() if line.startswith("data: {")]
    chunks = [json.loads(line[6:])["choices"][0] for line in lines]
    deltas = [delta for chunk in chunks for delta in chunk["delta"].get("tool_calls", ())]
    assert {delta["index"] for delta in deltas} <= {0}
    [(id, name)] = [(delta["id"], delta["function"]["name"]) for delta in deltas if "id" in delta]
    assert id and (kind == "required" or name == NAMED[at % len(NAMED)])
    end = chunks[-1]["finish_reason"]
    if end == "tool_calls":
        arguments = "".join(delta["function"].get("arguments", "") for delta in deltas)
        Draft202012Validator(SCHEMAS[name]).validate(json.loads(arguments))
    return end
