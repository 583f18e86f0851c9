"""Parameters of chat/completions and completions that are about the way an answer comes, not its text."""

from __future__ import annotations

import json
from typing import Any

import httpx
import pytest
from openai import AsyncOpenAI
from support.sse import events

from agentkit_server.dialects.openai_wire import EVEN_BYTES
from agentkit_server.runner.scripted import ScriptedLauncher

from .conftest import Turns

pytestmark = pytest.mark.anyio

CHAT: dict[str, Any] = {"model": "tiny", "messages": [{"role": "user", "content": "hi"}]}
TEXT: dict[str, Any] = {"model": "tiny", "prompt": "hi"}
BOTH = [("/v1/chat/completions", CHAT), ("/v1/completions", TEXT)]


@pytest.mark.parametrize("tier", ["auto", "default", "flex", "scale", "priority", "fast"])
async def test_an_answer_says_which_tier_it_had(http: httpx.AsyncClient, tier: str) -> None:
    whole = await http.post("/v1/chat/completions", json=CHAT | {"service_tier": tier})
    streamed = await http.post("/v1/chat/completions", json=CHAT | {"service_tier": tier, "stream": True})
    chunks = events(streamed.text)[:-1]
    assert {whole.json()["service_tier"], *(chunk["service_tier"] for chunk in chunks)} == {"default"}
    silent = await http.post("/v1/chat/completions", json=CHAT)
    assert "service_tier" not in silent.json()


@pytest.mark.parametrize(("path", "body"), BOTH)
async def test_the_length_of_a_chunk_does_not_tell_its_text(
    http: httpx.AsyncClient, launcher: ScriptedLauncher, path: str, body: dict[str, Any]
) -> None:
    launcher.script = ["a", "bcd", "efghijkl", "é😀", '"\\"', "x" * 200]
    options = {"stream": True, "stream_options": {"include_obfuscation": True, "include_usage": True}}
    answer = await http.post(path, json=body | options)
    pieces = [piece for piece in answer.content.split(b"\n\n") if b'"choices":[{' in piece]
    assert {(len(piece) + 2) % EVEN_BYTES for piece in pieces} == {0}
    paddings = [json.loads(piece.removeprefix(b"data: "))["obfuscation"] for piece in pieces]
    assert len(set(paddings)) == len(paddings)
    assert len({len(piece) for piece in pieces[-7:-2]}) == 1


async def test_an_obfuscated_stream_reads_as_any_other(live_server: str, launcher: ScriptedLauncher) -> None:
    async with (
        AsyncOpenAI(base_url=f"{live_server}/v1", api_key="unused", max_retries=0) as client,
        client.chat.completions.stream(
            model="tiny",
            messages=[{"role": "user", "content": "hi"}],
            stream_options={"include_obfuscation": True, "include_usage": True},
        ) as stream,
    ):
        answer = await stream.get_final_completion()
    assert answer.choices[0].message.content == "Hello, world!"
    assert answer.usage is not None and answer.usage.completion_tokens == 13


async def test_chunks_are_not_obfuscated_unless_they_are_to_be(http: httpx.AsyncClient) -> None:
    for options in ({}, {"stream_options": {"include_obfuscation": False}}):
        answer = await http.post("/v1/chat/completions", json=CHAT | {"stream": True, **options})
        assert "obfuscation" not in answer.text


@pytest.mark.parametrize(("path", "body"), BOTH)
@pytest.mark.parametrize(
    ("fields", "pin"),
    [
        ({}, ""),
        ({"prompt_cache_key": "session-1"}, "session-1"),
        ({"prompt_cache_key": "session-1", "run_id": "run-1"}, "run-1"),
        ({"prompt_cache_key": ""}, ""),
    ],
)
async def test_a_cache_key_pins_the_prefix_as_a_run_does(
    http: httpx.AsyncClient,
    launcher: ScriptedLauncher,
    path: str,
    body: dict[str, Any],
    fields: dict[str, str],
    pin: str,
) -> None:
    assert (await http.post(path, json=body | fields)).status_code == 200
    assert [request.pin for request in launcher.requests] == [pin]
    assert launcher.runners[0].pins == ({pin} - {""})
    await http.delete(f"/api/runs/{pin or 'none'}")
    assert launcher.runners[0].pins == set()


async def test_storing_is_refused_and_not_storing_is_what_happens(
    http: httpx.AsyncClient, turns: Turns
) -> None:
    assert (await http.post("/v1/chat/completions", json=CHAT | {"store": False})).status_code == 200
    error = (await http.post("/v1/chat/completions", json=CHAT | {"store": True})).json()["error"]
    assert (error["param"], "/v1/responses are" in error["message"]) == ("store", True)
    assert len(turns.asked) == 1


async def test_a_prediction_changes_nothing_in_the_answer(
    http: httpx.AsyncClient, launcher: ScriptedLauncher
) -> None:
    prediction = {"type": "content", "content": "Hello, moon!"}
    answers = [
        (await http.post("/v1/chat/completions", json=CHAT | more)).json()
        for more in ({}, {"prediction": prediction})
    ]
    assert answers[0]["choices"] == answers[1]["choices"]
    first, second = launcher.requests
    assert first.prompt == second.prompt
