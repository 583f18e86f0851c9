"""Streams over a real socket: pieces arrive as they are made, and whoever leaves takes the work along."""

from __future__ import annotations

import json
from typing import Any

import anyio
import httpx
import pytest
from fastapi import FastAPI

from agentkit_server.dialects._shared import OpenRequests
from agentkit_server.runner.scripted import Scripted, ScriptedLauncher

pytestmark = pytest.mark.anyio

CHAT = {"model": "tiny", "messages": [{"role": "user", "content": "hi"}]}


@pytest.fixture
def held(launcher: ScriptedLauncher) -> anyio.Event:
    """Generations stop after 5 tokens until this is set."""
    launcher.hold = anyio.Event()
    launcher.hold_after = 5
    return launcher.hold


async def until_started(launcher: ScriptedLauncher) -> None:
    while not launcher.requests:
        await anyio.lowlevel.checkpoint()


async def until_cancelled(runner: Scripted) -> None:
    while not runner.cancelled:
        await anyio.lowlevel.checkpoint()


async def next_line(lines: Any) -> dict[str, Any]:
    return json.loads(await anext(lines))


async def test_pieces_arrive_while_the_answer_is_still_being_made(
    live_server: str, held: anyio.Event
) -> None:
    with anyio.fail_after(10):
        async with (
            httpx.AsyncClient(base_url=live_server) as http,
            http.stream("POST", "/api/chat", json=CHAT) as response,
        ):
            lines = response.aiter_lines()
            early = "".join([(await next_line(lines))["message"]["content"] for _ in range(5)])
            assert early == "Hello"
            held.set()
            assert [json.loads(line)["done"] async for line in lines][-1] is True


async def test_a_client_that_leaves_a_stream_cancels_its_request(
    live_server: str, launcher: ScriptedLauncher, held: anyio.Event
) -> None:
    with anyio.fail_after(10):
        async with (
            httpx.AsyncClient(base_url=live_server) as http,
            http.stream("POST", "/api/chat", json=CHAT) as response,
        ):
            await next_line(response.aiter_lines())
        await until_cancelled(launcher.runners[0])
    assert not held.is_set()


async def test_a_client_that_leaves_a_whole_answer_cancels_its_request(
    live_server: str, launcher: ScriptedLauncher, held: anyio.Event
) -> None:
    async def ask(http: httpx.AsyncClient) -> None:
        await http.post("/api/chat", json={**CHAT, "stream": False})

    with anyio.fail_after(10):
        async with httpx.AsyncClient(base_url=live_server) as http, anyio.create_task_group() as tasks:
            tasks.start_soon(ask, http)
            await until_started(launcher)
            tasks.cancel_scope.cancel()
        await until_cancelled(launcher.runners[0])
    assert not held.is_set()


async def test_a_client_that_leaves_while_the_model_loads_generates_nothing(
    live_server: str, app: FastAPI, launcher: ScriptedLauncher
) -> None:
    launcher.gate = anyio.Event()
    open_requests: OpenRequests = app.state.open_requests

    async def ask(http: httpx.AsyncClient) -> None:
        await http.post("/api/chat", json=CHAT)

    with anyio.fail_after(10):
        async with httpx.AsyncClient(base_url=live_server) as http, anyio.create_task_group() as tasks:
            tasks.start_soon(ask, http)
            await launcher.wait_launches(1)
            assert len(open_requests) == 1
            tasks.cancel_scope.cancel()
        while len(open_requests):
            await anyio.lowlevel.checkpoint()
    launcher.gate.set()
    assert launcher.requests == []


async def test_a_runner_that_dies_ends_the_stream_with_an_error_line_and_the_next_request_works(
    live_server: str, launcher: ScriptedLauncher
) -> None:
    launcher.die_after = 3
    with anyio.fail_after(10):
        async with httpx.AsyncClient(base_url=live_server) as http:
            response = await http.post("/api/chat", json=CHAT)
            lines = [json.loads(line) for line in response.text.splitlines()]
            assert response.status_code == 200
            assert [line["message"]["content"] for line in lines[:-1]] == ["H", "e", "l"]
            assert lines[-1]["error"].startswith("model runner has unexpectedly stopped")
            launcher.die_after = None
            again = await http.post("/api/chat", json={**CHAT, "stream": False})
            assert again.json()["message"]["content"] == "Hello, world!"


async def test_a_runner_that_dies_makes_a_whole_answer_a_500(
    live_server: str, launcher: ScriptedLauncher
) -> None:
    launcher.die_after = 3
    async with httpx.AsyncClient(base_url=live_server) as http:
        response = await http.post("/api/chat", json={**CHAT, "stream": False})
    assert response.status_code == 500
    assert response.json()["error"].startswith("model runner has unexpectedly stopped")


async def test_a_stopping_server_ends_its_streams_with_an_error_line(
    live_server: str, app: FastAPI, held: anyio.Event
) -> None:
    with anyio.fail_after(10):
        async with (
            httpx.AsyncClient(base_url=live_server) as http,
            http.stream("POST", "/api/chat", json=CHAT) as response,
        ):
            lines = response.aiter_lines()
            await next_line(lines)
            app.state.open_requests.stop()
            *_, last = [json.loads(line) async for line in lines]
    assert "shutting down" in last["error"]
    assert not held.is_set()


async def test_requests_side_by_side_do_not_wait_for_each_other(live_server: str, held: anyio.Event) -> None:
    with anyio.fail_after(10):
        async with (
            httpx.AsyncClient(base_url=live_server) as http,
            http.stream("POST", "/api/chat", json=CHAT) as slow,
        ):
            await next_line(slow.aiter_lines())
            assert (await http.get("/api/tags")).status_code == 200
            assert len((await http.get("/api/ps")).json()["models"]) == 1
    assert not held.is_set()
