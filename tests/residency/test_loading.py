"""Loads that fail, crash or stall, and runners that die, seen through a Residence."""

from __future__ import annotations

import asyncio
import signal
from collections.abc import Callable

import pytest
from support.residency import House, Request, make_model, settle

from agentkit_server.engine.types import Delta, Generate
from agentkit_server.errors import InsufficientMemory, LoadFailed, RunnerCrashed, RunnerDied

pytestmark = pytest.mark.anyio

A, B, C = (make_model(name) for name in "abc")
Build = Callable[..., House]


async def test_a_failed_load_tells_everyone_who_waited(house: House) -> None:
    house.launcher.gate = gate = asyncio.Event()
    house.launcher.fail("tensor 'x' is missing")
    requests = [await house.ask(A) for _ in range(5)]
    gate.set()
    await settle()
    assert all(isinstance(request.error, LoadFailed) for request in requests)
    assert all("tensor 'x' is missing" in str(request.error) for request in requests)
    assert len(house.launcher.launches) == 1


async def test_the_request_after_a_failed_load_tries_again(house: House) -> None:
    house.launcher.fail("bad luck")
    assert isinstance((await house.ask(A)).error, LoadFailed)
    assert (await house.ask(A)).holds


async def test_requests_with_other_options_are_tried_on_their_own(house: House) -> None:
    house.launcher.gate = gate = asyncio.Event()
    house.launcher.fail("too long for this one")
    failing = await house.ask(A, num_ctx=8000)
    other = await house.ask(A, num_ctx=512)
    gate.set()
    await settle()
    assert isinstance(failing.error, LoadFailed)
    assert other.n_ctx == 512


async def test_a_failed_load_gives_its_place_to_the_next(build: Build) -> None:
    house = build(max_loaded_models=1)
    house.launcher.gate = gate = asyncio.Event()
    house.launcher.fail("bad luck")
    first, second = await house.ask(A), await house.ask(B)
    gate.set()
    await settle()
    assert isinstance(first.error, LoadFailed)
    assert second.holds


