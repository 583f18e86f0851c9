"""Responses that are stored: what is told of them when something comes between."""

from __future__ import annotations

import os
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any

import anyio
import httpx
import psutil
import pytest
from fastapi import FastAPI
from support.responses import events

from agentkit_server.dialects.responses_answer import ResponseAnswer
from agentkit_server.dialects.responses_body import read_body
from agentkit_server.dialects.responses_telling import Telling
from agentkit_server.dialects.responses_tools import read_offer
from agentkit_server.errors import StoreError
from agentkit_server.responses import background
from agentkit_server.responses.store import Kept, ResponseStore
from agentkit_server.runner.scripted import ScriptedLauncher
from agentkit_server.turn.events import Event, Started

pytestmark = pytest.mark.anyio

ASKED = {"model": "tiny", "input": "hi"}
Put = Callable[[Kept], Awaitable[None]]


@pytest.fixture(autouse=True)
async def _bounded() -> AsyncIterator[None]:  # pyright: ignore[reportUnusedFunction]
    with anyio.fail_after(30):
        yield


async def create(http: httpx.AsyncClient, **more: Any) -> Any:
    answer = await http.post("/v1/responses", json={**ASKED, **more})
    assert answer.status_code == 200, answer.text
    return answer.json()


def before_put(app: FastAPI, monkeypatch: pytest.MonkeyPatch, before: Put) -> None:
    """`before` is called with everything that is about to be kept."""
    put = app.state.responses.put

    async def put_behind(kept: Kept) -> None:
        await before(kept)
        await put(kept)

    monkeypatch.setattr(app.state.responses, "put", put_behind)


@pytest.mark.parametrize(("at", "status"), [(1, "cancelled"), (2, "completed")])
async def test_a_cancel_in_the_midst_of_keeping_leaves_neither_a_gap_nor_a_response_in_progress(
    app: FastAPI, http: httpx.AsyncClient, monkeypatch: pytest.MonkeyPatch, at: int, status: str
) -> None:
    reached, puts = anyio.Event(), 0

    async def hold(kept: Kept) -> None:
        nonlocal puts
        puts += 1
        if puts == at + 1:
            reached.set()
            await anyio.sleep_forever()

    before_put(app, monkeypatch, hold)
    made = await create(http, background=True)
    await reached.wait()
    ended = (await http.post(f"/v1/responses/{made['id']}/cancel")).json()
    assert ended["status"] == status
    told = events((await http.get(f"/v1/responses/{made['id']}", params={"stream": True})).text)
    assert told[-1]["response"] == ended


async def test_an_end_that_cannot_be_kept_is_a_failure(
    app: FastAPI, http: httpx.AsyncClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def refuse(kept: Kept) -> None:
        if not kept.running:
            raise StoreError("the disk is full")

    before_put(app, monkeypatch, refuse)
    answer = await http.post("/v1/responses", json={**ASKED, "background": True, "stream": True})
    failed = events(answer.text)[-1]["response"]
    assert (failed["status"], failed["completed_at"], failed["error"]["message"]) == (
        "failed",
        None,
        "the disk is full",
    )
    url = f"/v1/responses/{failed['id']}"
    found = (await http.get(url)).json()
    assert (found["status"], "could not store its end" in found["error"]["message"]) == ("failed", True)
    assert (await http.post(f"{url}/cancel")).json() == found


async def test_a_turn_is_closed_when_its_client_leaves_at_the_first_event() -> None:
    closed = False

    async def turn() -> AsyncIterator[Event]:
        nonlocal closed
        try:
            yield Started(prompt_tokens=5, load_ns=1)
            await anyio.sleep_forever()
        finally:
            closed = True

    async def keep(untold: object) -> None:
        pass

    told: Any = turn()
    started = await anext(told)
    answer = ResponseAnswer(read_body(ASKED), read_offer(()), store=False)
    chunks = Telling(answer, keep, lambda: False).chunks(told, started)
    assert b"response.created" in await anext(chunks)
    await chunks.aclose()
    assert closed


async def test_no_more_are_made_at_once_than_there_may_be(
    http: httpx.AsyncClient, launcher: ScriptedLauncher, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(background, "MOST_RUNS", 2)
    launcher.hold = anyio.Event()
    statuses: list[int] = []

    async def ask() -> None:
        answer = await http.post("/v1/responses", json={**ASKED, "background": True})
        statuses.append(answer.status_code)

    async with anyio.create_task_group() as tasks:
        for _ in range(6):
            tasks.start_soon(ask)
    assert sorted(statuses) == [200, 200, 503, 503, 503, 503]


async def test_input_that_is_not_stored_any_more_is_said(http: httpx.AsyncClient) -> None:
    first = await create(http)
    second = await create(http, previous_response_id=first["id"])
    items = (await http.get(f"/v1/responses/{second['id']}/input_items")).json()
    assert len(items["data"]) == 3 and "notes" not in items
    await http.delete(f"/v1/responses/{first['id']}")
    items = (await http.get(f"/v1/responses/{second['id']}/input_items")).json()
    assert len(items["data"]) == 1 and first["id"] in items["notes"][0]
    await http.delete(f"/v1/responses/{second['id']}")
    assert (await http.get(f"/v1/responses/{second['id']}/input_items")).status_code == 404


async def test_what_another_server_makes_is_left_to_it(app: FastAPI, http: httpx.AsyncClient) -> None:
    made = await create(http, background=True)
    url = f"/v1/responses/{made['id']}"
    await http.get(url, params={"stream": True})
    store = await app.state.responses.open()
    other = ResponseStore(store.path, keep=-1, most_bytes=1 << 30)
    other._owner = f"{os.getppid()} {psutil.Process(os.getppid()).create_time():.2f}"  # pyright: ignore[reportPrivateUsage]
    other.put(Kept(id=made["id"], input=b"[]", response=(await http.get(url)).content, running=True))
    other.close()
    for answer in (
        await http.delete(url),
        await http.post(f"{url}/cancel"),
        await http.get(url, params={"stream": True}),
    ):
        assert (answer.status_code, "made by another server" in answer.text) == (400, True)
    assert (await http.get(url)).status_code == 200


async def test_events_are_told_again_as_they_were_made(http: httpx.AsyncClient) -> None:
    url = f"/v1/responses/{(await create(http, background=True))['id']}"
    plain = await http.get(url, params={"stream": True, "include_obfuscation": False})
    assert events(plain.text)[-1]["type"] == "response.completed"
    padded = await http.get(url, params={"stream": True, "include_obfuscation": True})
    assert (padded.status_code, padded.json()["error"]["param"]) == (400, "include_obfuscation")
