"""Models that differ in adapters and texts only share one runner."""

from __future__ import annotations

import asyncio
import os
import random
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import anyio
import pytest
from support.lora import write_lora
from support.residency import House, Request, make_model, settle
from support.tiny_llama import INNER, WIDTH, random_pair

from agentkit_server.errors import LoadFailed
from agentkit_server.machine import Memory
from agentkit_server.models.model import Adapter, Model, TensorInfo
from agentkit_server.models.names import ModelName
from agentkit_server.residency.memory import GIB, MIB
from agentkit_server.residency.types import Loaded, LoadOptions

from .test_stress import random_step, runners_alive

pytestmark = pytest.mark.anyio

WEIGHT = "blk.0.ffn_down.weight"
BASE = make_model("base", file_size=GIB, tensors=(TensorInfo(WEIGHT, "F32", (INNER, WIDTH)),))
Build = Callable[..., House]
NOTE = "shares its weights in memory with "


def on_base(name: str, **fields: Any) -> Model:
    """Another model of BASE's weights."""
    fields = {"weights": BASE.digest, **fields}
    return replace(BASE, name=ModelName.parse(name), digest=f"digest-of-{name}", **fields)


SAME, OTHER = on_base("same", system="Be brief."), on_base("other", parameters={"temperature": 0})


@pytest.fixture
def lora(tmp_path: Path) -> Adapter:
    return Adapter(write_lora(tmp_path / "lora.gguf", {WEIGHT: random_pair(WIDTH, INNER, seed=1)}, 1.0))


async def use(house: House, model: Model) -> int:
    """One request from beginning to end; the adapters of its lease."""
    request = await house.ask(model)
    adapters = (await request.leased()).adapters
    await request.end()
    return adapters


def rows(house: House) -> dict[str, Loaded]:
    return {row.model.name.model: row for row in house.residence.loaded()}


# --- one runner -------------------------------------------------------------------------------------


async def test_models_of_the_same_weights_are_loaded_once_and_listed_each(house: House) -> None:
    first, second = await house.ask(BASE), await house.ask(SAME)
    assert first.lease is not None
    assert second.lease is not None
    assert first.lease.runner is second.lease.runner
    assert second.lease.load_ns == 0
    assert len(house.launcher.launches) == 1
    assert house.loaded == ["base", "same"]
    assert rows(house)["base"].note == f"{NOTE}same:latest"
    assert rows(house)["same"].note == f"{NOTE}base:latest"
    assert rows(house)["same"].model is SAME


async def test_other_weights_another_path_or_other_projectors_are_another_runner(house: House) -> None:
    others = [
        on_base("b", weights="other"),
        on_base("c", path=Path("elsewhere.gguf")),
        on_base("d", projectors=(Path("eyes.gguf"),)),
    ]
    for model in (BASE, *others[:2]):
        await house.use(model)
    assert len(house.launcher.launches) == 3
    await house.use(others[2])
    assert len(house.launcher.launches) == 4


async def test_a_model_joins_a_load_that_is_under_way(house: House) -> None:
    house.launcher.gate = gate = asyncio.Event()
    requests = [await house.ask(model) for model in (BASE, SAME, OTHER)]
    assert all(request.waits for request in requests)
    assert {row.loading for row in house.residence.loaded()} == {0.0}
    gate.set()
    await settle()
    assert all(request.holds and request.progress[-1] == 1.0 for request in requests)
    assert len(house.launcher.launches) == 1


async def test_a_load_that_fails_fails_for_all_who_waited_for_it(house: House) -> None:
    house.launcher.gate = gate = asyncio.Event()
    house.launcher.fail("the file is broken")
    requests = [await house.ask(model) for model in (BASE, SAME)]
    gate.set()
    await settle()
    assert all("the file is broken" in str(request.error) for request in requests)
    assert house.residence.loaded() == []


async def test_the_memory_of_what_is_shared_is_needed_once(build: Build) -> None:
    house = build(memory=Memory(available=2 * GIB, capacity=2 * GIB))
    for model in (BASE, SAME, OTHER):
        await house.use(model)
    assert house.loaded == ["base", "other", "same"]
    assert len(house.launcher.launches) == 1


