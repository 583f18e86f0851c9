"""Running the tool calls of one turn: approval, hooks, how many at once, and what the model reads of each."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from agentkit._context import RunContext
from agentkit._errors import ToolArgumentsError, ToolError, ToolFailed, ToolTimeout
from agentkit._events import Outcome, PendingCall, ToolResult
from agentkit._hooks import Hooks, settled
from agentkit._result import result_text
from agentkit._run import Run, call_id
from agentkit._tool import Tool
from agentkit._tracing import Trace

_LONGEST_ERROR = 1000
_GRACE_S = 5.0
"""For the other calls of a turn, after one has failed in a way that ends the run."""
_INTERRUPTED = "error: this call was interrupted; it is not known whether it had an effect"


@dataclass(frozen=True, kw_only=True)
class Bounds:
    """What the calls of one turn may be."""

    room: int | None = None
    """How many may be run; None = all."""
    until: float | None = None
    """The moment, on the event loop's clock, at which what still runs is timed out."""
    refused: Mapping[str, str] = field(default_factory=dict[str, str])
    """Call id -> why it may not be run."""


@dataclass(frozen=True, kw_only=True)
class Toolbox:
    """The tools of an agent, and how they may be run."""

    tools: Mapping[str, Tool]
    hooks: Hooks
    max_concurrency: int
    trace: Trace = field(default_factory=Trace)

    def usable(self, run: Run) -> list[str]:
        """Names of the tools that have not failed too often in a row."""
        return [name for name, tool in self.tools.items() if run.failures.get(name, 0) <= tool.retries]

    async def decide(self, run: Run, deps: Any, bounds: Bounds) -> None:
        """Note which of the open calls need no approval, and what the hook says of the others."""
        for call in run.pending:
            tool = None if call.call_id in bounds.refused else self.tools.get(call.name)
            context = context_of(run, deps, call)
            decision: bool | str | None = True
            if tool is not None and _needs_approval(tool, context, call.arguments):
                hook = self.hooks.approve
                decision = None if hook is None else await settled(hook(context, call))
            if decision is not None:
                run.decisions[call.call_id] = decision

    def starting(self, run: Run, bounds: Bounds) -> list[PendingCall]:
        """The open calls that are approved and not refused, which are started by this; none is started
        twice."""
        calls = [call for call in self._approved(run) if call.call_id not in bounds.refused]
        run.begun += [call.call_id for call in calls]
        return calls

    def _approved(self, run: Run) -> list[PendingCall]:
        return [
            call for call in _open(run) if run.decisions.get(call.call_id) is True and call.name in self.tools
        ]

    def interrupted(self, run: Run) -> list[ToolResult]:
        """Results for the calls that were started and have none: an earlier try to run them was left."""
        calls = [call for call in _open(run) if call.call_id in run.begun]
        results = [_result(run, call, _INTERRUPTED, "interrupted") for call in calls]
        for result in results:
            self._note(run, result)
        return results

    async def run_all(self, run: Run, deps: Any, bounds: Bounds) -> AsyncGenerator[ToolResult]:
        """The results of the open calls that are decided, each as soon as those before it are there.

        Raises ToolFailed. When it is left early, what still runs is cancelled.
        """
        calls = [call for call in _open(run) if call.call_id in run.decisions]
        if not calls:
            return
        batch = _Batch(run, deps, asyncio.Semaphore(self.max_concurrency), bounds)
        runs = [call for call in self._approved(run) if call.call_id not in bounds.refused]
        beyond = [] if bounds.room is None else runs[max(0, bounds.room) :]
        tasks = [asyncio.create_task(self._one(batch, call, allowed=call not in beyond)) for call in calls]
        try:
            for task in tasks:
                result = await task
                self._note(run, result)
                yield result
        except Exception:
            # What the others do has happened, whether anybody waits for it or not: let them end.
            for task, call in zip(tasks, calls, strict=True):
                if call.call_id not in batch.inside:
                    task.cancel()
            await asyncio.wait(tasks, timeout=_GRACE_S)
            raise
        finally:
            for task in tasks:
                task.cancel()
            try:
                await asyncio.wait(tasks)
            finally:
                # Also when it is cancelled a second time while it waits.
                self._settle_rest(batch, tasks)

    def _settle_rest(self, batch: _Batch, tasks: Sequence[asyncio.Task[ToolResult]]) -> None:
        """Note what the calls came to that nobody waited for."""
        run = batch.run
        for task in tasks:
            if task.done() and not task.cancelled() and task.exception() is None:
                result = task.result()
                if run.open_calls and result.call_id not in run.results:
                    self._note(run, result)
        # Those that still waited for their turn have not been started after all.
        run.begun = [id for id in run.begun if id in batch.inside or id in run.results]
        self.interrupted(run)

    async def _one(self, batch: _Batch, call: PendingCall, *, allowed: bool) -> ToolResult:
        run = batch.run
        decision = run.decisions[call.call_id]
        if decision is not True:
            reason = f": {decision}" if decision else ""
            return _result(run, call, f"this call was denied{reason}", "denied")
        tool = self.tools.get(call.name)
        if tool is None:
            known = ", ".join(self.tools) or "none"
            return _result(run, call, f"there is no tool {call.name!r}; the tools are: {known}", "invalid")
        refusal = batch.bounds.refused.get(call.call_id) or (None if allowed else "no more calls are allowed")
        if refusal is not None:
            return _result(run, call, f"this call was not run: {refusal}", "not_run")
        turnstile = batch.turnstile
        async with batch.permits, turnstile.alone() if tool.sequential else turnstile.beside():
            if batch.over:
                raise asyncio.CancelledError
            with self.trace.tool(call, tool) as span:
                result = await self._called(batch, call, tool)
                span.returned(result)
            return result

    async def _called(self, batch: _Batch, call: PendingCall, tool: Tool) -> ToolResult:
        run, context = batch.run, context_of(batch.run, batch.deps, call)
        try:
            arguments: Mapping[str, Any] = call.arguments
            if self.hooks.before_tool is not None:
                changed = await settled(self.hooks.before_tool(context, call))
                arguments = arguments if changed is None else changed
            value = await batch.tried(tool, arguments, context)
        except ToolError as error:
            result = _result(run, call, _words(error), _OUTCOMES.get(type(error), "failed"))
        else:
            result = _result(run, call, result_text(value), "returned", value)
        if self.hooks.after_tool is not None:
            changed = await settled(self.hooks.after_tool(context, call, result)) or result
            result = replace(changed, run_id=run.id, call_id=call.call_id, name=call.name)
        return result

    def _note(self, run: Run, result: ToolResult) -> None:
        run.settle(result.call_id, result.content, result.outcome)
        if result.outcome == "returned":
            run.failures.pop(result.name, None)
        elif result.outcome in ("failed", "invalid", "timed_out") and result.name in self.tools:
            run.failures[result.name] = run.failures.get(result.name, 0) + 1


