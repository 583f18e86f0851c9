"""The loop: schedule, fill the batch, llama_decode, sample, emit. One thread owns it and the context.

Commands come in through a thread-safe queue and replies go out through `emit`, one list a step. With
nothing to do the loop blocks on the queue: an idle engine uses no CPU.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable
from queue import Empty, SimpleQueue

import psutil

from agentkit_server.engine.adapters import Adapters
from agentkit_server.engine.ahead import Ahead
from agentkit_server.engine.constraint import Constraint, ConstraintBroken
from agentkit_server.engine.embedder import Embedder
from agentkit_server.engine.grammars import Grammars
from agentkit_server.engine.intake import Intake, Prepared
from agentkit_server.engine.llama import NO_SLOT, Context, LlamaError
from agentkit_server.engine.sampler import NoNumbers, NothingAllowed, next_tokens
from agentkit_server.engine.scheduler import Row, Scheduler
from agentkit_server.engine.sequence import MOST_TOGETHER, Sequence, Unsaid
from agentkit_server.engine.threads import Threads
from agentkit_server.engine.types import (
    Cancel,
    DropAdapters,
    DropCache,
    Embed,
    Failed,
    Finished,
    FinishReason,
    Generate,
    GetStats,
    LoadAdapters,
    Query,
    Reply,
    Shutdown,
    Stats,
    Unpin,
)

log = logging.getLogger("agentkit.engine")

SAY_NS = 40_000_000
"""Between two Deltas of a sequence, the first at once. A Delta costs 0.3 ms of processor time on its way to
the client, where a small model's step takes 8 ms and needs all cores: one for each token took a tenth off
eight streams. Nobody sees 25 pieces a second apart from 100."""

StepCommand = Generate | Prepared | Cancel | Embed | Query | Shutdown
Emit = Callable[[list[Reply]], None]


class Stepper:
    """Continuous batching over one context; `grammars` are those of its model."""

    def __init__(self, context: Context, grammars: Grammars, emit: Emit) -> None:
        self._context = context
        self._emit = emit
        self._grammars = grammars
        self._adapters = Adapters(context)
        self._intake = Intake(context, self._adapters, grammars, self.submit)
        self._ahead = Ahead()
        self._inbox: SimpleQueue[tuple[StepCommand, int]] = SimpleQueue()
        self._scheduler = Scheduler(context, self._say_rest)
        self._embedder = Embedder(context, self._adapters)
        self._threads = Threads(context.threads, self._use_threads)
        self._out: list[Reply] = []
        # While a GPU computes, the threads wait for it: that says nothing of other programs. A number that
        # somebody chose is kept.
        self._watch_threads = context.gpu_layers == 0 and context.spec.n_threads == 0
        # Tries that llama_decode may fail for want of cells before its batch is given up.
        self._patience = 2 * context.spec.n_seq_max
        self._slotless = 0
        self._open = True
        self._now_ns = 0
        self._steps = 0
        self._tokens_computed = 0

    def submit(self, command: StepCommand) -> None:
        """From any thread."""
        self._inbox.put((command, time.monotonic_ns()))

    def run(self) -> None:
        """Until Shutdown."""
        while self._open:
            self._take_commands()
            self._end_late_ones()
            self._scheduler.admit()
            if self._scheduler.running:
                self._step()
            if self._embedder.busy:
                self._answer(self._embedder.step())
            self._send()
        self._ahead.close()

    def _send(self) -> None:
        if self._out:
            out, self._out = self._out, []
            self._emit(out)

    # Commands

    def _take_commands(self) -> None:
        try:
            if not (self._scheduler.running or self._scheduler.waiting or self._embedder.busy):
                if self._steps:
                    self._grammars.start()
                self._handle(*self._inbox.get(timeout=self._intake.patience()))
            while True:
                self._handle(*self._inbox.get_nowait())
        except Empty:
            self._out += self._intake.overdue()

    def _handle(self, command: StepCommand, arrived_ns: int) -> None:
        match command:
            case Generate():
                self._admit(self._intake.take(command, arrived_ns))
            case Prepared():
                self._admit(self._intake.prepared(command))
            case Cancel():
                self._cancel(command.id)
            case Embed():
                self._answer(self._embedder.add(command))
            case Shutdown():
                self._open = False
            case _:
                self._out.append(self._query(command))
        # Answers to queries do not wait for the step that follows.
        if not isinstance(command, Generate):
            self._send()

    def _query(self, query: Query) -> Stats | Failed:
        match query:
            case GetStats():
                pass
            case DropCache():
                self._scheduler.drop_cache()
            case Unpin():
                self._intake.unpin(query.pin)
                self._scheduler.unpin(query.pin)
            case LoadAdapters():
                try:
                    self._adapters.load(query.number, query.files)
                except LlamaError as error:
                    return Failed(id=query.id, code="load_failed", message=str(error))
            case DropAdapters():
                self._scheduler.drop_cache(query.number)
                self._adapters.drop(query.number)
        return self._stats(query.id)

    def _admit(self, taken: list[Sequence] | Failed) -> None:
        if isinstance(taken, Failed):
            self._out.append(taken)
        else:
            self._scheduler.waiting.extend(taken)

    def _answer(self, reply: Reply | None) -> None:
        if reply is not None:
            self._out.append(reply)

    def _cancel(self, request_id: int) -> None:
        self._embedder.cancel(request_id)
        self._out += self._intake.cancel(request_id)
        everyone = [*self._scheduler.running, *self._scheduler.waiting]
        for sequence in [s for s in everyone if s.request.id == request_id]:
            self._finish(sequence, "cancelled")

    def _end_late_ones(self) -> None:
        now = 0
        for sequence in [*self._scheduler.running, *self._scheduler.waiting]:
            if deadline := sequence.request.deadline_ns:
                now = now or time.monotonic_ns()
                if now >= deadline:
                    self._finish(sequence, "deadline")

    def _stats(self, request_id: int) -> Stats:
        s = self._scheduler
        return Stats(
            id=request_id,
            cells_total=s.cells.total,
            cells_used=s.cells.used,
            cells_cached=s.cells_cached,
            sequences_running=len(s.running),
            sequences_waiting=len(s.waiting) + self._intake.waiting,
            sequences_cached=len(s.cache),
            parked_bytes=s.cache.parked_bytes,
            pins=s.cache.pins,
            decode_steps=self._steps,
            tokens_computed=self._tokens_computed,
            tokens_reused=s.tokens_reused,
            preemptions=s.preemptions,
            adapters=len(self._adapters),
            rss_bytes=psutil.Process().memory_info().rss,
        )

    # A step

    def _step(self) -> None:
        rows = self._scheduler.plan()
        if not rows:
            return
        changed = self._adapters.select(rows[0].sequence.adapters)
        self._ahead.begin([c for row in rows if (c := _mask_wanted(row)) is not None])
        started, cpu = time.monotonic_ns(), time.process_time_ns()
        code = self._context.decode(self._scheduler.batch)
        took = time.monotonic_ns() - started
        if self._watch_threads and not changed:
            cpu = time.process_time_ns() - cpu
            # Forced tokens ride along with the sampled one, nearly for nothing.
            rows_of_weight = sum(1 if row.samples else row.count for row in rows)
            self._threads.observe(rows_of_weight, took, cpu, started + took)
        self._ahead.finish()
        if code == 0:
            self._now_ns = started + took
            self._slotless = 0
            self._scheduler.commit(rows, took)
            self._steps += 1
            self._tokens_computed += self._scheduler.batch.size
            for row in rows:
                if row.samples:
                    self._sample(row)
            return
        self._scheduler.roll_back(rows)
        if code == NO_SLOT and self._slotless < self._patience and self._scheduler.make_room():
            self._slotless += 1
            return
        self._fail(rows, code)

    def _fail(self, rows: list[Row], code: int) -> None:
        """llama_decode gave the batch up: its sequences fail, the others and the model live on."""
        reason = "no KV cells are left for it" if code == NO_SLOT else f"llama_decode returned {code}"
        log.error("a batch of %d rows failed: %s", len(rows), reason)
        for row in rows:
            self._finish(row.sequence, "error", error=f"the model could not compute this request: {reason}")

    def _use_threads(self, count: int) -> None:
        log.info("computing with %d of %d threads", count, self._context.threads)
        self._context.set_threads(count)

    def _sample(self, row: Row) -> None:
        sequence = row.sequence
        if sequence.request.max_tokens == 0:
            self._finish(sequence, "length")
            return
        try:
            tokens = next_tokens(self._context, sequence, row.last)
        except NoNumbers:
            self._finish(sequence, "error", error="the model computed no numbers: its file may be damaged")
        except ConstraintBroken as error:
            words = f"the grammar cannot be followed any further: {error}; make the schema simpler"
            self._finish(sequence, "error", error=words, code="constraint_failed")
        except NothingAllowed:
            self._end_of_grammar(sequence)
        else:
            if not sequence.first_token_ns:
                sequence.first_token_ns = time.monotonic_ns()
            self._go_on(sequence, tokens)

    def _end_of_grammar(self, sequence: Sequence) -> None:
        if sequence.constraint is not None and sequence.constraint.accepting:
            self._finish(sequence, "stop")
        else:
            error = "logit_bias (or ignore_eos) forbids every token that the grammar allows here"
            self._finish(sequence, "error", error=error)

    def _go_on(self, sequence: Sequence, tokens: list[int]) -> None:
        """Append `tokens` up to the one that ends the answer, if any does."""
        constraint = sequence.constraint
        for count, token in enumerate(tokens, 1):
            complete = constraint is not None and count == len(tokens) and constraint.complete
            reason = self._append(sequence, token, complete=complete)
            if reason is not None:
                self._finish(sequence, reason)
                return
            if len(sequence.tokens) >= self._context.spec.n_ctx:
                self._scheduler.trim(sequence, sequence.shift())
        together = sequence.remaining == len(tokens) <= MOST_TOGETHER
        sequence.due = len(tokens) if together else 1
        since = self._now_ns - sequence.said_ns
        if since >= SAY_NS or not sequence.said_ns or sequence.request.each_step:
            self._say_rest(sequence)

    def _append(self, sequence: Sequence, token: int, *, complete: bool) -> FinishReason | None:
        """One more token; why the answer ends with it, if it does."""
        request, unsaid, text = sequence.request, sequence.unsaid, sequence.text
        sequence.generated += 1
        if token in request.marks:
            unsaid.text += text.flush()
            unsaid.marks.append((len(unsaid.text), token))
        if token in self._context.vocabulary.eog and not request.ignore_eos:
            # It is no token of the answer, and neither is its log-probability.
            del unsaid.logprobs[len(unsaid.tokens) :]
            return "stop"
        sequence.tokens.extend([token])
        unsaid.tokens.append(token)
        if text.stopped_by is None:
            unsaid.text += text.push(self._context.vocabulary.piece(token, special=request.special))
        unsaid.ends.append(len(unsaid.text))
        if text.stopped_by is not None or complete:
            return "stop"
        full = len(sequence.tokens) >= self._context.spec.n_ctx and not request.shift
        return "length" if full or 0 <= request.max_tokens <= sequence.generated else None

    def _say_rest(self, sequence: Sequence) -> None:
        """Now, what would otherwise wait for the sequence's next token."""
        unsaid = sequence.unsaid
        if unsaid.text or unsaid.logprobs or unsaid.marks:
            self._say(sequence)

    def _say(self, sequence: Sequence) -> None:
        self._out.append(sequence.unsaid.delta(sequence.request, sequence.index, sequence.cached_tokens))
        sequence.unsaid = Unsaid()
        sequence.said_ns = self._now_ns

    def _finish(self, sequence: Sequence, reason: FinishReason, *, error: str = "", code: str = "") -> None:
        unsaid = sequence.unsaid
        unsaid.text += sequence.text.flush()
        if unsaid.text or unsaid.tokens or unsaid.marks:
            self._say(sequence)
        self._out.append(
            Finished(
                id=sequence.request.id,
                index=sequence.index,
                reason=reason,
                usage=sequence.usage(),
                timings=sequence.timings(),
                stop_string=sequence.text.stopped_by,
                error=error,
                code=code,
                shifted=sequence.shifted,
            )
        )
        self._scheduler.retire(sequence, keep=reason != "error")


def _mask_wanted(row: Row) -> Constraint | None:
    """The constraint that must have a mask before this row can be sampled from."""
    sequence = row.sequence
    return sequence.constraint if row.samples and not sequence.tries_first else None
