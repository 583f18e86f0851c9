"""Anthropic's event stream: its shape, read by the vendor's own client at any chunking of its bytes,
and left by a client at any point."""

from __future__ import annotations

import json
import re
from typing import Any

import anyio
import httpx
import httpx2
import pytest
from anthropic import AsyncAnthropic
from support.any_client import Pieces, leave_after, same_in_any_pieces

from agentkit_server.dialects import anthropic_wire
from agentkit_server.runner.scripted import ScriptedLauncher

pytestmark = pytest.mark.anyio

WEATHER: Any = {
    "name": "weather",
    "input_schema": {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]},
}
TEXT = "Ünïcode 😀 first."
CALL = '<tool_call>\n{"name": "weather", "arguments": {"city": "Malmö"}}\n</tool_call>'
SCRIPT = f"<think>\nHm. 🤔\n</think>\n\n{TEXT}{CALL}{CALL}"
BODY: dict[str, Any] = {
    "model": "thinker",
    "max_tokens": 500,
    "messages": [{"role": "user", "content": "hi"}],
    "tools": [WEATHER],
    "thinking": {"type": "adaptive"},
    "stream": True,
}


def events(raw: str) -> list[dict[str, Any]]:
    """The data of every event, each under the name that its type says."""
    found = re.findall(r"event: (\w+)\ndata: (.*)\n\n", raw)
    assert "".join(f"event: {name}\ndata: {data}\n\n" for name, data in found) == raw
    decoded = [json.loads(data) for _, data in found]
    assert [each["type"] for each in decoded] == [name for name, _ in found]
    return decoded


async def streamed(http: httpx.AsyncClient, **more: Any) -> list[dict[str, Any]]:
    answer = await http.post("/v1/messages", json={**BODY, **more})
    assert answer.headers["content-type"].startswith("text/event-stream")
    return events(answer.text)


async def test_each_block_is_opened_filled_and_closed_in_turn(
    http: httpx.AsyncClient, launcher: ScriptedLauncher
) -> None:
    launcher.script = SCRIPT
    told = await streamed(http)
    assert [each["type"] for each in told[:2]] == ["message_start", "ping"]
    assert [each["type"] for each in told[-2:]] == ["message_delta", "message_stop"]
    open_at, kinds = -1, list[str]()
    for each in told[2:-2]:
        match each["type"]:
            case "content_block_start":
                open_at += 1
                kinds.append(each["content_block"]["type"])
            case "content_block_delta" | "content_block_stop":
                pass
            case other:
                raise AssertionError(other)
        assert each["index"] == open_at
    stops = [each["index"] for each in told if each["type"] == "content_block_stop"]
    assert stops == [0, 1, 2, 3]
    assert kinds == ["thinking", "text", "tool_use", "tool_use"]
    assert told[-2]["delta"]["stop_reason"] == "tool_use"


async def test_the_whole_message_is_the_stream_collected(
    http: httpx.AsyncClient, launcher: ScriptedLauncher
) -> None:
    launcher.script = SCRIPT
    whole = (await http.post("/v1/messages", json={**BODY, "stream": False})).json()
    raw = (await http.post("/v1/messages", json=BODY)).content
    message = await read_by_the_client(raw, [])
    shown = ("text", "thinking", "signature", "name", "input")
    assert [{key: block[key] for key in shown if key in block} for block in whole["content"]] == [
        {key: value for key, value in block.items() if key in shown} for block in message["content"]
    ]
    assert whole["stop_reason"] == message["stop_reason"] == "tool_use"
    assert whole["content"][1]["text"] == TEXT
    assert whole["content"][2]["input"] == {"city": "Malmö"}


@pytest.fixture
async def raw(http: httpx.AsyncClient, launcher: ScriptedLauncher) -> bytes:
    """The bytes of one stream."""
    launcher.script = SCRIPT
    return (await http.post("/v1/messages", json=BODY)).content


class Sent(Pieces, httpx2.AsyncByteStream):
    """Pieces for the vendor's client."""


