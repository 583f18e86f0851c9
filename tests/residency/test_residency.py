"""Leases: one load for many requests, several models at once, keep-alive, reloads, the queue."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from datetime import datetime, timedelta

import anyio
import pytest
from support.residency import House, make_model, settle

from agentkit_server.engine.types import LoadSpec
from agentkit_server.errors import BadRequest, LoadFailed, ServerBusy
from agentkit_server.residency.types import Residency
from agentkit_server.runner.protocol import OnProgress, Runner

pytestmark = pytest.mark.anyio

A, B, C, D = (make_model(name) for name in "abcd")
Build = Callable[..., House]


# --- loading ----------------------------------------------------------------------------------------


async def test_a_lease_gives_a_loaded_runner(house: House) -> None:
    residence: Residency = house.residence
    request = await house.ask(A)
    assert request.lease is not None
    assert request.lease.runner is house.launcher.runners[0]
    assert request.lease.context_length == request.lease.runner.facts.n_ctx == 4096
    assert request.progress == [0.0, 1.0]
    assert [row.model for row in residence.loaded()] == [A]


async def test_a_loaded_model_is_leased_without_another_load_or_wait(house: House) -> None:
    await house.use(A)
    second = await house.ask(A)
    assert second.lease is not None
    assert second.lease.load_ns == 0
    assert second.progress == []
    assert len(house.launcher.launches) == 1


async def test_the_lease_says_how_long_the_load_took(house: House) -> None:
    house.launcher.gate = gate = asyncio.Event()
    request = await house.ask(A)
    await house.clock.advance(2.5)
    gate.set()
    await settle()
    assert request.lease is not None
    assert request.lease.load_ns == 2_500_000_000


async def test_requests_for_one_model_share_one_load(house: House) -> None:
    house.launcher.gate = gate = asyncio.Event()
    requests = [await house.ask(A) for _ in range(20)]
    gate.set()
    await settle()
    assert all(request.holds for request in requests)
    assert len(house.launcher.launches) == 1
    assert all(request.progress[-1] == 1.0 for request in requests)


async def test_a_load_blocks_neither_requests_nor_loads_of_other_models(house: House) -> None:
    await house.use(A)
    house.launcher.gates["b.gguf"] = asyncio.Event()
    loading = await house.ask(B)
    assert (await house.ask(A)).holds
    assert (await house.ask(C)).holds
    assert loading.waits


async def test_models_stay_loaded_side_by_side(house: House) -> None:
    for model in (A, B, C):
        await house.use(model)
    assert house.loaded == ["a", "b", "c"]
    assert len(house.launcher.launches) == 3


async def test_a_load_goes_on_when_its_only_request_is_cancelled(house: House) -> None:
    house.launcher.gate = gate = asyncio.Event()
    request = await house.ask(A)
    await request.cancel()
    gate.set()
    await settle()
    assert house.loaded == ["a"]
    assert house.clock.pending == [300.0]
    assert (await house.ask(A)).holds
    assert len(house.launcher.launches) == 1


async def test_cancelling_one_of_several_waiting_requests_leaves_the_others(house: House) -> None:
    house.launcher.gate = gate = asyncio.Event()
    first, second = await house.ask(A), await house.ask(A)
    await first.cancel()
    gate.set()
    await settle()
    assert second.holds
    await second.end()
    assert house.clock.pending == [300.0]


async def test_a_request_cancelled_in_the_moment_it_is_served_gives_its_lease_back(house: House) -> None:
    house.launcher.gate = gate = asyncio.Event()
    request = await house.ask(A)
    gate.set()
    while not house.loaded:  # noqa: ASYNC110 -- the moment between two steps of the loop is the point
        await asyncio.sleep(0)
    await request.cancel()
    assert house.clock.pending == [300.0]


# --- keep-alive -------------------------------------------------------------------------------------


async def test_an_idle_model_leaves_when_its_keep_alive_runs_out(house: House) -> None:
    await house.use(A)
    await house.clock.advance(299)
    assert house.loaded == ["a"]
    await house.clock.advance(1)
    assert house.loaded == []
    assert house.launcher.runners[0].closed_politely


async def test_the_keep_alive_starts_when_the_last_request_ends(house: House) -> None:
    first, second = await house.ask(A), await house.ask(A)
    await house.clock.advance(1000)
    await first.end()
    await house.clock.advance(1000)
    assert house.loaded == ["a"]
    await second.end()
    await house.clock.advance(299)
    assert house.loaded == ["a"]
    await house.clock.advance(1)
    assert house.loaded == []


async def test_a_new_request_stops_the_timer_and_starts_it_anew(house: House) -> None:
    await house.use(A)
    await house.clock.advance(200)
    await house.use(A)
    await house.clock.advance(200)
    assert house.loaded == ["a"]


@pytest.mark.parametrize(("keep_alive", "seconds"), [("10s", 10), (20, 20), ("1m", 60)])
async def test_a_request_names_the_keep_alive(house: House, keep_alive: str | float, seconds: float) -> None:
    await house.use(A, keep_alive=keep_alive)
    assert house.clock.pending == [seconds]


async def test_keep_alive_zero_unloads_right_after(house: House) -> None:
    await house.use(A, keep_alive=0)
    assert house.loaded == []


async def test_keep_alive_zero_waits_for_the_other_requests(house: House) -> None:
    other = await house.ask(A, keep_alive="5m")
    await house.use(A, keep_alive=0)
    assert house.loaded == ["a"]
    await other.end()
    assert house.loaded == []


@pytest.mark.parametrize("keep_alive", [-1, "-1", "-5m"])
async def test_a_negative_keep_alive_sets_no_timer(house: House, keep_alive: str | float) -> None:
    await house.use(A, keep_alive=keep_alive)
    assert house.clock.pending == []
    assert house.residence.loaded()[0].expires_at is None


async def test_a_request_that_names_no_keep_alive_leaves_what_the_model_has(house: House) -> None:
    await house.use(A, keep_alive=-1)
    await house.use(A)
    assert house.clock.pending == []


async def test_the_default_keep_alive_is_a_setting(build: Build) -> None:
    house = build(keep_alive="90")
    await house.use(A)
    assert house.clock.pending == [90.0]
    forever = build(keep_alive="-1")
    await forever.use(A)
    assert forever.clock.pending == []


async def test_a_setting_that_cannot_be_read_is_said_and_the_default_used(
    build: Build, caplog: pytest.LogCaptureFixture
) -> None:
    house = build(keep_alive="soon")
    await house.use(A)
    assert house.clock.pending == [300.0]
    assert "AGENTKIT_KEEP_ALIVE" in caplog.text


async def test_a_bad_keep_alive_is_refused_before_anything_is_loaded(house: House) -> None:
    assert isinstance((await house.ask(A, keep_alive="5x")).error, BadRequest)
    assert house.launcher.launches == []


async def test_an_idle_residence_has_nothing_to_do(house: House) -> None:
    await house.use(A, keep_alive=-1)
    await settle()
    assert house.clock.pending == []


# --- other load options -----------------------------------------------------------------------------


async def test_a_request_without_num_ctx_takes_whatever_is_loaded(house: House) -> None:
    await house.use(A, num_ctx=512, num_thread=1)
    second = await house.ask(A)
    assert second.n_ctx == 512
    assert len(house.launcher.launches) == 1


@pytest.mark.parametrize(
    "options", [{"num_ctx": 1024}, {"num_batch": 64}, {"num_gpu": 0}, {"use_mmap": False}, {"num_thread": 2}]
)
async def test_other_load_options_reload_an_idle_model(house: House, options: dict[str, int]) -> None:
    await house.use(A, num_ctx=512)
    request = await house.ask(A, **options)
    assert request.holds
    assert len(house.launcher.launches) == 2
    assert not house.launcher.runners[0].alive
    await request.end()
    await house.use(A, **options)
    assert len(house.launcher.launches) == 2


async def test_a_reload_waits_for_the_requests_that_run(house: House) -> None:
    old = await house.ask(A, num_ctx=512)
    new = await house.ask(A, num_ctx=1024)
    assert old.holds
    assert new.waits
    assert house.residence.loaded()[0].stopping
    await old.end()
    assert new.n_ctx == 1024


async def test_requests_with_the_old_options_do_not_starve_a_reload(house: House) -> None:
    running = await house.ask(A, num_ctx=512)
    new = await house.ask(A, num_ctx=1024)
    late = await house.ask(A, num_ctx=512)
    assert (new.waits, late.waits) == (True, True)
    await running.end()
    assert (new.holds, late.waits) == (True, True)
    await new.end()
    assert late.n_ctx == 512


async def test_a_reload_nobody_waits_for_any_more_does_not_happen(house: House) -> None:
    running = await house.ask(A, num_ctx=512)
    new = await house.ask(A, num_ctx=1024)
    late = await house.ask(A, num_ctx=512)
    await new.cancel()
    assert late.holds
    await running.end()
    await late.end()
    assert len(house.launcher.launches) == 1
    assert not house.residence.loaded()[0].stopping
    assert house.clock.pending == [300.0]


async def test_num_ctx_above_the_trained_length_is_capped_and_said(
    house: House, caplog: pytest.LogCaptureFixture
) -> None:
    model = make_model("short", context_length=2048)
    await house.use(model, num_ctx=4000)
    assert (await house.ask(model, num_ctx=2048)).n_ctx == 2048
    assert len(house.launcher.launches) == 1
    assert "capped at the model's trained context" in caplog.text
    assert "capped" in house.residence.loaded()[0].note


@pytest.mark.parametrize(
    "options",
    [
        {"num_ctx": 3},
        {"num_ctx": 0},
        {"num_ctx": -1},
        {"num_ctx": 10**9},
        {"num_batch": 0},
        {"num_thread": -1},
    ],
)
async def test_absurd_options_are_refused_and_the_loaded_model_stays(
    house: House, options: dict[str, int]
) -> None:
    await house.use(A)
    error = (await house.ask(A, **options)).error
    assert isinstance(error, BadRequest)
    assert error.param in options
    assert house.loaded == ["a"]


# --- the queue --------------------------------------------------------------------------------------


async def test_a_full_queue_answers_busy_with_a_time_to_retry(build: Build) -> None:
    house = build(max_queue=2)
    house.launcher.gate = gate = asyncio.Event()
    waiting = [await house.ask(A), await house.ask(B)]
    error = (await house.ask(C)).error
    assert isinstance(error, ServerBusy)
    assert error.message == "server busy, please try again.  maximum pending requests exceeded"
    assert 1 <= error.retry_after <= 60
    gate.set()
    await settle()
    assert all(request.holds for request in waiting)
    assert (await house.ask(C)).holds


async def test_a_request_that_need_not_wait_passes_a_full_queue(build: Build) -> None:
    house = build(max_queue=1)
    await house.use(A)
    house.launcher.gate = asyncio.Event()
    assert (await house.ask(B)).waits
    assert (await house.ask(A)).holds


async def test_no_more_requests_hold_a_model_than_it_has_sequences(build: Build) -> None:
    house = build(max_queue=2)
    holding = [await house.ask(A) for _ in range(64)]
    waiting = [await house.ask(A), await house.ask(A)]
    assert all(request.holds for request in holding)
    assert isinstance((await house.ask(A)).error, ServerBusy)
    await holding[5].end()
    assert (waiting[0].holds, waiting[1].waits) == (True, True)
    await holding[6].cancel()
    assert waiting[1].holds


async def test_retry_after_grows_with_how_long_requests_take(build: Build) -> None:
    house = build(max_queue=10)
    slow = await house.ask(A)
    await house.clock.advance(80)
    await slow.end()
    running = await house.ask(A, num_ctx=512)
    for _ in range(10):
        assert (await house.ask(A, num_ctx=1024)).waits
    busy = (await house.ask(A)).error
    assert isinstance(busy, ServerBusy)
    assert busy.retry_after > 10
    await running.end()


async def test_a_cancelled_waiting_request_leaves_the_queue(build: Build) -> None:
    house = build(max_queue=1)
    house.launcher.gate = asyncio.Event()
    first = await house.ask(A)
    await first.cancel()
    assert (await house.ask(B)).waits


# --- ps, stop, close --------------------------------------------------------------------------------


async def test_ps_tells_size_context_and_when_a_model_leaves(house: House) -> None:
    await house.use(A, num_ctx=512)
    row = house.residence.loaded()[0]
    assert (row.model, row.context_length, row.size_vram, row.stopping, row.note) == (A, 512, 0, False, "")
    assert row.size > 0
    assert row.expires_at is not None
    assert row.expires_at.tzinfo is not None
    left = row.expires_at - datetime.now().astimezone()
    assert timedelta(seconds=200) < left <= timedelta(seconds=300)


async def test_ps_tells_how_far_a_load_is(build: Build, monkeypatch: pytest.MonkeyPatch) -> None:
    house = build(keep_alive="10m")
    reported: list[OnProgress] = []
    launch = house.launcher.launch

    async def observed(spec: LoadSpec, on_progress: OnProgress) -> Runner:
        reported.append(on_progress)
        return await launch(spec, on_progress)

    monkeypatch.setattr(house.launcher, "launch", observed)
    house.launcher.gate = gate = asyncio.Event()
    request = await house.ask(A, num_ctx=512)
    assert house.residence.loaded()[0].loading == 0
    reported[0](0.42)
    loading = house.residence.loaded()[0]
    assert (loading.model, loading.loading, loading.context_length, loading.pid) == (A, 0.42, 512, None)
    assert loading.expires_at is not None
    assert loading.expires_at > datetime.now().astimezone() + timedelta(minutes=9)
    gate.set()
    await request.end()
    ready = house.residence.loaded()[0]
    assert ready.loading is None
    assert loading.size > A.gguf.file_size


async def test_a_load_that_fails_leaves_the_list(house: House) -> None:
    house.launcher.gate = gate = asyncio.Event()
    house.launcher.fail(LoadFailed("the file is broken"))
    await house.ask(A)
    assert house.residence.loaded()[0].loading == 0
    gate.set()
    await settle()
    assert house.residence.loaded() == []


async def test_a_model_that_leaves_once_it_is_loaded_says_so(house: House) -> None:
    house.launcher.gate = gate = asyncio.Event()
    request = await house.ask(A)
    await house.residence.unload(A)
    assert house.residence.loaded()[0].stopping
    gate.set()
    await settle()
    assert request.holds
    assert house.residence.loaded()[0].stopping


async def test_unload_ends_an_idle_model_at_once(house: House) -> None:
    await house.use(A)
    assert await house.residence.unload(A)
    assert house.loaded == []
    assert not await house.residence.unload(A)


async def test_unload_lets_running_requests_finish_and_new_ones_reload(house: House) -> None:
    running = await house.ask(A)
    with anyio.fail_after(10):
        assert await house.residence.unload(A)
    assert house.residence.loaded()[0].stopping
    late = await house.ask(A)
    assert (running.holds, late.waits) == (True, True)
    await running.end()
    assert late.holds
    assert len(house.launcher.launches) == 2


async def test_unload_during_a_load_serves_who_waits_and_then_unloads(house: House) -> None:
    house.launcher.gate = gate = asyncio.Event()
    request = await house.ask(A)
    assert await house.residence.unload(A)
    gate.set()
    await settle()
    assert request.holds
    await request.end()
    assert house.loaded == []


async def test_close_ends_runners_loads_and_waiting_requests(house: House) -> None:
    await house.use(A)
    running = await house.ask(B)
    house.launcher.gates["c.gguf"] = asyncio.Event()
    waiting = await house.ask(C)
    with anyio.fail_after(10):
        await house.residence.close()
        await house.residence.close()
    assert not any(runner.alive for runner in house.launcher.runners)
    assert [spec.path for spec in house.launcher.abandoned] == ["c.gguf"]
    assert isinstance(waiting.error, ServerBusy)
    assert house.clock.pending == []
    assert house.loaded == []
    await running.end()


async def test_a_closed_residence_refuses_requests(house: House) -> None:
    await house.residence.close()
    error = (await house.ask(A)).error
    assert isinstance(error, ServerBusy)
    assert "shutting down" in error.message
