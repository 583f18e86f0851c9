"""Replaying run files: a run is built again from what was recorded, or asked again of a model, and compared.

Without an agent nothing but the file is needed: the real loop gets the recorded pieces and tool results, and
has to come to the recorded requests, messages and end. With an agent the model answers anew.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Mapping, Sequence
from contextlib import AsyncExitStack, aclosing, asynccontextmanager, suppress
from dataclasses import dataclass, replace
from os import PathLike
from typing import Any

from agentkit._agent import Agent
from agentkit._calls import Bounds, Toolbox
from agentkit._comparison import Comparison, Difference, Different, Over
from agentkit._errors import AgentkitError, RequestError, RunError
from agentkit._events import RunEnded, ToolResult
from agentkit._hooks import Hooks
from agentkit._loop import Loop, Plan
from agentkit._output import NotValid, Output
from agentkit._recording import RunFile, facts_of, read
from agentkit._run import Run, call_id
from agentkit._tool import as_tool
from agentkit._turn import Demand, ModelSession, Piece, TurnDone, TurnRequest
from agentkit._types import Message, ToolCall
from agentkit._usage import Limits
from agentkit._worker import in_thread


@dataclass(frozen=True)
class Replay:
    """What a replay came to."""

    run: Run
    """The run as it was built again, up to the first difference."""
    difference: Difference | None
    """The first one; None: all that is in the file came out again."""
    complete: bool
    """Is the recording's end in the file? If not, as much as is there was compared."""
    notes: tuple[str, ...] = ()
    """What one should know: where the file is cut off, which digests differ, that there is no seed."""


def replay(
    path: str | PathLike[str], agent: Agent[Any] | None = None, *, with_tools: bool = False, deps: Any = None
) -> Replay:
    """`areplay`, for programs without an event loop."""
    try:
        asyncio.get_running_loop()
    except RuntimeError:
        return asyncio.run(areplay(path, agent, with_tools=with_tools, deps=deps))
    raise RequestError("replay inside an event loop would block it; use `await areplay(…)`")


async def areplay(
    path: str | PathLike[str], agent: Agent[Any] | None = None, *, with_tools: bool = False, deps: Any = None
) -> Replay:
    """Build the run in the file at `path` again, and compare.

    Without an agent the outcome depends on the file alone: a difference means that the file was changed, or
    that this agentkit builds other requests. With one, its model is asked again, from the conversation as the
    file begins it. Tool results come from the file unless `with_tools`, which runs the tools, with `deps`.

    Asked again, a model gives the same text bit by bit where it is the same model with the same template
    (`notes` names digests that differ), the same engine on the same kind of machine, and either greedy
    (`temperature` 0) or with a `seed`. Without a seed it need not. Even so, two tokens that are about as
    likely may change places when the numbers are summed up in another order: on another GPU, with another
    number of threads, beside other requests in one batch, or with a prefix that was cached before and is
    computed now. What was limited by seconds depends on the clock, and is compared as far as it went.

    Raises AgentkitError for what is no run file, and what the agent's server raises.
    """
    file = await in_thread(lambda: read(path))
    run = Run.model_validate(file.header["run"])
    if agent is not None:
        run = run.fork()[0]
    comparison = Comparison(file, run, tools_ran=with_tools)
    difference = None
    async with _parts(file, agent, with_tools, run.id) as (plan, session):
        loop = Loop(plan, run, deps, _ComparedSession(comparison, session))
        try:
            await _follow(loop, comparison)
        except Different as found:
            difference = found.difference
        except Over:
            # As far as the recording goes, it is the same.
            difference = None
    notes = [file.note] if file.note else []
    if agent is not None:
        notes += _notes(file, await facts_of(agent.backend, agent.model))
    return Replay(run, difference, file.end is not None, tuple(notes))


async def _follow(loop: Loop, comparison: Comparison) -> None:
    output = None
    try:
        async with aclosing(loop.events()) as events:
            async for event in events:
                comparison.messages()
                if isinstance(event, RunEnded):
                    output = event.output
    except RunError as error:
        comparison.end(None, error)
    else:
        comparison.end(output, None)


@asynccontextmanager
async def _parts(
    file: RunFile, agent: Agent[Any] | None, with_tools: bool, run_id: str
) -> AsyncGenerator[tuple[Plan, ModelSession]]:
    """What the loop needs: from the file alone, or from the agent."""
    if agent is None:
        yield _recorded_tools(_recorded_plan(file), file), _Script(file)
        return
    async with AsyncExitStack() as stack:
        tools = [*agent.tools]
        for toolset in agent.toolsets:
            tools += await stack.enter_async_context(toolset.connect())
        plan = agent.plan(tools, Limits(**file.header["limits"]))
        session = await stack.enter_async_context(agent.backend.connect())
        try:
            yield plan if with_tools else _recorded_tools(plan, file), session
        finally:
            # A server that cannot be told lets go by itself.
            with suppress(AgentkitError):
                await session.release(run_id)


