"""Running the tool calls of one turn: approval, hooks, how many at once, and what the model reads of each."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Mapping, Sequence
from dataclasses import dataclass, field
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
_INTERRUPTED = "error: this call was interrupted; it is not known whether it had an effect"


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

    async def decide(self, run: Run, deps: Any) -> None:
        """Note which of the open calls need no approval, and what the hook says of the others."""
        for call in run.pending:
            tool = self.tools.get(call.name)
            context = context_of(run, deps, call)
            decision: bool | str | None = True
            if tool is not None and _needs_approval(tool, context, call):
                hook = self.hooks.approve
                decision = None if hook is None else await settled(hook(context, call))
            if decision is not None:
                run.decisions[call.call_id] = decision

    def starting(self, run: Run) -> list[PendingCall]:
        """The open calls that are approved, which are started by this; none is started twice."""
        calls = [call for call in _open(run) if run.decisions.get(call.call_id) is True]
        run.begun += [call.call_id for call in calls]
        return calls

    def interrupted(self, run: Run) -> list[ToolResult]:
        """Results for the calls that were started and have none: an earlier try to run them was left."""
        calls = [call for call in _open(run) if call.call_id in run.begun]
        results = [_result(run, call, _INTERRUPTED, "interrupted") for call in calls]
        for result in results:
            self._note(run, result)
        return results

    async def run_all(self, run: Run, deps: Any, room: int | None) -> AsyncGenerator[ToolResult]:
        """The results of the open calls that are decided, each as soon as those before it are there.

        `room`: how many may still be run; those beyond get a result that says so. Raises ToolFailed. When it
        is left early, what still runs is cancelled.
        """
        calls = [call for call in _open(run) if call.call_id in run.decisions]
        if not calls:
            return
        batch = _Batch(run, deps, asyncio.Semaphore(self.max_concurrency))
        tasks = [
            asyncio.create_task(self._one(batch, call, allowed=room is None or at < room))
            for at, call in enumerate(calls)
        ]
        try:
            for task in tasks:
                result = await task
                self._note(run, result)
                yield result
        except Exception:
            # What the others do has happened, whether anybody waits for it or not: let them end.
            await asyncio.wait(tasks)
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
        if not allowed:
            return _result(run, call, "this call was not run: no more calls are allowed", "not_run")
        turnstile = batch.turnstile
        async with batch.permits, turnstile.alone() if tool.sequential else turnstile.beside():
            with self.trace.tool(call, tool) as span:
                result = await self._called(batch, call, tool)
                span.returned(result)
            return result

    async def _called(self, batch: _Batch, call: PendingCall, tool: Tool) -> ToolResult:
        run, context = batch.run, context_of(batch.run, batch.deps, call)
        try:
            arguments: Mapping[str, Any] = call.arguments
            if self.hooks.before_tool is not None:
                arguments = await settled(self.hooks.before_tool(context, call)) or arguments
            value = await batch.tried(tool, arguments, context)
        except ToolError as error:
            result = _result(run, call, _words(error), _OUTCOMES.get(type(error), "failed"))
        else:
            result = _result(run, call, result_text(value), "returned", value)
        if self.hooks.after_tool is not None:
            result = await settled(self.hooks.after_tool(context, call, result)) or result
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
    turnstile: _Turnstile = field(default_factory=lambda: _Turnstile())
    inside: set[str] = field(default_factory=set[str])
    """Ids of the calls whose tool was entered."""

    async def tried(self, tool: Tool, arguments: Mapping[str, Any], context: RunContext[Any]) -> Any:
        """The tool's value. What goes wrong in it becomes a ToolError, unless the tool says otherwise."""
        self.inside.add(context.call_id)
        try:
            return await tool.call(arguments, context)
        except tool.raises as error:
            # How it ended is known: whoever resumes the run may try it again.
            self.inside.discard(context.call_id)
            raise ToolFailed(f"{tool.name} failed: {error}", self.run) from error
        except ToolError:
            raise
        except Exception as error:
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


def _needs_approval(tool: Tool, context: RunContext[Any], call: PendingCall) -> bool:
    wanted = tool.requires_approval
    return wanted(context, call.arguments) if callable(wanted) else wanted


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
