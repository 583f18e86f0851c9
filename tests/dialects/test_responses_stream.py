"""The stream of a response: the vendor's own accumulator takes it however its bytes arrive, and a client may
leave anywhere."""

from __future__ import annotations

import itertools
import json
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import anyio
import httpx
import pytest
from fastapi import FastAPI
from hypothesis import given
from hypothesis import settings as trying
from hypothesis import strategies as st
from openai import OpenAI
from support.listening import listening
from support.responses import events, kinds
from support.scripted_server import Replies, scripted_app, serving

from agentkit_server.engine.types import Timings, Usage
from agentkit_server.responses.store import ResponseStore
from agentkit_server.runner.scripted import ScriptedLauncher
from agentkit_server.settings import Settings
from agentkit_server.turn.events import Finish, Started, ToolArgumentsDelta, ToolCallStart

CALL = '<tool_call>\n{"name": "weather", "arguments": {"city": "Oslo é"}}\n</tool_call>'
SCRIPT = f"<think>\nI håve to look.\n</think>\n\nLooking.\n{CALL}\n{CALL}"
CUSTOM = '<tool_call>\n{"name": "note", "arguments": {"input": "a \\"b\\"\\n"}}\n</tool_call>'
TOOLS: list[Any] = [
    {"type": "function", "name": "weather", "parameters": {"properties": {"city": {"type": "string"}}}},
    {"type": "custom", "name": "note"},
]
ASKED = {"model": "thinker", "input": "hi", "stream": True, "tools": TOOLS}
ITEM = ["output_item.added", "output_item.done"]
TEXT = ["content_part.added", "output_text.delta", "output_text.done", "content_part.done"]


@pytest.fixture(scope="module")
def recorded(tmp_path_factory: pytest.TempPathFactory) -> Iterator[bytes]:
    """The bytes of one stream with thoughts, text and two calls."""
    app, _ = scripted_app(tmp_path_factory.mktemp("models"), Replies([SCRIPT]))
    with serving(app) as url:
        yield httpx.post(f"{url}/v1/responses", json=ASKED).raise_for_status().content


def accumulated(pieces: list[bytes]) -> Any:
    """What the published client makes of a stream that arrives in `pieces`."""

    class Pieces(httpx.SyncByteStream):
        def __iter__(self) -> Iterator[bytes]:
            yield from pieces

    def answer(request: httpx.Request) -> httpx.Response:
        return httpx.Response(200, headers={"content-type": "text/event-stream"}, stream=Pieces())

    with (
        httpx.Client(transport=httpx.MockTransport(answer)) as http,
        OpenAI(api_key="unused", base_url="http://test/v1", http_client=http) as openai,
        openai.responses.stream(model="thinker", input="hi") as stream,
    ):
        return stream.get_final_response()


def cuts(data: bytes, at: list[int]) -> list[bytes]:
    places = sorted({0, len(data), *(place % len(data) for place in at)})
    return [data[begin:end] for begin, end in itertools.pairwise(places)]


@trying(deadline=None, max_examples=40)
@given(at=st.lists(st.integers(0, 1 << 20), max_size=40))
def test_the_accumulator_takes_a_stream_at_any_chunking(recorded: bytes, at: list[int]) -> None:
    response = accumulated(cuts(recorded, at))
    thoughts, message, *calls = response.output
    assert thoughts.content[0].text.strip() == "I håve to look."
    assert message.content[0].text.strip() == "Looking."
    assert [json.loads(call.arguments) for call in calls] == [{"city": "Oslo é"}] * 2


def test_the_accumulator_takes_a_stream_byte_by_byte(recorded: bytes) -> None:
    assert accumulated([recorded[at : at + 1] for at in range(len(recorded))]).status == "completed"