async def test_models_that_share_count_as_one_of_those_that_may_be_loaded(build: Build) -> None:
    house = build(max_loaded_models=2)
    for model in (BASE, SAME, make_model("z")):
        await house.use(model)
    assert house.loaded == ["base", "same", "z"]


async def test_a_model_that_waits_for_room_joins_one_that_finds_it(build: Build) -> None:
    house = build(max_loaded_models=1)
    busy = await house.ask(make_model("busy"))
    waiting = [await house.ask(model) for model in (BASE, SAME)]
    assert all(request.waits for request in waiting)
    await busy.end()
    assert all(request.holds for request in waiting)
    assert len(house.launcher.launches) == 2


async def test_who_waits_longest_is_served_first_whatever_it_is_called(
    build: Build, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("agentkit_server.residency.context.SEQUENCES", 1)
    house = build(num_parallel=1)
    holder = await house.ask(BASE)
    first, second = await house.ask(SAME), await house.ask(BASE)
    assert (first.waits, second.waits) == (True, True)
    await holder.end()
    assert (first.holds, second.waits) == (True, True)
    await first.end()
    assert second.holds


# --- each for itself --------------------------------------------------------------------------------


async def test_each_model_has_its_own_keep_alive_and_the_last_takes_the_weights_along(house: House) -> None:
    await house.use(BASE, keep_alive="10s")
    await house.use(SAME, keep_alive="20s")
    await house.use(OTHER, keep_alive=0)
    assert house.loaded == ["base", "same"]
    await house.clock.advance(11)
    assert house.loaded == ["same"]
    assert rows(house)["same"].note == ""
    assert house.launcher.runners[0].alive
    await house.clock.advance(10)
    assert house.loaded == []
    assert not house.launcher.runners[0].alive


async def test_unloading_one_leaves_the_others(house: House) -> None:
    await house.use(BASE)
    await house.use(SAME)
    assert await house.residence.unload(BASE)
    assert house.loaded == ["same"]
    assert not await house.residence.unload(BASE)
    running = await house.ask(SAME)
    await house.use(BASE)
    assert await house.residence.unload(SAME)
    assert rows(house)["same"].stopping
    assert running.holds
    await running.end()
    assert house.loaded == ["base"]
    assert len(house.launcher.launches) == 1


async def test_other_load_options_part_a_model_from_those_it_shared_with(house: House) -> None:
    await house.use(BASE)
    await house.use(SAME)
    held = await house.ask(SAME, num_ctx=1024)
    assert held.n_ctx == 1024
    assert {name: row.context_length for name, row in rows(house).items()} == {"base": 4096, "same": 1024}
    assert len(house.launcher.launches) == 2
    # It finds its way back to where it suits.
    await held.end()
    await house.use(SAME, num_ctx=4096)
    assert len(house.launcher.launches) == 2
    assert {name: row.context_length for name, row in rows(house).items()} == {"base": 4096, "same": 4096}
    assert sum(runner.alive for runner in house.launcher.runners) == 1


async def test_a_model_that_parts_lets_its_requests_run_to_their_end(house: House) -> None:
    await house.use(BASE)
    old = await house.ask(SAME)
    new = await house.ask(SAME, num_ctx=1024)
    assert (old.holds, new.holds) == (True, True)
    assert {row.stopping for row in house.residence.loaded() if row.model is SAME} == {False, True}
    await old.end()
    assert house.loaded == ["base", "same"]
    # Back among the guests while the old request still runs: it is the same guest.
    old = await house.ask(SAME, num_ctx=1024)
    await house.use(SAME, num_ctx=4096)
    await old.end()
    await new.end()
    assert house.loaded == ["base", "same"]


async def test_the_context_is_that_of_the_weights_a_model_would_share(house: House) -> None:
    await house.use(BASE, num_ctx=8192)
    request = await house.ask(SAME)
    assert request.n_ctx == 8192
    assert house.residence.context_length(OTHER, LoadOptions()) == 8192
    assert house.residence.context_length(OTHER, LoadOptions(num_ctx=512)) == 512


async def test_a_context_that_one_model_asked_for_makes_no_other_models_shorter(house: House) -> None:
    await house.use(BASE, num_ctx=1024)
    assert house.residence.context_length(SAME, LoadOptions()) == 4096
    request = await house.ask(SAME)
    assert request.n_ctx == 4096
    assert {name: row.context_length for name, row in rows(house).items()} == {"base": 1024, "same": 4096}
    await house.use(OTHER, num_ctx=1024)
    assert len(house.launcher.launches) == 2


async def test_a_context_that_memory_made_short_is_shared(build: Build) -> None:
    house = build(memory=Memory(available=1300 * MIB, capacity=1300 * MIB))
    await house.use(BASE)
    request = await house.ask(SAME)
    assert request.n_ctx < 4096
    assert len(house.launcher.launches) == 1


async def test_a_model_made_anew_under_its_name_takes_the_place_of_the_old_one(house: House) -> None:
    await house.use(BASE)
    await house.use(SAME)
    anew = replace(SAME, digest="another", system="Be long.")
    await house.use(anew)
    assert rows(house)["same"].model is anew
    assert len(house.residence.loaded()) == 2


async def test_what_was_made_anew_while_it_was_used_goes_with_its_last_request(house: House) -> None:
    await house.use(BASE)
    old = await house.ask(SAME)
    anew = replace(SAME, digest="another", system="Be long.")
    await house.use(anew)
    assert [row.stopping for row in house.residence.loaded() if row.model is SAME] == [True]
    await old.end()
    assert rows(house)["same"].model is anew
    assert len(house.residence.loaded()) == 2


async def test_a_runner_that_dies_takes_all_its_models_along(house: House) -> None:
    for model in (BASE, SAME):
        await house.use(model)
    house.launcher.runners[0].die()
    await settle()
    assert house.residence.loaded() == []
    await house.use(SAME)
    assert house.loaded == ["same"]


@pytest.fixture
def narrow(build: Build, monkeypatch: pytest.MonkeyPatch) -> House:
    """Where a runner serves one request at a time."""
    monkeypatch.setattr("agentkit_server.residency.context.SEQUENCES", 1)
    return build(num_parallel=1)


async def test_a_cancelled_request_leaves_its_model_with_a_keep_alive(narrow: House) -> None:
    holder = await narrow.ask(BASE, keep_alive=-1)
    waiting = await narrow.ask(SAME)
    await waiting.cancel()
    await holder.end()
    assert narrow.loaded == ["base", "same"]
    await narrow.clock.advance(301)
    assert narrow.loaded == ["base"]


async def test_a_cancelled_request_prolongs_no_keep_alive(narrow: House) -> None:
    await narrow.use(BASE)
    await narrow.use(SAME, keep_alive="10s")
    await narrow.ask(BASE)
    await narrow.clock.advance(6)
    await (await narrow.ask(SAME)).cancel()
    await narrow.clock.advance(5)
    assert narrow.loaded == ["base"]


async def test_a_keep_alive_that_ends_while_a_request_waits_gives_way_to_the_one_it_asks_for(
    narrow: House,
) -> None:
    await narrow.use(BASE)
    await narrow.use(SAME, keep_alive="10s")
    holder = await narrow.ask(BASE)
    waiting = await narrow.ask(SAME, keep_alive=-1)
    await narrow.clock.advance(11)
    assert waiting.waits
    assert not rows(narrow)["same"].stopping
    await holder.end()
    await waiting.end()
    assert narrow.loaded == ["base", "same"]
    assert rows(narrow)["same"].expires_at is None


async def test_a_waiting_request_with_other_options_parts_its_model_and_leaves_the_others(
    narrow: House,
) -> None:
    holder = await narrow.ask(BASE)
    first, second = await narrow.ask(SAME), await narrow.ask(SAME, num_ctx=1024)
    await holder.end()
    assert (first.holds, second.holds, second.n_ctx) == (True, True, 1024)
    assert not rows(narrow)["base"].stopping
    await first.end()
    assert narrow.loaded == ["base", "same"]
    assert all(runner.alive for runner in narrow.launcher.runners)


async def test_those_who_waited_for_a_load_are_served_as_they_came(
    build: Build, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("agentkit_server.residency.context.SEQUENCES", 2)
    house = build(num_parallel=2)
    house.launcher.gate = gate = asyncio.Event()
    requests = [await house.ask(model) for model in (BASE, SAME, BASE)]
    gate.set()
    await settle()
    assert [request.holds for request in requests] == [True, True, False]
    await requests[0].end()
    assert requests[2].holds


async def test_models_that_stay_after_all_leave_when_their_keep_alive_ends(build: Build) -> None:
    house = build(max_loaded_models=1)
    await house.use(BASE, keep_alive="10s")
    running = await house.ask(SAME)
    other = await house.ask(make_model("z"))
    assert rows(house)["base"].stopping
    await other.cancel()
    assert not rows(house)["base"].stopping
    await house.clock.advance(11)
    assert house.loaded == ["same"]
    assert running.holds


# --- adapters ---------------------------------------------------------------------------------------


async def test_a_lease_names_the_adapters_of_its_model(house: House, lora: Adapter) -> None:
    adapted, half = (
        on_base("adapted", adapters=(lora,)),
        on_base("half", adapters=(replace(lora, scale=0.5),)),
    )
    twin = on_base("twin", adapters=(lora,), system="Be brief.")
    assert [await use(house, model) for model in (BASE, adapted, half, twin, adapted)] == [0, 1, 2, 1, 1]
    [runner] = house.launcher.runners
    assert {n: [(file.path, file.scale) for file in files] for n, files in runner.adapters.items()} == {
        1: [(str(lora.path), 1.0)],
        2: [(str(lora.path), 0.5)],
    }


async def test_adapters_go_with_the_last_model_that_has_them(house: House, lora: Adapter) -> None:
    adapted, twin = (on_base(name, adapters=(lora,)) for name in ("adapted", "twin"))
    for model in (BASE, adapted, twin):
        await use(house, model)
    [runner] = house.launcher.runners
    await house.residence.unload(adapted)
    await settle()
    assert list(runner.adapters) == [1]
    await house.residence.unload(twin)
    await settle()
    assert runner.adapters == {}
    # What comes again has another number: nothing that is still under way can mean it.
    assert await use(house, twin) == 2
    assert runner.alive


async def test_adapters_that_were_written_anew_meanwhile_go_with_their_model(
    house: House, lora: Adapter
) -> None:
    adapted = on_base("adapted", adapters=(lora,))
    await house.use(BASE)
    for time, number in ((1, 1), (2, 2), (1, 1)):
        os.utime(lora.path, (time, time))
        assert await use(house, adapted) == number
    await house.residence.unload(adapted)
    await settle()
    assert house.launcher.runners[0].adapters == {}


async def test_requests_that_come_together_load_adapters_once(house: House, lora: Adapter) -> None:
    adapted = on_base("adapted", adapters=(lora,))
    requests = [await house.ask(adapted) for _ in range(5)]
    assert {(await request.leased()).adapters for request in requests} == {1}
    assert len(house.launcher.runners[0].adapters) == 1


async def failure(house: House, model: Model) -> str:
    request = await house.ask(model)
    with anyio.fail_after(20), pytest.raises(LoadFailed) as caught:
        await request.task
    await settle()
    return caught.value.message


async def test_an_adapter_that_does_not_fit_is_named_before_anything_is_loaded(
    house: House, tmp_path: Path
) -> None:
    wrong = write_lora(tmp_path / "wrong.gguf", {WEIGHT: random_pair(WIDTH, INNER + 1, seed=1)}, 1.0)
    message = await failure(house, on_base("adapted", adapters=(Adapter(wrong),)))
    assert message.startswith(f"'adapted:latest' could not be loaded: the adapter {str(wrong)!r} cannot be")
    gone = tmp_path / "gone.gguf"
    message = await failure(house, on_base("adapted", adapters=(Adapter(gone),)))
    assert f"the adapter {str(gone)!r} cannot be read: No such file" in message
    message = await failure(house, on_base("adapted", adapters=(Adapter(wrong, float("inf")),)))
    assert "the scale inf of" in message
    assert house.launcher.launches == []


async def test_an_adapter_that_the_runner_refuses_takes_no_place(house: House, lora: Adapter) -> None:
    adapted = on_base("adapted", adapters=(lora,))
    await house.use(BASE)
    [runner] = house.launcher.runners
    runner.refuse_adapters = "the adapter 'x' cannot be applied: no room"
    assert await failure(house, adapted) == (
        "'adapted:latest' could not be loaded: the adapter 'x' cannot be applied: no room"
    )
    assert house.loaded == ["base"]
    runner.refuse_adapters = ""
    assert await use(house, adapted) == 2


async def test_a_runner_that_ends_while_it_loads_an_adapter_is_a_load_that_failed(
    house: House, lora: Adapter, monkeypatch: pytest.MonkeyPatch
) -> None:
    await house.use(BASE)
    [runner] = house.launcher.runners
    load = runner.load_adapters

    async def dies(number: int, files: Any) -> Any:
        runner.die("signal 11")
        return await load(number, files)

    monkeypatch.setattr(runner, "load_adapters", dies)
    message = await failure(house, on_base("adapted", adapters=(lora,)))
    assert f"its runner ended while it loaded {str(lora.path)!r}" in message
    assert house.residence.loaded() == []
    await house.use(BASE)
    assert house.loaded == ["base"]


async def test_what_is_left_out_of_an_adapter_is_said(house: House, tmp_path: Path) -> None:
    norm = {"blk.0.attn_norm.weight": random_pair(WIDTH, 1, seed=1)[1]}
    path = write_lora(tmp_path / "lora.gguf", {WEIGHT: random_pair(WIDTH, INNER, seed=1)}, 1.0, extra=norm)
    await use(house, on_base("adapted", adapters=(Adapter(path),)))
    assert rows(house)["adapted"].note == (
        f"the norm weights of the adapter {str(path)!r} are left out: llama.cpp cannot apply them"
    )


async def test_adapters_count_in_memory(build: Build, tmp_path: Path) -> None:
    large = tmp_path / "large.gguf"
    write_lora(large, {WEIGHT: random_pair(WIDTH, INNER, seed=1)}, 1.0)
    with large.open("ab") as file:
        file.truncate(900 * MIB)
    adapted = on_base("adapted", adapters=(Adapter(large),))
    house = build(memory=Memory(available=2304 * MIB, capacity=2304 * MIB))
    held = await house.ask(BASE, num_ctx=8192)
    # Beside the base with that context there is no room for it: it is loaded once the base is gone.
    waiting = await house.ask(adapted)
    await held.end()
    await waiting.leased()
    assert house.loaded == ["adapted"]
    assert len(house.launcher.launches) == 2
    roomy = build(memory=Memory(available=4 * GIB, capacity=4 * GIB))
    await roomy.use(BASE)
    await use(roomy, adapted)
    sizes = {name: row.size for name, row in rows(roomy).items()}
    assert sizes["adapted"] - sizes["base"] == large.stat().st_size
    assert len(roomy.launcher.launches) == 1


# --- at random --------------------------------------------------------------------------------------


@pytest.mark.parametrize("seed", range(6))
async def test_whatever_happens_everyone_is_answered_and_nothing_is_left(build: Build, seed: int) -> None:
    chance = random.Random(seed)
    house = build(memory=Memory(available=4 * GIB, capacity=4 * GIB), max_loaded_models=2)
    models = [BASE, SAME, OTHER, *(on_base(f"x{n}", weights="x", path=Path("x.gguf")) for n in range(3))]
    likely = {"ask": 8, "end": 7, "cancel": 3, "die": 0.5, "unload": 1, "time": 1}
    held: list[Request] = []
    for _ in range(400):
        await random_step(house, chance, held, models, likely)
        assert runners_alive(house) <= 3
    for request in house.requests:
        request.finish()
    with anyio.fail_after(20):
        results = await asyncio.gather(*(r.task for r in house.requests), return_exceptions=True)
    await settle()
    assert [r for r in results if r is not None and not isinstance(r, asyncio.CancelledError)] == []
    await house.clock.advance(1e6)
    left = house.residence.loaded()
    assert all(row.expires_at is None and not row.stopping for row in left)
    assert len({row.model.name.key for row in left}) == len(left)
    assert house.clock.pending == []
