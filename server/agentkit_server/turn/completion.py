"""One completion that may take several generations: thoughts closed by force when their budget is used up,
and answers that turn out invalid where the grammar was looser than the schema.

Each generation continues the prompt, or the prompt and the thoughts so far, so that the engine's prefix
cache pays for it. What has been told is never taken back: text whose schema is only checked is held until
it is valid.
"""

from __future__ import annotations

import json
import logging
from collections.abc import AsyncGenerator, Sequence
from contextlib import aclosing
from dataclasses import dataclass, field, replace

import msgspec

from agentkit_server.engine.types import Delta, Finished, Generate, Sampling, Usage
from agentkit_server.errors import ConstraintFailed
from agentkit_server.runner.protocol import Runner
from agentkit_server.turn.constraint import Constraint
from agentkit_server.turn.events import Event, TextDelta, ThinkingDelta, ToolCallEnd
from agentkit_server.turn.reading import Reading, singly
from agentkit_server.turn.syntaxes.parser import Parser
from agentkit_server.turn.syntaxes.shape import Shape

log = logging.getLogger(__name__)

ATTEMPTS = 3
"""Generations of one answer before it is given up."""
WARMER = 0.7
"""Temperature that another try has at least: the same choices would give the same answer."""
SEED_STEP = 7919


@dataclass(frozen=True, kw_only=True)
class Plan:
    """How one completion is to be made."""

    runner: Runner
    constraint: Constraint
    request: Generate
    """Of one completion, without grammar."""
    index: int
    shape: Shape
    stops: tuple[str, ...] = ()
    budget: int | None = None
    """Tokens of thinking."""
    tokens: bool = False

    @property
    def holds_back(self) -> bool:
        """Is there anything that has to be validated before it is told?"""
        return self.constraint.level == "checked"


@dataclass
class _Progress:
    """What the generations so far have come to."""

    shape: Shape
    request: Generate
    attempt: int = 1
    kept: list[int] = field(default_factory=list[int])
    """Tokens of the answer that the running generation continues."""
    thinking_tokens: int = 0


@dataclass(frozen=True)
class Completed:
    """The end of a completion, with the numbers of all its generations."""

    finished: Finished
    thinking_tokens: int
    calls: int


async def complete(plan: Plan) -> AsyncGenerator[Event | Completed]:
    """The events of a completion, then one Completed.

    Raises ConstraintFailed when no attempt gave a valid answer, and what the runner raises.
    """
    progress = _Progress(plan.shape, plan.request)
    while True:
        leg = _Leg(plan, progress)
        async with aclosing(leg.run()) as events:
            async for event in events:
                yield event
        if leg.finished is not None:
            yield Completed(_whole(leg, progress), progress.thinking_tokens, leg.reading.calls)
            return
        await leg.prepare_next()