@pytest.mark.anyio
async def test_the_events_of_every_item_are_in_order(
    http: httpx.AsyncClient, launcher: ScriptedLauncher
) -> None:
    launcher.script = SCRIPT
    found = events((await http.post("/v1/responses", json=ASKED)).text)
    thought = ["content_part.added", "reasoning_text.delta", "reasoning_text.done", "content_part.done"]
    call = ["function_call_arguments.delta", "function_call_arguments.done"]
    assert kinds(found) == [
        "created",
        "in_progress",
        *(ITEM[0], *thought, ITEM[1]),
        *(ITEM[0], *TEXT, ITEM[1]),
        *(ITEM[0], *call, ITEM[1]) * 2,
        "completed",
    ]
    done = [event["item"] for event in found if event["type"] == "response.output_item.done"]
    assert found[-1]["response"]["output"] == done
    assert [event["output_index"] for event in found if "item" in event] == [0, 0, 1, 1, 2, 2, 3, 3]


@pytest.mark.anyio
async def test_deltas_are_padded_when_asked_for(http: httpx.AsyncClient) -> None:
    asked = {"model": "tiny", "input": "hi", "stream": True}
    padded = {**asked, "stream_options": {"include_obfuscation": True}}
    blocks = (await http.post("/v1/responses", json=padded)).text.split("\n\n")
    deltas = [len(block) for block in blocks if ".delta" in block]
    assert len(deltas) > 5 and {length % 128 for length in deltas} == {126}
    assert "".join(event["delta"] for event in events("\n\n".join(blocks)) if "delta" in event)


@pytest.mark.anyio
async def test_a_custom_tool_takes_text(http: httpx.AsyncClient, launcher: ScriptedLauncher) -> None:
    launcher.script = CUSTOM
    found = events((await http.post("/v1/responses", json=ASKED)).text)
    call = ["custom_tool_call_input.delta", "custom_tool_call_input.done"]
    assert kinds(found) == ["created", "in_progress", ITEM[0], *call, ITEM[1], "completed"]
    deltas = [event["delta"] for event in found if "delta" in event]
    assert "".join(deltas) == found[-1]["response"]["output"][0]["input"] == 'a "b"\n'


@pytest.mark.anyio
async def test_thoughts_are_their_own_summary_and_can_be_sealed(
    http: httpx.AsyncClient, launcher: ScriptedLauncher
) -> None:
    launcher.script = "<think>\nHm.\n</think>\n\nYes."
    asked = {"model": "thinker", "input": "hi", "store": False, "reasoning": {"summary": "auto"}}
    sealed = {**asked, "include": ["reasoning.encrypted_content"]}
    thoughts, _said = (await http.post("/v1/responses", json=sealed)).json()["output"]
    assert thoughts["summary"][0]["text"].strip() == "Hm." and "content" not in thoughts
    # As Codex sends it back: without what it can read.
    bare = {"type": "reasoning", "summary": [], "encrypted_content": thoughts["encrypted_content"]}
    output = {"type": "function_call_output", "call_id": "c", "output": "x"}
    call = {"type": "function_call", "call_id": "c", "name": "f", "arguments": "{}"}
    items = [{"role": "user", "content": "hi"}, bare, call, output]
    again = await http.post("/v1/responses", json={**asked, "input": items})
    assert again.status_code == 200, again.text
    assert "Hm." in launcher.model.decode(launcher.requests[-1].prompt)
    foreign = {**bare, "encrypted_content": "gAAAA"}
    refused = await http.post("/v1/responses", json={**asked, "input": [foreign]})
    assert refused.json()["error"]["param"] == "input[0].encrypted_content"


@pytest.mark.anyio
@pytest.mark.parametrize(
    ("reason", "status", "details"),
    [
        ("length", "incomplete", {"reason": "max_output_tokens"}),
        ("deadline", "incomplete", {"reason": "max_output_tokens", "stop_reason": "deadline"}),
        ("stop", "completed", None),
    ],
)
async def test_an_end_is_told_truthfully(
    monkeypatch: pytest.MonkeyPatch, http: httpx.AsyncClient, reason: Any, status: str, details: Any
) -> None:
    async def run(backend: object, turn: object) -> Any:
        yield Started(prompt_tokens=5, load_ns=1)
        yield ToolCallStart(0, 0, "call_1", "f")
        yield ToolArgumentsDelta(0, 0, '{"a')
        yield Finish(0, reason, Usage(5, 3, 7), Timings(0, 1, 1), load_ns=1, thinking_tokens=4)

    monkeypatch.setattr("agentkit_server.dialects.responses.run_turn", run)
    asked = {"model": "tiny", "input": "hi"}
    whole = (await http.post("/v1/responses", json=asked)).json()
    assert (whole["status"], whole["incomplete_details"]) == (status, details)
    assert whole["output"][0]["status"] == status and whole["output"][0]["arguments"] == '{"a'
    assert whole["usage"] == {
        "input_tokens": 5,
        "input_tokens_details": {"cached_tokens": 3, "cache_write_tokens": 2},
        "output_tokens": 7,
        "output_tokens_details": {"reasoning_tokens": 4},
        "total_tokens": 12,
    }
    found = events((await http.post("/v1/responses", json={**asked, "stream": True})).text)
    assert found[-1]["type"] == f"response.{status}"
    assert {**found[-1]["response"], **_own(whole)} == whole


