"""What the agents of the SDK ask of the server beside an answer: an end at a deadline, and a prefix that is
kept for the run."""

from __future__ import annotations

from functools import partial
from typing import Any
from urllib.parse import quote

import anyio
import httpx
import pytest

from agentkit_server.residency import residency
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


async def test_a_run_may_be_called_anything(http: httpx.AsyncClient, launcher: ScriptedLauncher) -> None:
    await http.post("/api/chat", json={**CHAT, "run_id": "team/7 é?"})
    [runner] = launcher.runners
    assert (await http.delete(f"/api/runs/{quote('team/7 é?', safe='')}")).status_code == 200
    assert runner.pins == set()


async def test_a_run_that_is_released_while_it_answers_leaves_nothing_pinned(
    http: httpx.AsyncClient, stuck: Scripted
) -> None:
    stuck.hold = gate = anyio.Event()
    asked = anyio.Event()

    def script(_: str) -> str:
        asked.set()
        return "Hello, world!"

    stuck.script = script
    with anyio.fail_after(10):
        async with anyio.create_task_group() as together:
            together.start_soon(partial(http.post, "/api/chat", json={**CHAT, "run_id": "r1"}))
            await asked.wait()
            await http.delete("/api/runs/r1")
            gate.set()
    assert stuck.pins == set()


async def test_a_runner_that_is_stuck_does_not_hold_up_a_release(
    http: httpx.AsyncClient, launcher: ScriptedLauncher, monkeypatch: pytest.MonkeyPatch
) -> None:
    for model in ("tiny", "thinker"):
        await http.post("/api/chat", json={**CHAT, "model": model, "run_id": "r1"})
    first, second = launcher.runners
    monkeypatch.setattr(first, "unpin", lambda _: anyio.sleep_forever())
    monkeypatch.setattr(residency, "RELEASE_S", 0.1)
    with anyio.fail_after(10):
        assert (await http.delete("/api/runs/r1")).status_code == 200
    assert second.pins == set()


LOAD_ONLY: list[tuple[str, dict[str, Any]]] = [
    ("/api/chat", {"messages": []}),
    ("/api/generate", {"prompt": ""}),
]


@pytest.mark.parametrize(("path", "empty"), LOAD_ONLY)
@pytest.mark.parametrize("keep_alive", [None, 0])
async def test_a_request_that_only_loads_leaves_nothing_to_pin(
    http: httpx.AsyncClient, path: str, empty: dict[str, Any], keep_alive: int | None
) -> None:
    body = {"model": "tiny", **empty, "run_id": "r1", "keep_alive": keep_alive}
    answer = await http.post(path, json=body)
    assert answer.status_code == 400
    assert "run_id goes with a prompt" in answer.json()["error"]


@pytest.mark.parametrize(("path", "empty"), LOAD_ONLY)
async def test_a_load_that_is_not_done_at_its_deadline_is_an_error_and_goes_on(
    http: httpx.AsyncClient, launcher: ScriptedLauncher, path: str, empty: dict[str, Any]
) -> None:
    launcher.gate = gate = anyio.Event()
    with anyio.fail_after(10):
        answer = await http.post(path, json={"model": "tiny", **empty, "max_seconds": 0.05})
    assert answer.status_code == 408
    assert "within 0.05 seconds" in answer.json()["error"]
    gate.set()
    loaded = await http.post(path, json={"model": "tiny", **empty, "max_seconds": 60})
    assert loaded.json()["done_reason"] == "load"
    assert len(launcher.launches) == 1
