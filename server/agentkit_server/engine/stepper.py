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

from agentkit_server.engine.embedder import Embedder
from agentkit_server.engine.llama import NO_SLOT, Context
from agentkit_server.engine.sampler import NoNumbers, choose, log_probability
from agentkit_server.engine.scheduler import Row, Scheduler
from agentkit_server.engine.sequence import Sequence, start_sequences
from agentkit_server.engine.threads import Threads
from agentkit_server.engine.types import (
    Cancel,
    Delta,
    DropCache,
    Embed,
    Failed,
    Finished,
    FinishReason,
    Generate,
    GetStats,
    Reply,
    Shutdown,
    Stats,
)

log = logging.getLogger("agentkit.engine")

StepCommand = Generate | Cancel | Embed | GetStats | DropCache | Shutdown
Emit = Callable[[list[Reply]], None]


class Stepper:
    """Continuous batching over one context."""

    def __init__(self, context: Context, emit: Emit) -> None:
        self._context = context
        self._emit = emit
        self._inbox: SimpleQueue[tuple[StepCommand, int]] = SimpleQueue()
        self._scheduler = Scheduler(context)
        self._embedder = Embedder(context)
        self._threads = Threads(context.threads, self._use_threads)
        self._out: list[Reply] = []
        # While a GPU computes, the threads wait for it: that says nothing of other programs. A number that
        # somebody chose is kept.
        self._watch_threads = context.gpu_layers == 0 and context.spec.n_threads == 0
        # Tries that llama_decode may fail for want of cells before its batch is given up.
        self._patience = 2 * context.spec.n_seq_max
        self._slotless = 0
        self._open = True
        self._steps = 0
        self._tokens_computed = 0

    def submit(self, command: StepCommand) -> None:
        """From any thread."""
        self._inbox.put((command, time.monotonic_ns()))

    def run(self) -> None:
        """Until Shutdown."""
        while self._open:
            self._take_commands()
            self._scheduler.admit()
            if self._scheduler.running:
                self._step()
            if self._embedder.busy:
                self._answer(self._embedder.step())
            self._send()

    def _send(self) -> None:
        if self._out:
            out, self._out = self._out, []
            self._emit(out)

    # Commands

    def _take_commands(self) -> None:
        try:
            if not (self._scheduler.running or self._scheduler.waiting or self._embedder.busy):
                self._handle(*self._inbox.get())
            while True:
                self._handle(*self._inbox.get_nowait())
        except Empty:
            return

    def _handle(self, command: StepCommand, arrived_ns: int) -> None:
        match command:
            case Generate():
                self._start(command, arrived_ns)
            case Cancel():
                self._cancel(command.id)
            case Embed():
                self._answer(self._embedder.add(command))
            case GetStats():
                self._out.append(self._stats(command.id))
            case DropCache():
                self._scheduler.drop_cache()
                self._out.append(self._stats(command.id))
            case Shutdown():
                self._open = False
        # Answers to queries do not wait for the step that follows.
        if not isinstance(command, Generate):
            self._send()

    def _start(self, request: Generate, arrived_ns: int) -> None:
        problem = self._refusal(request)
        if problem:
            self._out.append(Failed(id=request.id, code=problem[0], message=problem[1]))
            return
        self._scheduler.waiting.extend(start_sequences(self._context, request, arrived_ns))

    def _refusal(self, request: Generate) -> tuple[str, str] | None:
        size, limit = self._context.vocabulary.size, self._context.spec.n_ctx
        if self._context.spec.embedding:
            return "missing_capability", "this model only embeds: ask it for embeddings"
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

    def _answer(self, reply: Reply | None) -> None:
        if reply is not None:
            self._out.append(reply)

    def _cancel(self, request_id: int) -> None:
        self._embedder.cancel(request_id)
        everyone = [*self._scheduler.running, *self._scheduler.waiting]
        for sequence in [s for s in everyone if s.request.id == request_id]:
            self._finish(sequence, "cancelled")

    def _stats(self, request_id: int) -> Stats:
        s = self._scheduler
        return Stats(
            id=request_id,
            cells_total=s.cells.total,
            cells_used=s.cells.used,
            cells_cached=s.cells_cached,
            sequences_running=len(s.running),
            sequences_waiting=len(s.waiting),
            sequences_cached=len(s.cache),
            parked_bytes=s.cache.parked_bytes,
            decode_steps=self._steps,
            tokens_computed=self._tokens_computed,
            tokens_reused=s.tokens_reused,
            preemptions=s.preemptions,
            rss_bytes=psutil.Process().memory_info().rss,
        )

    # A step

    def _step(self) -> None:
        rows = self._scheduler.plan()
        if not rows:
            return
        started, cpu = time.monotonic_ns(), time.process_time_ns()
        code = self._context.decode(self._scheduler.batch)
        took = time.monotonic_ns() - started
        if self._watch_threads:
            cpu = time.process_time_ns() - cpu
            self._threads.observe(self._scheduler.batch.size, took, cpu, started + took)
        if code == 0:
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
        request = sequence.request
        if request.max_tokens == 0:
            self._finish(sequence, "length")
            return
        try:
            token = choose(self._context, sequence, row.at)
        except NoNumbers:
            self._finish(sequence, "error", error="the model computed no numbers: its file may be damaged")
            return
        sequence.generated += 1
        if not sequence.first_token_ns:
            sequence.first_token_ns = time.monotonic_ns()
        if token in self._context.vocabulary.eog and not request.ignore_eos:
            self._finish(sequence, "stop")
            return
        if request.logprobs is not None:
            logits = self._context.logits(row.at)
            sequence.pending_logprobs.append(
                log_probability(self._context.vocabulary, logits, token, request.logprobs)
            )
        sequence.tokens.extend([token])
        sequence.pending_tokens.append(token)
        piece = self._context.vocabulary.piece(token, special=request.special)
        text = sequence.text.push(piece)
        if sequence.text.stopped_by is not None:
            self._finish(sequence, "stop", text)
        elif 0 <= request.max_tokens <= sequence.generated or (
            len(sequence.tokens) >= self._context.spec.n_ctx and not request.shift
        ):
            self._finish(sequence, "length", text)
        else:
            self._go_on(sequence, text)

    def _go_on(self, sequence: Sequence, text: str) -> None:
        if text or sequence.pending_logprobs:
            self._say(sequence, text)
        if len(sequence.tokens) >= self._context.spec.n_ctx:
            self._scheduler.trim(sequence, sequence.shift())

    def _say(self, sequence: Sequence, text: str) -> None:
        logprobs = sequence.pending_logprobs if sequence.request.logprobs is not None else None
        self._out.append(
            Delta(
                id=sequence.request.id,
                index=sequence.index,
                text=text,
                tokens=sequence.pending_tokens,
                logprobs=logprobs,
            )
        )
        sequence.pending_tokens, sequence.pending_logprobs = [], []

    def _finish(self, sequence: Sequence, reason: FinishReason, text: str = "", *, error: str = "") -> None:
        text += sequence.text.flush()
        if text or sequence.pending_tokens:
            self._say(sequence, text)
        self._out.append(
            Finished(
                id=sequence.request.id,
                index=sequence.index,
                reason=reason,
                usage=sequence.usage(),
                timings=sequence.timings(),
                stop_string=sequence.text.stopped_by,
                error=error,
                shifted=sequence.shifted,
            )
        )
        self._scheduler.retire(sequence, keep=reason != "error")
