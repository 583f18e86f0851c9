"""A thousand runs in which things go wrong: tools raise and hang, the server dies, streams are cut, tasks are
cancelled. Every run ends, by an answer or a typed error, and no call is lost or done twice."""

from __future__ import annotations

import asyncio
import random
from collections import Counter
from dataclasses import dataclass, field
from typing import Any

import pytest

from agentkit import Agent, AgentkitError, Limits, Run, ToolError, tool
from agentkit.testing import Hang, ScriptedModel, broken, calls, cut, hanging

RUNS = 1000
CHUNK = 50
ENDINGS = ("answer", "die", "cut", "cancel", "deadline", "garbled")
ACTIONS = ("work", "work", "work", "raise", "refuse", "hang", "slow_thread")


@dataclass
class World:
    """What the tools of one run have really done."""

    done: Counter[int] = field(default_factory=Counter[int])
    never: asyncio.Event = field(default_factory=asyncio.Event)


def tools_of(world: World) -> list[Any]:
    @tool(retries=1000)
    async def work(n: int) -> str:
        await asyncio.sleep(0)
        world.done[n] += 1
        return f"did {n}"

    @tool(name="raise", retries=1000)
    async def raising(n: int) -> None:
        world.done[n] += 1
        raise OSError(f"disk {n} is full")

    @tool(retries=1000)
    def refuse(n: int) -> None:
        world.done[n] += 1
        raise ToolError(f"not {n}")

    @tool(timeout=0.001, retries=1000)
    async def hang(n: int) -> None:
        world.done[n] += 1
        await world.never.wait()

    @tool(retries=1000)
    def slow_thread(n: int) -> str:
        world.done[n] += 1
        return f"thread {n}"

    return [work, raising, refuse, hang, slow_thread]


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


def check_calls(run: Run, world: World, most: int) -> None:
    """Nothing is done twice, and everything that was done has exactly one result."""
    results = Counter(message.tool_call_id for message in run.messages if message.role == "tool")
    results.update(run.results.keys())
    assert set(results.values()) <= {1}
    assert all(count == 1 for count in world.done.values())
    told: set[int] = set()
    for message in run.messages:
        for call in message.tool_calls or ():
            number = call.function.arguments.get("n")
            if isinstance(number, int) and results[call.id]:
                told.add(number)
    assert set(world.done) <= told
    assert len(told) <= most + 1


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
    try:
        await task
        ended = "answered"
    except AgentkitError as error:
        ended = type(error).__name__
    except asyncio.CancelledError:
        ended = "cancelled"
    # Threads of synchronous tools end by themselves.
    check_calls(run, world, made)
    if ended != "answered" and run.messages:
        await resumed(run, world, made)
    return ended


async def resumed(run: Run, world: World, made: int) -> None:
    """Whatever ended it, the run goes on from its JSON with a server that works, and ends."""
    again = Run.model_validate_json(run.model_dump_json())
    healthy = Agent("any", tools=tools_of(world), backend=ScriptedModel(["The end."]))
    result = await healthy.run(run=again)
    assert result.output == "The end."
    check_calls(again, world, made)
    assert again.open_calls == []


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