async def test_an_error_nobody_foresaw_still_reaches_the_request(
    house: House, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def broken(*_: object) -> None:
        raise OSError("no more processes")

    monkeypatch.setattr(house.launcher, "launch", broken)
    error = (await house.ask(A)).error
    assert isinstance(error, LoadFailed)
    assert "no more processes" in error.message


# --- crashes while warming up -----------------------------------------------------------------------


async def test_a_crash_at_warm_up_is_tried_once_more_without_repacked_buffers(
    house: House, caplog: pytest.LogCaptureFixture
) -> None:
    house.launcher.fail(RunnerCrashed("killed by SIGSEGV", signal=signal.SIGSEGV))
    assert (await house.ask(A)).holds
    assert [spec.use_extra_bufts for spec in house.launcher.launches] == [True, False]
    assert "without repacked" in house.residence.loaded()[0].note
    assert "without repacked" in caplog.text


async def test_a_second_crash_is_reported(house: House) -> None:
    house.launcher.fail(RunnerCrashed("killed by SIGSEGV", signal=signal.SIGSEGV), times=2)
    error = (await house.ask(A)).error
    assert isinstance(error, RunnerCrashed)
    assert error.signal == signal.SIGSEGV
    assert len(house.launcher.launches) == 2


async def test_the_retried_model_serves_the_same_options(house: House) -> None:
    house.launcher.fail(RunnerCrashed("killed by SIGSEGV", signal=signal.SIGSEGV))
    await house.use(A, num_ctx=512)
    await house.use(A, num_ctx=512)
    assert len(house.launcher.launches) == 2


# --- memory that ran out during the load ------------------------------------------------------------


@pytest.mark.parametrize(
    "error",
    [
        LoadFailed("failed to allocate buffer of size 12345"),
        InsufficientMemory("no"),
        RunnerCrashed("killed by SIGKILL", signal=signal.SIGKILL),
    ],
)
async def test_want_of_memory_evicts_idle_models_and_tries_once_more(house: House, error: LoadFailed) -> None:
    await house.use(A)
    busy = await house.ask(B)
    house.launcher.fail(error)
    assert (await house.ask(C)).holds
    assert house.loaded == ["b", "c"]
    assert busy.holds
    assert len(house.launcher.launches) == 4


async def test_want_of_memory_twice_is_reported(house: House) -> None:
    await house.use(A)
    house.launcher.fail("out of memory", times=2)
    assert isinstance((await house.ask(B)).error, LoadFailed)
    assert len(house.launcher.launches) == 3


async def test_want_of_memory_with_nobody_to_evict_is_reported_at_once(house: House) -> None:
    house.launcher.fail("out of memory")
    assert isinstance((await house.ask(A)).error, LoadFailed)
    assert len(house.launcher.launches) == 1


async def test_a_broken_file_evicts_nobody(house: House) -> None:
    await house.use(A)
    house.launcher.fail("wrong magic")
    assert isinstance((await house.ask(B)).error, LoadFailed)
    assert house.loaded == ["a"]


# --- stalls -----------------------------------------------------------------------------------------


async def test_a_load_without_progress_is_given_up(house: House) -> None:
    house.launcher.gate = asyncio.Event()
    request = await house.ask(A)
    await house.clock.advance(299)
    assert request.waits
    await house.clock.advance(1)
    assert isinstance(request.error, LoadFailed)
    assert "no progress for 300 seconds" in request.error.message
    assert [spec.path for spec in house.launcher.abandoned] == ["a.gguf"]


async def test_progress_gives_a_load_more_time(house: House, monkeypatch: pytest.MonkeyPatch) -> None:
    steps = [asyncio.Event() for _ in range(3)]
    launch = house.launcher.launch

    async def slow(spec: object, on_progress: Callable[[float], None]) -> object:
        for number, step in enumerate(steps):
            await step.wait()
            on_progress(number / len(steps))
        return await launch(spec, on_progress)  # pyright: ignore[reportArgumentType]

    monkeypatch.setattr(house.launcher, "launch", slow)
    request = await house.ask(A)
    for step in steps:
        await house.clock.advance(250)
        step.set()
        await settle()
    assert request.holds


@pytest.mark.parametrize("limit", ["0", "-1"])
async def test_a_load_timeout_of_zero_or_less_is_none(build: Build, limit: str) -> None:
    house = build(load_timeout=limit)
    house.launcher.gate = gate = asyncio.Event()
    request = await house.ask(A)
    await house.clock.advance(1e9)
    gate.set()
    await settle()
    assert request.holds


# --- death ------------------------------------------------------------------------------------------


async def test_a_dead_runner_is_dropped_at_once_and_the_next_request_reloads(house: House) -> None:
    await house.use(A)
    house.launcher.runners[0].die("killed by signal 9")
    await settle()
    assert house.loaded == []
    assert house.clock.pending == []
    assert (await house.ask(A)).holds
    assert len(house.launcher.launches) == 2


async def test_a_death_fails_the_streams_of_that_model_only(house: House) -> None:
    house.launcher.hold = gate = asyncio.Event()
    dying, living = await house.ask(A), await house.ask(B)
    assert dying.lease is not None
    assert living.lease is not None
    request = Generate(id=0, prompt=[65])
    dead = asyncio.create_task(_read(dying, request))
    alive = asyncio.create_task(_read(living, request))
    await settle()
    house.launcher.runners[0].die()
    await settle()
    gate.set()
    with pytest.raises(RunnerDied):
        await dead
    assert await alive == "hello"
    assert house.loaded == ["b"]


async def test_leases_on_a_dead_runner_do_not_count_on_its_successor(house: House) -> None:
    old = await house.ask(A)
    house.launcher.runners[0].die()
    await settle()
    new = await house.ask(A, keep_alive=0)
    await old.end()
    assert house.loaded == ["a"]
    assert house.launcher.runners[1].alive
    await new.end()
    assert house.loaded == []


async def test_a_death_makes_room_for_who_waits(build: Build) -> None:
    house = build(max_loaded_models=1)
    await house.ask(A)
    waiting = await house.ask(B)
    house.launcher.runners[0].die()
    await settle()
    assert waiting.holds


async def test_requests_that_waited_for_a_reload_get_it_after_a_death(house: House) -> None:
    await house.ask(A, num_ctx=512)
    new = await house.ask(A, num_ctx=1024)
    house.launcher.runners[0].die()
    await settle()
    assert new.n_ctx == 1024


async def _read(request: Request, generate: Generate) -> str:
    assert request.lease is not None
    stream = request.lease.runner.generate(generate)
    return "".join([message.text async for message in stream if isinstance(message, Delta)])
