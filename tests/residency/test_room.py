"""Who has to leave when memory or the number of models runs out, driven through a Residence."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

import pytest
from support.residency import House, make_model, settle

from agentkit_server.errors import BadRequest, InsufficientMemory
from agentkit_server.machine import Memory
from agentkit_server.residency.memory import GIB, MIB

pytestmark = pytest.mark.anyio

A, B, C, D = (make_model(name) for name in "abcd")
# About 2 GiB of weights each: one fits into 4 GiB next to its cells, two do not.
BIG, LARGE, GREAT = (make_model(name, file_size=2 * GIB) for name in ("big", "large", "great"))
Build = Callable[..., House]


def machine(size: int, available: int | None = None) -> Memory:
    return Memory(available=size if available is None else available, capacity=size)


# --- how many ---------------------------------------------------------------------------------------


async def test_three_models_are_loaded_at_most_by_default(house: House) -> None:
    for model in (A, B, C, D):
        await house.use(model)
        await house.clock.advance(1)
    assert house.loaded == ["b", "c", "d"]


async def test_the_number_of_models_is_a_setting(build: Build) -> None:
    house = build(max_loaded_models=1)
    await house.use(A)
    await house.use(B)
    assert house.loaded == ["b"]


async def test_the_least_recently_used_idle_model_goes(build: Build) -> None:
    house = build(max_loaded_models=2)
    for model in (A, B, A):
        await house.use(model)
        await house.clock.advance(1)
    await house.use(C)
    assert house.loaded == ["a", "c"]


async def test_of_idle_models_the_one_with_the_shortest_keep_alive_left_goes(build: Build) -> None:
    house = build(max_loaded_models=2)
    await house.use(A, keep_alive=-1)
    await house.clock.advance(1)
    await house.use(B, keep_alive="1h")
    await house.use(C)
    assert house.loaded == ["a", "c"]


async def test_a_busy_model_is_not_evicted_while_an_idle_one_is_there(build: Build) -> None:
    house = build(max_loaded_models=2)
    busy = await house.ask(A, keep_alive=1)
    await house.clock.advance(100)
    await house.use(B)
    assert (await house.ask(C)).holds
    assert busy.holds
    assert house.loaded == ["a", "c"]


async def test_a_busy_model_finishes_its_requests_before_it_makes_room(build: Build) -> None:
    house = build(max_loaded_models=1)
    busy = await house.ask(A)
    waiting = await house.ask(B)
    assert (busy.holds, waiting.waits) == (True, True)
    assert house.launcher.runners[0].alive
    await busy.end()
    assert waiting.holds
    assert house.loaded == ["b"]


async def test_further_requests_of_a_busy_model_do_not_starve_who_needs_its_room(build: Build) -> None:
    house = build(max_loaded_models=1)
    busy = await house.ask(A)
    waiting = await house.ask(B)
    late = await house.ask(A)
    await busy.end()
    assert (waiting.holds, late.waits) == (True, True)
    await waiting.end()
    assert late.holds


async def test_a_busy_model_stays_when_nobody_needs_its_room_any_more(build: Build) -> None:
    house = build(max_loaded_models=1)
    busy = await house.ask(A)
    waiting = await house.ask(B)
    late = await house.ask(A)
    await waiting.cancel()
    assert late.holds
    await busy.end()
    await late.end()
    assert house.loaded == ["a"]
    assert len(house.launcher.launches) == 1


async def test_loads_that_need_room_get_it_in_the_order_they_came(build: Build) -> None:
    house = build(max_loaded_models=1)
    first = await house.ask(A)
    second, third = await house.ask(B), await house.ask(C)
    await first.end()
    assert (second.holds, third.waits) == (True, True)
    await second.end()
    assert third.holds


async def test_a_model_that_is_still_loading_is_waited_for(build: Build) -> None:
    house = build(max_loaded_models=1)
    house.launcher.gates["a.gguf"] = gate = asyncio.Event()
    loading, waiting = await house.ask(A), await house.ask(B)
    gate.set()
    await settle()
    assert (loading.holds, waiting.waits) == (True, True)
    await loading.end()
    assert waiting.holds


async def test_room_is_there_only_once_the_evicted_runner_has_ended(build: Build) -> None:
    house = build(max_loaded_models=1)
    await house.use(A)
    await house.use(B)
    assert [runner.alive for runner in house.launcher.runners] == [False, True]


# --- memory -----------------------------------------------------------------------------------------


async def test_idle_models_make_room_in_memory(build: Build) -> None:
    house = build(memory=machine(4 * GIB))
    await house.use(BIG)
    await house.use(LARGE)
    assert house.loaded == ["large"]


async def test_only_as_many_models_go_as_must(build: Build) -> None:
    house = build(memory=machine(8 * GIB))
    for model in (BIG, A, LARGE):
        await house.use(model)
        await house.clock.advance(1)
    await house.use(GREAT)
    assert house.loaded == ["a", "great", "large"]


async def test_a_load_in_progress_reserves_its_memory(build: Build) -> None:
    house = build(memory=machine(4 * GIB))
    house.launcher.gates["big.gguf"] = gate = asyncio.Event()
    loading, waiting = await house.ask(BIG), await house.ask(LARGE)
    assert len(house.launcher.launches) == 1
    gate.set()
    await settle()
    assert (loading.holds, waiting.waits) == (True, True)
    await loading.end()
    assert waiting.holds


async def test_a_model_larger_than_the_machine_is_refused_and_evicts_nobody(build: Build) -> None:
    house = build(memory=machine(1 * GIB))
    await house.use(A)
    error = (await house.ask(BIG)).error
    assert isinstance(error, InsufficientMemory)
    assert "2.0 GiB" in error.message
    assert "1.0 GiB" in error.message
    assert "num_ctx" in error.message
    assert house.loaded == ["a"]


async def test_memory_that_others_took_is_not_there(build: Build) -> None:
    house = build(memory=machine(64 * GIB, available=1 * GIB))
    error = (await house.ask(BIG)).error
    assert isinstance(error, InsufficientMemory)
    assert house.launcher.launches == []
    house.memory = machine(64 * GIB)
    assert (await house.ask(BIG)).holds


async def test_a_num_ctx_that_can_never_fit_is_a_bad_request(build: Build) -> None:
    house = build(memory=machine(2 * GIB))
    model = make_model("long", context_length=1 << 20)
    error = (await house.ask(model, num_ctx=1 << 20)).error
    assert isinstance(error, BadRequest)
    assert error.param == "num_ctx"
    assert str(1 << 20) in error.message
    assert (await house.ask(model, num_ctx=1024)).holds


async def test_an_impossible_num_ctx_does_not_send_the_loaded_model_away(build: Build) -> None:
    house = build(memory=machine(2 * GIB))
    model = make_model("long", context_length=1 << 20)
    running = await house.ask(model, num_ctx=1024)
    assert isinstance((await house.ask(model, num_ctx=1 << 20)).error, BadRequest)
    assert running.holds
    assert not house.residence.loaded()[0].stopping


async def test_a_context_nobody_asked_for_is_shortened_to_fit(build: Build) -> None:
    thirsty = make_model("thirsty", head_count_kv=(32,) * 64, key_length=128, value_length=128)
    house = build(memory=machine(4 * GIB))
    request = await house.ask(thirsty)
    assert request.n_ctx == 2048
    assert "shortened" in house.residence.loaded()[0].note


async def test_idle_models_go_before_a_context_is_shortened(build: Build) -> None:
    thirsty = make_model("thirsty", head_count_kv=(32,) * 64, key_length=128, value_length=128)
    house = build(memory=machine(6 * GIB))
    await house.use(BIG)
    assert (await house.ask(thirsty)).n_ctx == 4096
    assert house.loaded == ["thirsty"]


async def test_a_context_is_shortened_before_a_busy_model_is_sent_away(build: Build) -> None:
    thirsty = make_model("thirsty", head_count_kv=(32,) * 64, key_length=128, value_length=128)
    house = build(memory=machine(6 * GIB))
    busy = await house.ask(BIG)
    assert (await house.ask(thirsty)).n_ctx == 2048
    assert busy.holds


async def test_fewer_sequences_run_in_parallel_where_memory_is_short(build: Build) -> None:
    wide = build()
    narrow = build(memory=machine(500 * MIB))
    fixed = build(num_parallel=7)
    for house in (wide, narrow, fixed):
        await house.use(A)
    cells = [house.launcher.launches[0].n_cells for house in (wide, narrow, fixed)]
    assert cells[0] == 4 * 4096
    assert 4096 <= cells[1] < 4 * 4096
    assert cells[2] == 7 * 4096
