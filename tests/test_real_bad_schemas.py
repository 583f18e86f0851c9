"""Hostile tools and schemas on the real smollm2: an error or an answer that obeys, in bounded time and
memory, and never an answer without its constraint."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from typing import Any

import anyio
import httpx
import psutil
import pytest
from fastapi import FastAPI
from support.listening import listening
from support.smollm2 import gguf_path

from agentkit_server.app import create_app
from agentkit_server.models.store import Store
from agentkit_server.runner.process import ProcessLauncher
from agentkit_server.settings import Settings

pytestmark = pytest.mark.anyio

SECONDS = 60
"""Far more than any of these takes; a hang is what it finds."""
MIB = 1 << 20
MOST_GROWTH = 1500 * MIB


@pytest.fixture(scope="module")
def anyio_backend() -> str:
    return "asyncio"


@pytest.fixture(scope="module")
def app(tmp_path_factory: pytest.TempPathFactory) -> FastAPI:
    models = tmp_path_factory.mktemp("models")
    store = Store(models)
    store.link_file("smollm2", gguf_path())
    settings = Settings(host="127.0.0.1:0", models=models, api_keys=[], context_length=2048)
    return create_app(settings, ProcessLauncher(), store)


@pytest.fixture(scope="module")
async def http(app: FastAPI) -> AsyncIterator[httpx.AsyncClient]:
    async with listening(app) as url, httpx.AsyncClient(base_url=url, timeout=SECONDS) as client:
        yield client


def schema(value: Any, **more: Any) -> dict[str, Any]:
    return {"response_format": {"type": "json_schema", "json_schema": {"name": "x", "schema": value}}, **more}


def tools(*functions: dict[str, Any], **more: Any) -> dict[str, Any]:
    return {"tools": [{"type": "function", "function": function} for function in functions], **more}


def function(name: str, parameters: Any = None) -> dict[str, Any]:
    return {"name": name, "parameters": parameters or {"type": "object", "properties": {}}}


WIDE = {
    "type": "object",
    "properties": {f"field_{at:05}": {"type": "string", "description": "x" * 60} for at in range(9000)},
    "required": ["field_00000"],
}
LEVELS = 3000
DEEP = '{"type": "array", "items": ' * LEVELS + "{}" + "}" * LEVELS
"""As text: json.dumps gives up before the server does."""

BAD: dict[str, dict[str, Any]] = {
    "a type that is none": schema({"type": "strung"}),
    "a keyword of the wrong type": schema({"type": "object", "properties": [1]}),
    "no schema": schema("yes"),
    "one megabyte": schema(WIDE),
    "three thousand levels": schema("DEEP"),
    "a reference to itself": schema({"$ref": "#"}),
    "references in a circle": schema(
        {"$defs": {"a": {"$ref": "#/$defs/b"}, "b": {"$ref": "#/$defs/a"}}, "$ref": "#/$defs/a"}
    ),
    "a reference to nowhere": schema({"$ref": "#/$defs/x"}),
    "a reference to another host": schema({"$ref": "http://127.0.0.1:1/x.json"}),
    "a pattern that explodes": schema({"type": "string", "pattern": "^(a+)+(b|c*d){1000}[xyz]{5000,9000}$"}),
    "a pattern that is none": schema({"type": "string", "pattern": "("}),
    "a regex that explodes": {"structured_outputs": {"regex": "((a{0,100}){0,100}){0,100}"}},
    "a grammar that is none": {"structured_outputs": {"grammar": "start: ("}},
    "a grammar without an end": {"structured_outputs": {"grammar": 'start: "a" start'}},
    "nothing is valid": schema({"type": "integer", "minimum": 3, "maximum": 2}),
    "a million items": schema({"type": "array", "items": {"type": "integer"}, "minItems": 1000000}),
    "two tools of one name": tools(function("a"), function("a")),
    "a tool without a name": tools(function("")),
    "a tool whose schema is none": tools(function("a", {"type": "object", "properties": {"x": {"type": 5}}})),
    "a tool that must be called and is not there": tools(
        function("a"), tool_choice={"type": "function", "function": {"name": "b"}}
    ),
    "a tool named like a marker": tools(function("<tool_call>"), tool_choice="required"),
    "five hundred tools": tools(
        *(
            function(f"t{at}", {"type": "object", "properties": {"x": {"enum": [at]}}, "required": ["x"]})
            for at in range(500)
        ),
        tool_choice={"type": "function", "function": {"name": "t499"}},
        truncate=True,
    ),
}


@pytest.mark.parametrize("extra", BAD.values(), ids=BAD)
async def test_a_hostile_schema_is_refused_or_obeyed(
    app: FastAPI, http: httpx.AsyncClient, extra: dict[str, Any]
) -> None:
    process = psutil.Process()
    before = process.memory_info().rss
    body = {"model": "smollm2", "messages": [{"role": "user", "content": "Hi"}], "max_tokens": 24, **extra}
    with anyio.fail_after(SECONDS):
        response = await http.post("/v1/chat/completions", content=json.dumps(body).replace('"DEEP"', DEEP))
    assert process.memory_info().rss - before < MOST_GROWTH
    if response.status_code == 200:
        assert response.headers["x-agentkit-constraint"] in ("exact", "checked")
        [choice] = response.json()["choices"]
        obeyed = choice["finish_reason"] in ("length", "tool_calls")
        assert obeyed or json.loads(choice["message"]["content"]) is not None
    else:
        assert response.status_code in (400, 500), response.text
        error = response.json()["error"]
        assert error["message"] and error["code"] not in (None, "internal_error", "runner_died"), error
    # And the server is as it was.
    with anyio.fail_after(SECONDS):
        after = await http.post("/v1/chat/completions", json={**body, "max_tokens": 2} | dict.fromkeys(extra))
    assert after.status_code == 200, after.text