def _own(response: dict[str, Any]) -> dict[str, Any]:
    return {key: response[key] for key in ("id", "created_at", "completed_at", "output")}


@pytest.mark.anyio
async def test_a_failure_in_a_stream_is_its_last_event(
    http: httpx.AsyncClient, launcher: ScriptedLauncher
) -> None:
    launcher.script, launcher.die_after = "blue", 2
    found = events((await http.post("/v1/responses", json={**ASKED, "tools": []})).text)
    failed = found[-1]
    assert failed["type"] == "response.failed"
    assert failed["response"]["error"]["code"] == "server_error"
    assert "unexpectedly stopped" in failed["response"]["error"]["message"]
    assert failed["response"]["output"][0]["content"][0]["text"] == "bl"
    stored = (await http.get(f"/v1/responses/{failed['response']['id']}")).json()
    assert stored == failed["response"]


class Held:
    """A gate that never opens, and tells when someone stands before it and has been sent away."""

    def __init__(self) -> None:
        self.full = anyio.Event()
        self.empty = anyio.Event()

    def is_set(self) -> bool:
        return False

    async def wait(self) -> None:
        self.full.set()
        try:
            await anyio.sleep_forever()
        finally:
            self.empty.set()


@pytest.mark.anyio
@pytest.mark.parametrize("tokens", [10, 20, 33, 60, 110, 130, 200])
async def test_a_client_may_leave_anywhere(
    app: FastAPI, settings: Settings, launcher: ScriptedLauncher, tokens: int
) -> None:
    gate = Held()
    launcher.script, launcher.hold, launcher.hold_after = SCRIPT, gate, tokens
    read = b""
    with anyio.fail_after(30):
        async with (
            listening(app) as url,
            httpx.AsyncClient(base_url=url) as http,
        ):
            async with http.stream("POST", "/v1/responses", json=ASKED) as response:
                pieces = response.aiter_bytes()
                while b"in_progress" not in read:
                    read += await anext(pieces)
                await gate.full.wait()
            await gate.empty.wait()
    id = events(read.decode().rpartition("\n\n")[0] + "\n\n")[0]["response"]["id"]
    kept = stored(settings.models, id)
    assert kept["status"] == "cancelled"
    assert all(item["status"] in ("completed", "incomplete") for item in kept["output"])


@pytest.mark.anyio
async def test_a_server_that_stops_fails_what_it_was_making(
    app: FastAPI, settings: Settings, launcher: ScriptedLauncher
) -> None:
    gate = Held()
    launcher.hold, launcher.hold_after = gate, 5
    with anyio.fail_after(30):
        async with listening(app) as url, httpx.AsyncClient(base_url=url) as http:
            asked = {"model": "tiny", "input": "hi", "background": True}
            made = (await http.post("/v1/responses", json=asked)).json()
            await gate.full.wait()
    kept = stored(settings.models, made["id"])
    assert (kept["status"], kept["error"]["code"]) == ("failed", "server_error")


def stored(models: Path | None, id: str) -> dict[str, Any]:
    """The response `id` as a stopped server has left it."""
    assert models is not None
    store = ResponseStore(models / "agentkit" / "responses.sqlite", keep=-1, most_bytes=1 << 30)
    kept = store.get(id)
    with suppress(Exception):
        store.close()
    assert kept is not None
    return json.loads(kept.response)