async def read_by_the_client(raw: bytes, cuts: list[int]) -> dict[str, Any]:
    """What the vendor's client makes of `raw` when it comes in pieces."""

    def answer(_: httpx2.Request) -> httpx2.Response:
        headers = {"content-type": "text/event-stream"}
        return httpx2.Response(200, headers=headers, stream=Sent(raw, cuts))

    transport = httpx2.MockTransport(answer)
    async with AsyncAnthropic(
        api_key="unused", http_client=httpx2.AsyncClient(transport=transport)
    ) as client:
        body: Any = {name: value for name, value in BODY.items() if name != "stream"}
        async with client.messages.stream(**body) as stream:
            return (await stream.get_final_message()).to_dict()


async def test_the_client_reads_the_stream_at_any_chunking(raw: bytes) -> None:
    whole = await same_in_any_pieces(read_by_the_client, raw)
    assert [block["type"] for block in whole["content"]] == ["thinking", "text", "tool_use", "tool_use"]


@pytest.mark.parametrize("stream", [True, False])
async def test_a_client_that_leaves_at_any_point_ends_the_generation(
    live_server: str, launcher: ScriptedLauncher, stream: bool
) -> None:
    launcher.script = SCRIPT
    async with httpx.AsyncClient(base_url=live_server) as client:
        whole = (await client.post("/v1/messages", json={**BODY, "stream": False})).json()
        [runner] = launcher.runners
        length = whole["usage"]["output_tokens"]
        for tokens in range(0, length, 7):
            await leave_after(runner, tokens, client, "/v1/messages", {**BODY, "stream": stream})
        assert len(runner.cancelled) == len(range(0, length, 7))
        again = (await client.post("/v1/messages", json={**BODY, "stream": False})).json()
    assert again["stop_reason"] == "tool_use"


async def test_a_silent_stream_says_that_it_is_there(
    live_server: str, launcher: ScriptedLauncher, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(anthropic_wire, "PING_S", 0.01)
    launcher.hold, launcher.hold_after, launcher.script = anyio.Event(), 2, "Hello"
    gate, pings, told = launcher.hold, 0, ""
    async with httpx.AsyncClient(base_url=live_server) as client:
        with anyio.fail_after(10):
            async with client.stream("POST", "/v1/messages", json={**BODY, "model": "tiny"}) as answer:
                async for piece in answer.aiter_text():
                    told += piece
                    pings = told.count("event: ping")
                    if pings > 4:
                        gate.set()
    decoded = events(told)
    texts = [each["delta"]["text"] for each in decoded if each["type"] == "content_block_delta"]
    assert "".join(texts) == "Hello"
    assert decoded[-1]["type"] == "message_stop"


async def test_an_error_is_the_last_event(http: httpx.AsyncClient, launcher: ScriptedLauncher) -> None:
    launcher.script, launcher.die_after = "Hello", 3
    answer = await http.post("/v1/messages", json={**BODY, "model": "tiny"})
    told = events(answer.text)
    assert told[-1]["type"] == "error"
    assert told[-1]["error"]["code"] == "runner_died"
    assert told[-1]["request_id"] == answer.headers["request-id"]
    assert not any(each["type"] in ("message_delta", "message_stop") for each in told)


@pytest.mark.parametrize(
    ("script", "limit", "kinds"),
    [
        (SCRIPT, 12, ["thinking"]),
        (SCRIPT, 40, ["thinking", "text"]),
        (CALL, 60, ["tool_use"]),
        (CALL * 2, 140, ["tool_use", "tool_use"]),
    ],
)
async def test_an_answer_that_is_cut_short_closes_its_block(
    http: httpx.AsyncClient, launcher: ScriptedLauncher, script: str, limit: int, kinds: list[str]
) -> None:
    launcher.script = script
    told = await streamed(http, max_tokens=limit)
    begun = [each["content_block"]["type"] for each in told if each["type"] == "content_block_start"]
    ended = [each["index"] for each in told if each["type"] == "content_block_stop"]
    assert begun == kinds and ended == list(range(len(kinds)))
    assert told[-2]["delta"]["stop_reason"] == "max_tokens"
    whole = (await http.post("/v1/messages", json={**BODY, "max_tokens": limit, "stream": False})).json()
    assert [block["type"] for block in whole["content"]] == kinds
    assert all(isinstance(block.get("input", {}), dict) for block in whole["content"])
