"""Embeddings, and the scores of rank heads: one vector for each input, pooled as the model says.

Runs on the stepper's thread, one batch a turn of its loop, so that a request that nobody waits for any
more is dropped between batches. Only embedding models embed: a generative one says of no pooling.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass, field

from agentkit_server.engine.adapters import Adapters, unknown
from agentkit_server.engine.llama import Batch, Context
from agentkit_server.engine.types import Embed, Embedded, Failed


@dataclass
class Job:
    """A request on its way: the groups of inputs still to compute, and the vectors so far."""

    request: Embed
    groups: Iterator[list[list[int]]]
    vectors: list[list[float]] = field(default_factory=list[list[float]])


class Embedder:
    """A queue of embedding requests, first come first served."""

    def __init__(self, context: Context, adapters: Adapters) -> None:
        self._context = context
        self._adapters = adapters
        self._batch = Batch(context.spec.n_batch)
        self._limit = min(context.spec.n_ctx, context.spec.n_batch)
        self._jobs: deque[Job] = deque()

    @property
    def busy(self) -> bool:
        return bool(self._jobs)

    def add(self, request: Embed) -> Failed | None:
        """Queue `request`; an answer means that it was refused."""
        refused = self._refusal(request)
        if refused is None:
            self._jobs.append(Job(request, self._groups(request.inputs)))
        return refused

    def cancel(self, request_id: int) -> None:
        self._jobs = deque(job for job in self._jobs if job.request.id != request_id)

    def step(self) -> Embedded | Failed | None:
        """Compute one batch of the oldest request; its answer once it is complete."""
        job = self._jobs[0]
        group = next(job.groups, None)
        if group is not None:
            self._adapters.select(job.request.adapters)
            code = self._compute(group, job.vectors)
            if code == 0:
                return None
            self._jobs.popleft()
            message = f"the model could not compute this input: llama_decode returned {code}"
            return Failed(id=job.request.id, code="internal_error", message=message)
        self._jobs.popleft()
        tokens = sum(map(len, job.request.inputs))
        return Embedded(id=job.request.id, vectors=job.vectors, prompt_tokens=tokens)

    def _refusal(self, request: Embed) -> Failed | None:
        def refuse(code: str, message: str) -> Failed:
            return Failed(id=request.id, code=code, message=message)

        if not self._context.spec.embedding:
            return refuse("missing_capability", "this model gives no embeddings: ask an embedding model")
        if request.adapters not in self._adapters:
            return refuse(*unknown(request.adapters))
        for tokens in request.inputs:
            if not tokens:
                return refuse("invalid_request", "an input has no tokens: send at least one")
            if len(tokens) > self._limit:
                message = f"an input has {len(tokens)} tokens and the context holds {self._limit}"
                return refuse("context_length_exceeded", message)
            if min(tokens) < 0 or max(tokens) >= self._context.vocabulary.size:
                return refuse("invalid_request", "an input has a token outside the vocabulary")
        return None

    def _groups(self, inputs: list[list[int]]) -> Iterator[list[list[int]]]:
        """Whole inputs, as many a batch as fit: attention may look both ways, so none is cut."""
        group: list[list[int]] = []
        room = self._batch.capacity
        for tokens in inputs:
            if group and (len(tokens) > room or len(group) >= self._context.spec.n_seq_max):
                yield group
                group, room = [], self._batch.capacity
            group.append(tokens)
            room -= len(tokens)
        if group:
            yield group

    def _compute(self, group: list[list[int]], vectors: list[list[float]]) -> int:
        """Append a vector for each input of `group`; returns llama_decode's code."""
        self._batch.clear()
        last = [
            self._batch.add(tokens, 0, seq, output=True) + len(tokens) - 1 for seq, tokens in enumerate(group)
        ]
        code = self._context.decode(self._batch)
        if code == 0 and self._context.pooling == "none":
            vectors.extend(self._context.token_embedding(row).tolist() for row in last)
        elif code == 0:
            vectors.extend(self._context.pooled_embedding(seq).tolist() for seq in range(len(group)))
        for seq in range(len(group)):
            self._context.drop_cells(seq)
        return code
