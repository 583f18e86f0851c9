"""The answer to a prompt that is written: which way it is generated, and its events.

Three ways. Plain: nothing to tell apart and nothing demanded, the runner's text is the answer. Read: a
grammar, a parser, or both, over one generation. Completed one by one (completion.py): where thoughts have a
budget, or an answer has to be validated before it is told.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator
from contextlib import aclosing
from dataclasses import dataclass

import msgspec
from anyio import to_thread

from agentkit_server.engine.types import Delta, Finished, Generate
from agentkit_server.errors import AgentkitError, ConstraintFailed, RequestCancelled
from agentkit_server.residency.types import Lease
from agentkit_server.turn.completion import Completed, Plan, complete
from agentkit_server.turn.constraint import Constraint, Thinking
from agentkit_server.turn.conversation.ending import Ending
from agentkit_server.turn.custom import told_as_text
from agentkit_server.turn.events import Event, Finish, TextDelta
from agentkit_server.turn.reading import Reading
from agentkit_server.turn.syntaxes.parser import Parser
from agentkit_server.turn.syntaxes.shape import Shape
from agentkit_server.turn.types import Turn


@dataclass(frozen=True, kw_only=True)
class Answering:
    """How a turn is going to be answered."""

    turn: Turn
    request: Generate
    constraint: Constraint
    shape: Shape
    grammar: str
    lease: Lease
    budget: int | None

    @property
    def prompt(self) -> list[int]:
        """Token ids."""
        return self.request.prompt

    @property
    def constrained(self) -> bool:
        """Is there a grammar?"""
        return bool(self.grammar)

    def events(self) -> AsyncGenerator[Event]:
        """Everything after Started."""
        custom = {tool.name for tool in self.turn.tools if tool.custom}
        return told_as_text(self._events(), custom) if custom else self._events()

    def _events(self) -> AsyncGenerator[Event]:
        if not self.grammar and self.constraint.syntax.plain:
            return self._plain()
        if self.constraint.level == "checked" or self.budget is not None:
            return self._one_by_one()
        return self._read()

    async def _plain(self) -> AsyncGenerator[Event]:
        async with aclosing(self.lease.runner.generate(self.request)) as replies:
            async for reply in replies:
                if isinstance(reply, Delta):
                    yield TextDelta(reply.index, reply.text, tuple(reply.tokens), tuple(reply.logprobs or ()))
                else:
                    yield self._finish(reply)

    async def _read(self) -> AsyncGenerator[Event]:
        readings = [self._reading(index) for index in range(self.request.n)]
        open_ones = set(range(self.request.n))
        async with aclosing(self.lease.runner.generate(self._constrained())) as replies:
            async for reply in replies:
                if reply.index not in open_ones:
                    continue
                reading = readings[reply.index]
                if isinstance(reply, Finished):
                    for event in reading.end():
                        yield event
                    open_ones.discard(reply.index)
                    yield self._finish(reply, reading.thinking_tokens, reading.calls)
                    continue
                for event in reading.take(reply):
                    yield event
                if reading.stopped_by is not None:
                    open_ones.discard(reply.index)
                    yield self._finish(
                        reading.stopped(len(self.prompt)), reading.thinking_tokens, reading.calls
                    )
                    if not open_ones:
                        return

    async def _one_by_one(self) -> AsyncGenerator[Event]:
        for index in range(self.request.n):
            seed = self.request.sampling.seed
            sampling = msgspec.structs.replace(self.request.sampling, seed=seed if seed < 0 else seed + index)
            plan = Plan(
                runner=self.lease.runner,
                constraint=self.constraint,
                request=msgspec.structs.replace(self._constrained(), n=1, sampling=sampling, each_step=True),
                index=index,
                shape=self.shape,
                stops=self._stops,
                budget=self.budget,
                tokens=self._tells_tokens,
            )
            async with aclosing(complete(plan)) as events:
                async for event in events:
                    if isinstance(event, Completed):
                        finished = msgspec.structs.replace(event.finished, index=index)
                        yield self._finish(finished, event.thinking_tokens, event.calls)
                    else:
                        yield event

    def _constrained(self) -> Generate:
        marks = self.constraint.syntax.marks(self.constraint.marks)
        return msgspec.structs.replace(self.request, grammar=self.grammar, marks=marks, stop=[])

    def _reading(self, index: int) -> Reading:
        marks = self.constraint.marks
        parser = Parser(self.constraint.syntax, self.shape, marks)
        return Reading(index, parser, marks, self._stops, tokens=self._tells_tokens)

    @property
    def _stops(self) -> tuple[str, ...]:
        return () if self.shape.answer is not None else tuple(self.request.stop)

    @property
    def _tells_tokens(self) -> bool:
        return self.turn.verb == "generate"

    def _finish(self, finished: Finished, thinking_tokens: int = 0, calls: int = 0) -> Finish:
        if finished.reason == "error":
            kind = ConstraintFailed if finished.code == ConstraintFailed.code else AgentkitError
            raise kind(finished.error or "the model failed while it was answering; send the request again")
        if finished.reason == "cancelled":
            raise RequestCancelled("request canceled")
        return Finish(
            index=finished.index,
            reason=finished.reason,
            usage=finished.usage,
            timings=finished.timings,
            load_ns=self.lease.load_ns,
            stop_string=finished.stop_string,
            shifted=finished.shifted,
            tool_calls=calls,
            thinking_tokens=thinking_tokens,
        )


def is_quiet(turn: Turn) -> bool:
    """Is the model not to think at all? Then thoughts that the prompt opens are closed at its end."""
    return turn.think is False or turn.thinking_budget == 0


async def answering(
    turn: Turn, request: Generate, ending: Ending, constraint: Constraint, lease: Lease
) -> Answering:
    """How to answer the prompt in `request`, which leaves thoughts as `ending` says.

    Raises BadRequest for a tool that cannot be named in the model's syntax.
    """
    quiet = is_quiet(turn)
    thinking: Thinking = "free"
    if ending == "open" and quiet:
        marks = await lease.runner.tokenize(constraint.syntax.closing, add_special=False)
        request = msgspec.structs.replace(request, prompt=[*request.prompt, *marks])
        thinking = "forbidden"
    elif ending == "open":
        thinking = "open"
    elif ending == "closed" or quiet:
        thinking = "forbidden"
    shape = constraint.shape(thinking)
    return Answering(
        turn=turn,
        request=request,
        constraint=constraint,
        shape=shape,
        grammar=await to_thread.run_sync(constraint.grammar, shape),
        lease=lease,
        budget=None if quiet or constraint.syntax.thinking is None else turn.thinking_budget,
    )