_OUTCOMES: dict[type[ToolError], Outcome] = {ToolArgumentsError: "invalid", ToolTimeout: "timed_out"}


@dataclass
class _Batch:
    """The calls that run together."""

    run: Run
    deps: Any
    permits: asyncio.Semaphore
    bounds: Bounds
    turnstile: _Turnstile = field(default_factory=lambda: _Turnstile())
    inside: set[str] = field(default_factory=set[str])
    """Ids of the calls whose tool was entered."""
    over: bool = False
    """A tool has ended the run: what has not begun does not begin."""

    async def tried(self, tool: Tool, arguments: Mapping[str, Any], context: RunContext[Any]) -> Any:
        """The tool's value. What goes wrong in it becomes a ToolError, unless the tool says otherwise."""
        self.inside.add(context.call_id)
        limit = asyncio.timeout_at(self.bounds.until)
        try:
            async with limit:
                return await tool.call(arguments, context)
        except (Exception, *tool.raises) as error:
            if limit.expired():
                raise ToolTimeout(f"{tool.name} was stopped: the run's time is used up") from error
            if isinstance(error, tool.raises):
                # How it ended is known: whoever resumes the run may try it again.
                self.inside.discard(context.call_id)
                self.over = True
                raise ToolFailed(f"{tool.name} failed: {error}", self.run) from error
            if isinstance(error, ToolError):
                raise
            words = f"{type(error).__name__}: {error}" if str(error) else type(error).__name__
            raise ToolError(words) from error


class _Turnstile:
    """Lets any number through beside each other, or one alone."""

    def __init__(self) -> None:
        self._changed = asyncio.Condition()
        self._inside = 0
        self._closed = False

    def beside(self) -> _Passage:
        return _Passage(self, alone=False)

    def alone(self) -> _Passage:
        return _Passage(self, alone=True)

    async def enter(self, alone: bool) -> None:
        async with self._changed:
            await self._changed.wait_for(lambda: not self._closed and not (alone and self._inside))
            self._inside += 1
            self._closed = alone

    async def leave(self, alone: bool) -> None:
        async with self._changed:
            self._inside -= 1
            self._closed = self._closed and not alone
            self._changed.notify_all()


@dataclass(frozen=True)
class _Passage:
    turnstile: _Turnstile
    alone: bool

    async def __aenter__(self) -> None:
        await self.turnstile.enter(self.alone)

    async def __aexit__(self, *_: object) -> None:
        await self.turnstile.leave(self.alone)


def _words(error: ToolError) -> str:
    return f"error: {error}"[:_LONGEST_ERROR]


def _result(run: Run, call: PendingCall, content: str, outcome: Outcome, value: Any = None) -> ToolResult:
    return ToolResult(run.id, call.call_id, call.name, content, outcome, value)


def _open(run: Run) -> Sequence[PendingCall]:
    return [
        PendingCall(call_id(call), call.function.name, dict(call.function.arguments))
        for call in run.open_calls
    ]


def _needs_approval(tool: Tool, context: RunContext[Any], arguments: Mapping[str, Any]) -> bool:
    wanted = tool.requires_approval
    if not callable(wanted):
        return wanted
    try:
        values = tool.validate(arguments)
    except ToolArgumentsError:
        # It will not run: the model is told what is wrong with them.
        return False
    return wanted(context, values)


def context_of(run: Run, deps: Any, call: PendingCall) -> RunContext[Any]:
    """What a tool, or a hook around it, may know of the run."""
    return RunContext(
        deps=deps,
        run_id=run.id,
        turn=run.usage.turns,
        call_id=call.call_id,
        tool_name=call.name,
        messages=tuple(run.messages),
        usage=run.usage,
    )
