"""What agents are put through when things go wrong: tools that raise, hang and refuse, and an account of
what they really did."""

from __future__ import annotations

import asyncio
from collections import Counter
from dataclasses import dataclass, field
from typing import Any

from agentkit import Agent, AgentkitError, Run, ToolError, tool
from agentkit.testing import ScriptedModel

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


async def resumed(run: Run, world: World, made: int) -> None:
    """Whatever ended it, the run goes on from its JSON with a server that works, and ends."""
    again = Run.model_validate_json(run.model_dump_json())
    healthy = Agent("any", tools=tools_of(world), backend=ScriptedModel(["The end."]))
    result = await healthy.run(run=again)
    assert result.output == "The end."
    check_calls(again, world, made)
    assert again.open_calls == []


async def outcome(task: asyncio.Task[Any], run: Run, world: World, made: int) -> str:
    """How `task`, the run, ends. Its calls are checked then, and it is gone on with unless it answered."""
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
