"""Requests on their way to becoming sequences: what is refused, and what waits for its grammar."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass

import msgspec

from agentkit_server.engine.adapters import Adapters, unknown
from agentkit_server.engine.constraint import Constraint, GrammarRefused
from agentkit_server.engine.grammars import Grammars
from agentkit_server.engine.llama import Context
from agentkit_server.engine.sequence import Sequence, start_sequences
from agentkit_server.engine.types import Failed, Finished, FinishReason, Generate, Timings, Usage

LONGEST_WAIT_NS = 10_000_000_000
"""For a grammar. Building one cannot be interrupted: it goes on for nobody, or for the next who asks."""


@dataclass(frozen=True)
class Prepared:
    """The grammar of request `id` is built, or refused."""

    id: int
    outcome: Constraint | GrammarRefused


class Intake:
    """Turns Generate commands into sequences. `tell` hands a Prepared from another thread to whoever calls
    `prepared` with it."""

    def __init__(
        self, context: Context, adapters: Adapters, grammars: Grammars, tell: Callable[[Prepared], None]
    ) -> None:
        self._context = context
        self._adapters = adapters
        self._grammars = grammars
        self._tell = tell
        self._waiting: dict[int, tuple[Generate, int]] = {}

    @property
    def waiting(self) -> int:
        """Completions whose grammar is not ready."""
        return sum(request.n for request, _ in self._waiting.values())

    def take(self, request: Generate, arrived_ns: int) -> list[Sequence] | Failed:
        """The sequences of `request`; none yet when its grammar has to be built."""
        problem = self._refusal(request)
        if problem:
            return Failed(id=request.id, code=problem[0], message=problem[1])
        if not request.grammar:
            return start_sequences(self._context, request, arrived_ns)
        constraint = self._grammars.ready(request.grammar)
        if constraint is not None:
            return start_sequences(self._context, request, arrived_ns, constraint)
        self._waiting[request.id] = request, arrived_ns
        self._grammars.build(request.grammar, lambda outcome: self._tell(Prepared(request.id, outcome)))
        return []

    def prepared(self, prepared: Prepared) -> list[Sequence] | Failed:
        """The sequences of the request that waited for this; none if it waits no more."""
        request, arrived_ns = self._waiting.pop(prepared.id, (None, 0))
        if request is None:
            return []
        if isinstance(prepared.outcome, GrammarRefused):
            return _invalid(request, str(prepared.outcome))
        return start_sequences(self._context, request, arrived_ns, prepared.outcome)

    def cancel(self, request_id: int) -> list[Finished]:
        """Forget a request that waits for its grammar; what is to be answered."""
        request, arrived_ns = self._waiting.pop(request_id, (None, 0))
        return [] if request is None else _ended(request, arrived_ns, "cancelled")

    def unpin(self, pin: str) -> None:
        """Let what is pinned as `pin` when it ends go like any other."""
        for request, arrived_ns in list(self._waiting.values()):
            if request.pin == pin:
                self._waiting[request.id] = msgspec.structs.replace(request, pin=""), arrived_ns

    def patience(self) -> float | None:
        """Seconds until somebody has waited too long, None when nobody waits."""
        if not self._waiting:
            return None
        first = min(_until(request, arrived_ns) for request, arrived_ns in self._waiting.values())
        return max(0.0, (first - time.monotonic_ns()) / 1e9)

    def overdue(self) -> list[Failed | Finished]:
        """Answers to those that have waited too long for their grammar."""
        if not self._waiting:
            return []
        now = time.monotonic_ns()
        took = f"compiling it takes more than {LONGEST_WAIT_NS // 1_000_000_000} seconds"
        answers: list[Failed | Finished] = []
        for request, arrived_ns in list(self._waiting.values()):
            if now < _until(request, arrived_ns):
                continue
            del self._waiting[request.id]
            if 0 < request.deadline_ns <= now:
                answers += _ended(request, arrived_ns, "deadline")
            else:
                answers.append(_invalid(request, took))
        return answers

    def _refusal(self, request: Generate) -> tuple[str, str] | None:
        size, limit = self._context.vocabulary.size, self._context.spec.n_ctx
        if self._context.spec.embedding:
            return "missing_capability", "this model only embeds: ask it for embeddings"
        if request.adapters not in self._adapters:
            return unknown(request.adapters)
        if not request.prompt:
            return "invalid_request", "the prompt has no tokens: send at least one"
        if len(request.prompt) >= limit:
            return (
                "context_length_exceeded",
                f"the prompt has {len(request.prompt)} tokens and the context holds {limit}",
            )
        ids = [*request.prompt, *request.sampling.logit_bias]
        if min(ids) < 0 or max(ids) >= size:
            bad = next(t for t in ids if not 0 <= t < size)
            return "invalid_request", f"token id {bad} is outside the vocabulary of {size} tokens"
        return None


def _until(request: Generate, arrived_ns: int) -> int:
    latest = arrived_ns + LONGEST_WAIT_NS
    return min(latest, request.deadline_ns) if request.deadline_ns else latest


def _ended(request: Generate, arrived_ns: int, reason: FinishReason) -> list[Finished]:
    usage = Usage(len(request.prompt), 0, 0)
    timings = Timings(time.monotonic_ns() - arrived_ns, 0, 0)
    return [
        Finished(id=request.id, index=index, reason=reason, usage=usage, timings=timings)
        for index in range(request.n)
    ]


def _invalid(request: Generate, why: str) -> Failed:
    message = f"the grammar cannot be compiled: {why}; send a simpler or corrected one"
    return Failed(id=request.id, code="invalid_grammar", message=message)
