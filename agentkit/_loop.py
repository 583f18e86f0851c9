"""One run, turn after turn: ask the model, run what it calls, go on until it answers.

The loop changes its Run and tells what happens; it keeps nothing of its own that the Run would need to go on
elsewhere. Whatever ends it early, by an error or by being left, the Run is what really happened: a call whose
result is not in it has not been counted.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncGenerator, Sequence
from contextlib import aclosing
from dataclasses import dataclass, field, replace
from time import monotonic
from typing import Any, Literal

from agentkit._calls import Bounds, Toolbox
from agentkit._errors import ConnectionError, LimitReached, OutputInvalid
from agentkit._events import (
    Notice,
    PartialOutput,
    RunEnded,
    RunEvent,
    RunPaused,
    RunStarted,
    TextDelta,
    ThinkingDelta,
    ToolArgumentsDelta,
    ToolCallClosed,
    ToolCallOpened,
    ToolStarted,
    TurnEnded,
    TurnStarted,
)
from agentkit._output import NotValid, Output, partial_json
from agentkit._run import Run, call_id
from agentkit._turn import (
    CallArguments,
    CallOpened,
    ModelSession,
    Text,
    Thought,
    Told,
    ToolChoice,
    TurnDone,
    TurnRequest,
)
from agentkit._types import Message, ToolCall, ToolFunction
from agentkit._usage import Limits

Flow = Literal["single", "parallel", "loop"]


@dataclass(frozen=True, kw_only=True)
class Plan:
    """What an agent wants of a run."""

    toolbox: Toolbox
    output: Output[Any]
    limits: Limits
    flow: Flow
    tool_choice: ToolChoice
    output_retries: int
    request: TurnRequest
    """Of every turn, without what changes from turn to turn."""


@dataclass
class _Answer:
    """What the model has written in one turn."""

    thinking: list[str] = field(default_factory=list[str])
    text: list[str] = field(default_factory=list[str])
    calls: list[CallOpened] = field(default_factory=list[CallOpened])
    arguments: list[list[str]] = field(default_factory=list[list[str]])
    partial: Any = None
    """What there was of a structured answer when it was last told."""
    done: TurnDone | None = None

    def message(self) -> Message:
        calls = [
            ToolCall(id=call.id, function=ToolFunction(name=call.name, arguments=_object("".join(text))))
            for call, text in zip(self.calls, self.arguments, strict=True)
        ]
        return Message(
            role="assistant",
            content="".join(self.text),
            thinking="".join(self.thinking) or None,
            tool_calls=calls or None,
        )


class Loop:
    """One run on one session, from where `run` stands to its end or to a pause."""

    def __init__(self, plan: Plan, run: Run, deps: Any, session: ModelSession) -> None:
        self._plan = plan
        self._run = run
        self._deps = deps
        self._session = session
        self._started = monotonic() - run.seconds
        self._over: str | None = None
        """The limit that is reached, once the model may only answer."""
        self._over_since = 0.0
        self._reason = "stop"
        self._asked: TurnRequest | None = None
        """The last request of this process; what a resumed run was asked is not known."""
        self._answered = False
        self.output: Any = None

    async def events(self) -> AsyncGenerator[RunEvent]:
        """Everything up to RunEnded or RunPaused. Raises LimitReached, OutputInvalid, ToolFailed, and what
        the server's answers and the caller's hooks raise."""
        run = self._run
        run.status = "open"
        yield RunStarted(run.id, run.model)
        try:
            while True:
                async with aclosing(self._results()) as results:
                    async for event in results:
                        yield event
                if run.pending:
                    return
                async with aclosing(self._turn()) as turn:
                    async for event in turn:
                        yield event
                if self._answered and not run.open_calls and self._accepted():
                    break
            run.status = "done"
            yield RunEnded(run.id, self.output, run.usage, self._reason)
        finally:
            run.seconds = monotonic() - self._started
            if run.status == "open":
                run.status = "failed"

    # The calls of the last turn

    async def _results(self) -> AsyncGenerator[RunEvent]:
        run, toolbox = self._run, self._plan.toolbox
        if not run.open_calls:
            return
        for result in toolbox.interrupted(run):
            yield result
        most = self._plan.limits.tool_calls
        # Those of this turn are counted already.
        room = None if most is None else most - run.usage.tool_calls + len(run.open_calls)
        bounds = Bounds(room=room, until=self._until(), refused=self._refused())
        await toolbox.decide(run, self._deps, bounds)
        before = [*run.begun]
        try:
            for call in toolbox.starting(run, bounds):
                yield ToolStarted(run.id, call.call_id, call.name)
        except BaseException:
            # Left while it was told: none of them has begun.
            run.begun = before
            raise
        async with aclosing(toolbox.run_all(run, self._deps, bounds)) as results:
            async for result in results:
                yield result
        if pending := tuple(run.pending):
            run.status = "paused"
            yield RunPaused(run.id, pending)

    def _refused(self) -> dict[str, str]:
        """Call id -> why not, of the calls that were not to be made. A server that holds the model to the
        request makes none of them."""
        toolbox, run = self._plan.toolbox, self._run
        usable, calls = toolbox.usable(run), run.open_calls
        refused = {
            call_id(call): "the tool is closed, it has failed too often"
            for call in calls
            if call.function.name in toolbox.tools and call.function.name not in usable
        }
        asked = self._asked
        if asked is not None and asked.tool_choice == "none":
            refused |= {call_id(call): "answer now, without tools" for call in calls}
        elif asked is not None and not asked.parallel:
            refused |= {call_id(call): "one call at a time" for call in calls[1:]}
        return refused

    def _until(self) -> float | None:
        """The end of the run's seconds on the event loop's clock."""
        left = self._seconds_left()
        return None if left is None else asyncio.get_running_loop().time() + left

    # A turn

    async def _turn(self) -> AsyncGenerator[RunEvent]:
        run = self._run
        self._check_limits()
        yield TurnStarted(run.id, run.usage.turns + 1)
        answer = _Answer()
        request = self._asked = self._request()
        self._answered = False
        with self._plan.toolbox.trace.chat(request) as span:
            request = replace(request, trace=span.headers())
            async with aclosing(self._session.turn(request)) as pieces:
                async for piece in pieces:
                    for event in self._told(answer, piece):
                        yield event
            if answer.done is None:
                raise ConnectionError("the turn ended without its last piece", hint="the backend is at fault")
            span.answered(answer.done, answer.message())
        run.usage = run.usage + answer.done.usage
        for event in self._ended(answer, answer.done):
            yield event

    def _told(self, answer: _Answer, piece: Any) -> Sequence[RunEvent]:
        id = self._run.id
        match piece:
            case Thought(text):
                answer.thinking.append(text)
                return [ThinkingDelta(id, text)]
            case Text(text):
                answer.text.append(text)
                return [TextDelta(id, text), *self._grown(answer)]
            case CallOpened():
                closed = self._closed(answer)
                answer.calls.append(piece)
                answer.arguments.append([])
                return [*closed, ToolCallOpened(id, piece.id, piece.name)]
            case CallArguments(call, text):
                answer.arguments[call].append(text)
                partial = partial_json("".join(answer.arguments[call]))
                return [ToolArgumentsDelta(id, answer.calls[call].id, text, partial)]
            case Told(text):
                return [Notice(id, text)]
            case TurnDone():
                answer.done = piece
                return self._closed(answer) if piece.reason in ("stop", "tool_calls") else []
            case _:
                return []

    def _grown(self, answer: _Answer) -> Sequence[RunEvent]:
        """The structured answer so far, where it has become more."""
        value = partial_json("".join(answer.text)) if self._plan.output.is_json else None
        if value is None or value == answer.partial:
            return []
        answer.partial = value
        return [PartialOutput(self._run.id, value)]

    def _closed(self, answer: _Answer) -> Sequence[RunEvent]:
        """The end of the last call: another one begins, or the turn is over."""
        if not answer.calls:
            return []
        call, text = answer.calls[-1], "".join(answer.arguments[-1])
        return [ToolCallClosed(self._run.id, call.id, call.name, _object(text))]

    def _ended(self, answer: _Answer, done: TurnDone) -> Sequence[RunEvent]:
        run = self._run
        self._reason = done.reason
        ended = TurnEnded(run.id, run.usage.turns, done.reason, done.usage)
        if done.reason == "deadline":
            self._reached("seconds")
        elif done.reason == "length":
            self._cut_off(answer)
        else:
            self._append(answer)
        return [ended]

    def _append(self, answer: _Answer) -> None:
        self._run.messages.append(answer.message())
        self._answered = True
        if answer.calls and self._over is not None:
            # It was asked to wrap up, and calls again: there is no end to that.
            raise LimitReached(
                f"the run has used up its {self._over.replace('_', ' ')}, and the model does not wrap up",
                self._run,
                self._over,
            )

    def _cut_off(self, answer: _Answer) -> None:
        most, used = self._plan.limits.tokens, self._run.usage.completion_tokens
        if most is not None and used >= most:
            self._reached("tokens")
            return
        if self._plan.output.demand is None and not answer.calls:
            # Text has no form that would be broken; RunEnded and its result say that there was more.
            self._append(answer)
            return
        what = f"a call of {answer.calls[-1].name}" if answer.calls else "the answer"
        raise OutputInvalid(
            f"{what} was cut off, {used} tokens into the run",
            self._run,
            hint="allow more with options={'num_predict': …} or {'num_ctx': …}",
        )

    # Limits

    def _check_limits(self) -> None:
        limits, usage = self._plan.limits, self._run.usage
        if self._over is not None:
            return
        if limits.turns is not None and usage.turns >= limits.turns:
            self._reached("turns")
        elif limits.tokens is not None and usage.completion_tokens >= limits.tokens:
            self._reached("tokens")
        elif limits.tool_calls is not None and usage.tool_calls > limits.tool_calls:
            self._reached("tool_calls")
        elif limits.seconds is not None and monotonic() - self._started >= limits.seconds:
            self._reached("seconds")

    def _reached(self, limit: str) -> None:
        """From now on the model may only answer, if that. Raises LimitReached."""
        if self._over is None and self._plan.limits.wrap_up:
            self._over = limit
            self._over_since = monotonic()
            return
        raise LimitReached(f"the run has used up its {limit.replace('_', ' ')}", self._run, limit)

    def _request(self) -> TurnRequest:
        plan, run = self._plan, self._run
        tools = plan.toolbox.usable(run)
        all_usable = len(tools) == len(plan.toolbox.tools)
        return replace(
            plan.request,
            messages=tuple(run.messages),
            run_id=run.id,
            allowed=None if all_usable else tools,
            tool_choice=self._choice() if tools else "none",
            parallel=plan.flow != "single" and plan.request.parallel,
            max_tokens=self._tokens_left(),
            max_seconds=self._seconds_left(),
        )

    def _choice(self) -> ToolChoice:
        plan, run = self._plan, self._run
        asked = self._called_before() or run.retries > 0
        most = plan.limits.tool_calls
        used_up = plan.limits.wrap_up and most is not None and run.usage.tool_calls >= most
        if self._over is not None or used_up or plan.tool_choice == "none":
            return "none"
        if not asked:
            return plan.tool_choice
        return "auto" if plan.flow == "loop" else "none"

    def _called_before(self) -> bool:
        """Has the model called a tool since it was last asked something?"""
        for message in reversed(self._run.messages):
            if message.role == "user":
                return False
            if message.tool_calls:
                return True
        return False

    def _tokens_left(self) -> int | None:
        limits = self._plan.limits
        if self._over == "tokens":
            return limits.wrap_up_tokens
        return None if limits.tokens is None else max(1, limits.tokens - self._run.usage.completion_tokens)

    def _seconds_left(self) -> float | None:
        limits = self._plan.limits
        if self._over is not None:
            left = limits.wrap_up_seconds - monotonic() + self._over_since
            return None if limits.seconds is None else max(0.01, left)
        return None if limits.seconds is None else max(0.01, limits.seconds - monotonic() + self._started)

    # The answer

    def _accepted(self) -> bool:
        """Is the last message an output? If not, the model is told why, and asked again within bounds."""
        run = self._run
        last = run.messages[-1] if run.messages else None
        if last is None or last.role != "assistant" or last.tool_calls:
            return False
        try:
            self.output = self._plan.output.parse(last.content or "")
        except NotValid as error:
            run.retries += 1
            if run.retries > self._plan.output_retries:
                raise OutputInvalid(f"the answer is not valid: {error}", run) from error
            run.messages.append(
                Message(role="user", content=f"That answer is not valid: {error}. Answer again.")
            )
            return False
        run.retries = 0
        return True


def _object(text: str) -> dict[str, Any]:
    """Arguments as the model wrote them. A server that does not constrain may send anything."""
    try:
        value: Any = json.loads(text or "{}")
    except ValueError:
        return {"": text}
    return value if isinstance(value, dict) else {"": value}  # pyright: ignore[reportUnknownVariableType]