def _recorded_plan(file: RunFile) -> Plan:
    header, settings = file.header, file.header["settings"]
    tools = {
        one["function"]["name"]: replace(as_tool({"type": "function", **one}), retries=one["retries"])
        for one in header["tools"]
    }
    demand = settings["demand"] and Demand(**settings["demand"])
    return Plan(
        toolbox=Toolbox(tools=tools, hooks=Hooks(), max_concurrency=1),
        output=Output(demand, _recorded_parse(file)),
        # What the clock ended is in the recorded pieces.
        limits=replace(Limits(**header["limits"]), seconds=None),
        flow=header["flow"],
        tool_choice=settings["tool_choice"],
        output_retries=header["output_retries"],
        request=TurnRequest(
            model=header["model"],
            messages=(),
            tools=[tool.definition() for tool in tools.values()],
            parallel=settings["parallel"],
            demand=demand,
            think=settings["think"],
            thinking_budget=settings["thinking_budget"],
            options=settings["options"],
        ),
    )


def _recorded_parse(file: RunFile) -> Any:
    """What the output type said, answer after answer: the type itself is not in the file."""
    outputs = iter(file.outputs)

    def parse(text: str) -> Any:
        said = next(outputs, None)
        if said is None:
            raise Over
        if said["problem"] is not None:
            raise NotValid(said["problem"])
        return said["value"]

    return parse


def _recorded_tools(plan: Plan, file: RunFile) -> Plan:
    """`plan`, with the recorded results in place of its tools."""
    began = Run.model_validate(file.header["run"])
    first = max(0, len(began.messages) - 1)
    places: dict[str, list[int]] = {}
    for place, call in enumerate(_calls([*began.messages[first:], *file.messages])):
        id = call_id(call)
        # What had a result before the recording has it in the run.
        if place >= len(_calls(began.messages[first:])) or id not in began.results:
            places.setdefault(id, []).append(place)
    results = {places[one["call_id"]].pop(0): one for one in file.results if places.get(one["call_id"])}
    recorded = _RecordedToolbox(
        tools=plan.toolbox.tools, hooks=Hooks(), max_concurrency=1, results=results, first=first
    )
    return replace(plan, toolbox=recorded)


def _calls(messages: Sequence[Message]) -> list[ToolCall]:
    return [call for message in messages for call in message.tool_calls or ()]


@dataclass(frozen=True, kw_only=True)
class _RecordedToolbox(Toolbox):
    """Gives recorded results. A model that is asked again gives its calls other ids, so they are counted."""

    results: Mapping[int, Mapping[str, Any]]
    """By the place of the call among those from message `first` on."""
    first: int

    async def decide(self, run: Run, deps: Any, bounds: Bounds) -> None:
        for id, place in self._places(run).items():
            if place in self.results:
                run.decisions[id] = True

    async def run_all(self, run: Run, deps: Any, bounds: Bounds) -> AsyncGenerator[ToolResult]:
        places = self._places(run)
        for call in [call for call in run.open_calls if call_id(call) in run.decisions]:
            id = call_id(call)
            given = self.results.get(places[id])
            if given is None:
                raise Over
            result = ToolResult(run.id, id, given["name"], given["content"], given["outcome"])
            self._note(run, result)
            yield result

    def _places(self, run: Run) -> dict[str, int]:
        before = len(_calls(run.messages[self.first : -1]))
        return {call_id(call): before + at for at, call in enumerate(_calls(run.messages[-1:]))}


class _Script:
    """The recorded pieces, turn after turn."""

    def __init__(self, file: RunFile) -> None:
        self._turns = iter(file.pieces)

    async def turn(self, request: TurnRequest) -> AsyncGenerator[Piece]:
        piece = None
        for piece in next(self._turns, ()):
            yield piece
        if not isinstance(piece, TurnDone):
            raise Over

    async def release(self, run_id: str) -> None:
        """Nothing was kept."""


@dataclass(frozen=True)
class _ComparedSession:
    comparison: Comparison
    inner: ModelSession

    async def turn(self, request: TurnRequest) -> AsyncGenerator[Piece]:
        self.comparison.request(request)
        async with aclosing(self.inner.turn(request)) as pieces:
            async for piece in pieces:
                yield piece

    async def release(self, run_id: str) -> None:
        await self.inner.release(run_id)


def _notes(file: RunFile, facts: Mapping[str, str]) -> list[str]:
    """What may make a model answer otherwise than it did."""
    header, options = file.header, file.header["settings"]["options"]
    notes = [
        f"{name} is {facts[name]!r}, and was {header[name]!r}"
        for name in facts
        if name in header and header[name] != facts[name]
    ]
    if "seed" not in options and options.get("temperature") != 0:
        notes.append("no seed and no temperature of 0 were set: the model may answer otherwise each time")
    return notes
