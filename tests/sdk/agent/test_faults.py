"""A thousand runs in which things go wrong: tools raise and hang, the server dies, streams are cut, tasks are
cancelled. Every run ends, by an answer or a typed error, and no call is lost or done twice."""

from __future__ import annotations

import asyncio
import random
from collections import Counter
from typing import Any

import pytest
from support.faults import ACTIONS, World, outcome, tools_of

from agentkit import Agent, Limits, Run
from agentkit.testing import Hang, ScriptedModel, broken, calls, cut, hanging

RUNS = 1000
CHUNK = 50
ENDINGS = ("answer", "die", "cut", "cancel", "deadline", "garbled")


def script(chance: random.Random) -> tuple[list[Any], list[Hang], int]:
    """Turns with calls, then an ending; where it hangs; how many calls there are."""
    steps: list[Any] = []
    hangs: list[Hang] = []
    made = 0
    for _ in range(chance.randint(1, 4)):
        turn = [(chance.choice(ACTIONS), {"n": made + at}) for at in range(chance.randint(1, 4))]
        made += len(turn)
        steps.append(calls(*turn))
    match chance.choice(ENDINGS):
        case "answer":
            steps.append("The end.")
        case "die":
            steps.append(broken("The en", after=chance.randint(0, 1)))
        case "cut":
            steps.append(cut(calls(("work", '{"n": 99999}')), after=chance.randint(0, 2)))
        case "deadline":
            steps.append(cut("The", after=1, reason="deadline"))
        case "garbled":
            steps += [calls(("work", '{"n": ')), calls(("nobody", {})), "The end."]
        case _:
            hangs.append(Hang())
            steps.append(hanging(hangs[0], "The e", after=1))
    return steps, hangs, made


async def one_run(seed: int) -> str:
    chance = random.Random(seed)
    world = World()
    steps, hangs, made = script(chance)
    model = ScriptedModel(steps)
    agent = Agent("any", tools=tools_of(world), backend=model, limits=Limits(turns=20))
    run = Run(model="any")
    task = asyncio.create_task(agent.run("Go", run=run))
    if hangs:
        waiting = asyncio.create_task(hangs[0].reached.wait())
        await asyncio.wait([waiting, task], return_when=asyncio.FIRST_COMPLETED)
        waiting.cancel()
        task.cancel()
    elif chance.random() < 0.2:
        for _ in range(chance.randint(0, 12)):
            await asyncio.sleep(0)
        task.cancel()
    return await outcome(task, run, world, made)


@pytest.mark.parametrize("first", range(0, RUNS, CHUNK))
def test_runs_with_faults_end_and_neither_lose_nor_double_a_call(first: int) -> None:
    async def chunk() -> Counter[str]:
        async with asyncio.timeout(120):
            return Counter(await asyncio.gather(*(one_run(seed) for seed in range(first, first + CHUNK))))

    endings = asyncio.run(chunk())
    assert endings.total() == CHUNK
    assert endings.keys() <= {
        "answered",
        "cancelled",
        "ConnectionError",
        "OutputInvalid",
        "LimitReached",
    }
    assert endings["answered"] and endings["cancelled"] and endings["ConnectionError"]
