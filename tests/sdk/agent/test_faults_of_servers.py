"""Runs against the real server on the scripted engine, with faults: tools raise and hang, the model's process
dies, the stream is cut, the task is cancelled. All thousand: `AGENTKIT_TEST_RUNS=1000`."""

from __future__ import annotations

import asyncio
import json
import os
import random
from collections import Counter
from collections.abc import AsyncIterator
from pathlib import Path

import httpx
from support.faults import ACTIONS, World, outcome, tools_of
from support.scripted_server import Replies, scripted_app

from agentkit import Agent, Limits, Run, Server
from agentkit_server.runner.scripted import ScriptedLauncher

RUNS = int(os.environ.get("AGENTKIT_TEST_RUNS", "100"))
FAULTS = ("none", "none", "die", "cut", "cancel")
SAY = "The end."


class Cutting(httpx.AsyncBaseTransport):
    """Passes requests on to the app; cuts an answer when it is told to."""

    def __init__(self, inner: httpx.AsyncBaseTransport) -> None:
        self._inner = inner
        self.after: int | None = None
        """Bytes of the next answer that arrive."""

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        answer = await self._inner.handle_async_request(request)
        after, self.after = self.after, None
        if after is None or request.method != "POST":
            return answer
        return httpx.Response(answer.status_code, headers=answer.headers, stream=Cut(answer, after))


class Cut(httpx.AsyncByteStream):
    def __init__(self, answer: httpx.Response, after: int) -> None:
        self._answer = answer
        self._after = after

    async def __aiter__(self) -> AsyncIterator[bytes]:
        yield (await self._answer.aread())[: self._after]
        raise httpx.ReadError("the script cuts the stream here")

    async def aclose(self) -> None:
        await self._answer.aclose()


def calls_text(turn: list[tuple[str, int]]) -> str:
    return "\n".join(
        f"<tool_call>\n{json.dumps({'name': name, 'arguments': {'n': n}})}\n</tool_call>" for name, n in turn
    )


def turns(chance: random.Random) -> tuple[list[str], int]:
    """What the model says, turn after turn, and how many calls are in it."""
    texts: list[str] = []
    made = 0
    for _ in range(chance.randint(1, 3)):
        turn = [(chance.choice(ACTIONS), made + at) for at in range(chance.randint(1, 3))]
        made += len(turn)
        texts.append(calls_text(turn))
    return [*texts, SAY], made


class Bench:
    """The server, and what it takes to disturb it."""

    def __init__(self, server: Server, wire: Cutting, replies: Replies, launcher: ScriptedLauncher) -> None:
        self.server = server
        self.wire = wire
        self.replies = replies
        self.launcher = launcher

    async def run(self, seed: int) -> str:
        chance, world = random.Random(seed), World()
        self.replies.texts, made = turns(chance)
        fault = chance.choice(FAULTS)
        at = chance.randint(1, len(self.replies.texts))
        agent = Agent("thinker", tools=tools_of(world), backend=self.server, limits=Limits(turns=20))
        run = Run(model="thinker")
        task = asyncio.create_task(self._told(agent, run, fault, at, chance))
        if fault == "cancel":
            for _ in range(chance.randint(1, 400)):
                await asyncio.sleep(0)
            task.cancel()
        return await outcome(task, run, world, made)

    async def _told(self, agent: Agent[str], run: Run, fault: str, at: int, chance: random.Random) -> None:
        turn = 0
        async with agent.run_stream("Go", run=run) as stream:
            async for event in stream:
                if event.kind != "turn_started":
                    continue
                turn += 1
                if turn == at and fault == "cut":
                    self.wire.after = chance.randint(0, 600)
                elif turn == at and fault == "die" and self.launcher.runners:
                    self.launcher.runners[-1].die_after = 0


def test_runs_on_the_scripted_engine_end_and_neither_lose_nor_double_a_call(tmp_path: Path) -> None:
    replies = Replies()
    app, launcher = scripted_app(tmp_path, replies)

    async def all_runs() -> Counter[str]:
        endings: Counter[str] = Counter()
        async with app.router.lifespan_context(app):
            wire = Cutting(httpx.ASGITransport(app, raise_app_exceptions=False))
            bench = Bench(Server("127.0.0.1:1", transport=wire), wire, replies, launcher)
            for seed in range(RUNS):
                async with asyncio.timeout(60):
                    endings[await bench.run(seed)] += 1
        return endings

    endings = asyncio.run(all_runs())
    assert endings.total() == RUNS
    # OutputInvalid: the model's 2,048 tokens, which are characters here, end in the midst of a call.
    assert endings.keys() <= {"answered", "cancelled", "ResponseError", "ConnectionError", "OutputInvalid"}
    assert all(endings[kind] for kind in ("answered", "cancelled", "ResponseError", "ConnectionError"))
