"""Many requests at once, at random: whatever happens, everyone is answered and nothing is left over."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Callable, Mapping, Sequence

import anyio
import pytest
from support.residency import House, Request, make_model, settle

from agentkit_server.errors import LoadFailed, RunnerCrashed
from agentkit_server.machine import Memory
from agentkit_server.models.model import Model
from agentkit_server.residency.memory import GIB

pytestmark = pytest.mark.anyio

MODELS = [make_model(name, file_size=GIB) for name in "abcde"]
LIKELY = {"ask": 8, "end": 6, "cancel": 3, "die": 1, "fail": 1, "unload": 1, "time": 1}
"""How often each step is taken."""


def runners_alive(house: House) -> int:
    return sum(runner.alive for runner in house.launcher.runners)


async def random_step(
    house: House,
    chance: random.Random,
    open_requests: list[Request],
    models: Sequence[Model] = MODELS,
    likely: Mapping[str, float] = LIKELY,
) -> None:
    step = chance.choices(list(likely), list(likely.values()))[0]
    if step == "ask":
        options = {"num_ctx": chance.choice([None, None, None, 512, 1024])}
        keep_alive = chance.choice([None, 0, "10s", -1])
        open_requests.append(
            await house.ask(chance.choice(models), wait=False, keep_alive=keep_alive, **options)
        )
    elif step in ("end", "cancel") and open_requests:
        request = open_requests.pop(chance.randrange(len(open_requests)))
        request.finish() if step == "end" else request.task.cancel()
    elif step == "die" and house.launcher.runners:
        chance.choice(house.launcher.runners).die()
    elif step == "fail":
        house.launcher.fail(chance.choice(["bad file", "out of memory", RunnerCrashed("x", signal=11)]))
    elif step == "unload":
        _ = await house.residence.unload(chance.choice(models))
    elif step == "time":
        await house.clock.advance(chance.uniform(0, 20))
    for _ in range(chance.randrange(4)):
        await asyncio.sleep(0)


@pytest.mark.parametrize("seed", range(10))
async def test_everyone_is_answered_and_nothing_is_left(build: Callable[..., House], seed: int) -> None:
    chance = random.Random(seed)
    house = build(memory=Memory(available=4 * GIB, capacity=4 * GIB), max_loaded_models=2 + seed % 2)
    open_requests: list[Request] = []
    for _ in range(400):
        await random_step(house, chance, open_requests)
        assert runners_alive(house) <= 3
    for request in house.requests:
        request.finish()
    with anyio.fail_after(20):
        results = await asyncio.gather(*(request.task for request in house.requests), return_exceptions=True)
    await settle()
    unexpected = [
        r for r in results if r is not None and not isinstance(r, LoadFailed | asyncio.CancelledError)
    ]
    assert unexpected == []
    await house.clock.advance(1e6)
    kept = house.residence.loaded()
    assert all(row.expires_at is None and not row.stopping for row in kept)
    assert runners_alive(house) == len(kept)
    assert house.clock.pending == []