class _Leg:
    """One generation."""

    def __init__(self, plan: Plan, progress: _Progress) -> None:
        self._plan = plan
        self._progress = progress
        self._shape = progress.shape
        constraint = plan.constraint
        self.reading = Reading(
            plan.index,
            Parser(constraint.syntax, self._shape, constraint.marks),
            constraint.marks,
            plan.stops,
            tokens=plan.tokens,
        )
        self.finished: Finished | None = None
        self._tokens: list[int] = []
        self._thoughts: list[int] | None = None
        self._told = 0
        """Tokens up to and with the last one whose text was told."""
        self._held: list[Event] = []
        self._complaints: list[str] = []
        self._over_budget = False
        self._guarded = False

    async def run(self) -> AsyncGenerator[Event]:
        """What may be told. Ends with `finished` set, or with a reason for another generation."""
        constraint = self._plan.constraint
        request = msgspec.structs.replace(
            self._progress.request,
            grammar=constraint.grammar(self._shape),
            distinct=constraint.distinct(self._shape),
        )
        self._guarded = request.distinct is not None
        async with aclosing(self._plan.runner.generate(request)) as replies:
            async for reply in replies:
                if isinstance(reply, Finished):
                    for event in self._end(reply):
                        yield event
                    break
                for part in singly(reply):
                    for event in self._take(part):
                        yield event
                    if self._enough:
                        break
                if self._enough:
                    break
        if self.finished is None and self.reading.stopped_by is not None:
            self.finished = self.reading.stopped(len(request.prompt))

    @property
    def _enough(self) -> bool:
        return self._over_budget or bool(self._complaints) or self.reading.stopped_by is not None

    def _take(self, delta: Delta) -> list[Event]:
        thought = self.reading.thinking
        before = len(self._tokens)
        self._tokens += delta.tokens
        told = self._sorted(self.reading.take(delta))
        if any(isinstance(event, TextDelta) and event.text for event in told):
            self._told = len(self._tokens)
        if self.reading.thinking:
            budget = self._plan.budget
            spent = self._progress.thinking_tokens + self.reading.thinking_tokens
            self._over_budget = budget is not None and spent >= budget
        elif thought:
            # From here on the thoughts are closed by force if it comes to that: their last token may
            # carry more than the closing mark.
            self._thoughts = self._tokens[:before]
        return told

    def _sorted(self, events: Sequence[Event]) -> list[Event]:
        """What may be told now; the rest is held."""
        if not self._plan.holds_back:
            return list(events)
        told: list[Event] = []
        for event in events:
            if isinstance(event, ThinkingDelta) or (isinstance(event, TextDelta) and self._free(event)):
                told.append(event)
                continue
            self._held.append(event)
            if isinstance(event, ToolCallEnd):
                self._complaints += self._judge_call(event)
        return told

    def _free(self, event: TextDelta) -> bool:
        return self._plan.constraint.demands.answer is None or not event.text

    def _end(self, finished: Finished) -> list[Event]:
        told = self._sorted(self.reading.end())
        if finished.reason == "stop" and self._plan.holds_back and not self.reading.calls:
            self._complaints += self._judge_answer()
        elif self._guarded and finished.code == ConstraintFailed.code:
            # Whatever could be written next would have repeated an item: another way may go on.
            self._complaints.append(finished.error)
        if self._complaints:
            return told
        self.finished = finished
        return [*told, *self._held]

    def _judge_call(self, call: ToolCallEnd) -> list[str]:
        tool = next(one for one in self._plan.constraint.demands.tools if one.name == call.name)
        return [
            f"arguments of {call.name}: {what}"
            for what in tool.arguments.problems(json.loads(call.arguments))
        ]

    def _judge_answer(self) -> list[str]:
        answer = self._plan.constraint.demands.answer
        if answer is None:
            return []
        return answer.problems("".join(event.text for event in self._held if isinstance(event, TextDelta)))

    async def prepare_next(self) -> None:
        """Set `progress` up for the generation after this one. Raises ConstraintFailed when there is none."""
        progress = self._progress
        if self._over_budget:
            await self._think_no_more(self._tokens)
            return
        if progress.attempt >= ATTEMPTS:
            listed = "\n".join(f"- {what}" for what in self._complaints[:20])
            raise ConstraintFailed(
                f"the model's answer was not valid for the schema in {ATTEMPTS} attempts:\n{listed}\n"
                f"Simplify the schema, or say in the prompt what is wanted"
            )
        log.info("attempt %d was not valid: %s", progress.attempt, "; ".join(self._complaints[:3]))
        progress.attempt += 1
        progress.request = msgspec.structs.replace(
            progress.request, sampling=_warmer(progress.request.sampling, progress.attempt)
        )
        if self._told:
            # The text before the call is out: what follows it can only be the call.
            progress.thinking_tokens += self.reading.thinking_tokens
            self._continue_with(self._tokens[: self._told])
            progress.shape = replace(self._shape, thinking="forbidden", calls="required")
        elif self._thoughts is not None:
            await self._think_no_more(self._thoughts)
        else:
            progress.shape = replace(self._shape, thinking="forbidden")

    async def _think_no_more(self, thoughts: list[int]) -> None:
        """Go on behind `thoughts`, with the block closed."""
        self._progress.thinking_tokens += self.reading.thinking_tokens
        closing = self._plan.constraint.syntax.closing
        marks = await self._plan.runner.tokenize(closing, add_special=False)
        self._continue_with([*thoughts, *marks])
        self._progress.shape = replace(self._shape, thinking="forbidden")

    def _continue_with(self, more: list[int]) -> None:
        progress = self._progress
        room = progress.request.max_tokens
        progress.kept += more
        progress.request = msgspec.structs.replace(
            progress.request,
            prompt=[*progress.request.prompt, *more],
            max_tokens=room if room < 0 else max(0, room - len(more)),
        )


def _warmer(sampling: Sampling, attempt: int) -> Sampling:
    seed = sampling.seed if sampling.seed < 0 else (sampling.seed + SEED_STEP * attempt) & 0x7FFFFFFF
    return msgspec.structs.replace(sampling, seed=seed, temperature=max(sampling.temperature, WARMER))


def _whole(leg: _Leg, progress: _Progress) -> Finished:
    progress.thinking_tokens += leg.reading.thinking_tokens
    assert leg.finished is not None
    usage = leg.finished.usage
    kept = len(progress.kept)
    whole = Usage(
        usage.prompt_tokens - kept,
        max(0, min(usage.cached_tokens, usage.prompt_tokens - kept)),
        usage.completion_tokens + kept,
    )
    return msgspec.structs.replace(leg.finished, usage=whole)
