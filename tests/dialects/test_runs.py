"""What the agents of the SDK ask of the server beside an answer: an end at a deadline, and a prefix that is
kept for the run."""

from __future__ import annotations

from typing import Any

import anyio
import httpx
import pytest

from agentkit_server.runner.scripted import Scripted, ScriptedLauncher

pytestmark = pytest.mark.anyio

CHAT = {"model": "tiny", "messages": [{"role": "user", "content": "hi"}], "stream": False}


@pytest.fixture
async def stuck(http: httpx.AsyncClient, launcher: ScriptedLauncher) -> Scripted:
    """The model is loaded, and from now on makes 5 tokens and then waits for ever."""
    await http.post("/api/chat", json=CHAT)
    [runner] = launcher.runners
    runner.hold, runner.hold_after = anyio.Event(), len("Hello, world!") + 5
    return runner


async def test_an_answer_ends_at_its_deadline_with_what_there_is(
    http: httpx.AsyncClient, stuck: Scripted
) -> None:
    with anyio.fail_after(10):
        answer = (await http.post("/api/chat", json={**CHAT, "max_seconds": 1})).json()
    assert answer["message"]["content"] == "Hello"
    assert answer["done_reason"] == "deadline"
    assert answer["eval_count"] == 5


@pytest.mark.parametrize(
    ("path", "more"), [("/v1/chat/completions", {}), ("/v1/completions", {"prompt": "hi", "messages": None})]
)
async def test_openai_calls_a_deadline_a_length_and_says_which(
    http: httpx.AsyncClient, stuck: Scripted, path: str, more: dict[str, Any]
) -> None:
    with anyio.fail_after(10):
        answer = (await http.post(path, json={**CHAT, **more, "max_seconds": 1})).json()
    choice = answer["choices"][0]
    assert (choice["finish_reason"], choice["stop_reason"]) == ("length", "deadline")


async def test_a_deadline_before_the_answer_begins_is_an_error(
    http: httpx.AsyncClient, launcher: ScriptedLauncher
) -> None:
    launcher.gate = gate = anyio.Event()
    with anyio.fail_after(10):
        answer = await http.post("/api/chat", json={**CHAT, "max_seconds": 0.05})
    assert answer.status_code == 408
    assert "within 0.05 seconds" in answer.json()["error"]
    gate.set()
    assert (await http.post("/api/chat", json=CHAT)).status_code == 200


@pytest.mark.parametrize("given", [0, -1, "soon", 1e12])
async def test_a_deadline_that_is_none_is_refused(http: httpx.AsyncClient, given: Any) -> None:
    for path in ("/api/chat", "/v1/chat/completions"):
        answer = await http.post(path, json={**CHAT, "max_seconds": given})
        assert answer.status_code == 400
        assert "max_seconds" in answer.text


@pytest.mark.parametrize("path", ["/api/chat", "/v1/chat/completions"])
async def test_the_prefix_of_a_run_is_pinned_until_the_run_is_released(
    http: httpx.AsyncClient, launcher: ScriptedLauncher, path: str
) -> None:
    await http.post(path, json={**CHAT, "run_id": "r1"})
    [runner] = launcher.runners
    assert runner.pins == {"r1"}
    assert (await http.delete("/api/runs/other")).status_code == 200
    assert runner.pins == {"r1"}
    assert (await http.delete("/api/runs/r1")).json() == {"status": "success"}
    assert runner.pins == set()
