"""Embeddings: one vector for each input, pooled as the model says.

Runs on the stepper's thread, as many inputs in one batch as fit. A generative model says of no pooling
and is refused.
"""

from __future__ import annotations

from agentkit_server.engine.llama import Batch, Context
from agentkit_server.engine.types import Embed, Embedded, Failed


class Embedder:
    def __init__(self, context: Context) -> None:
        self._context = context
        self._batch = Batch(context.spec.n_batch)

    def embed(self, request: Embed) -> Embedded | Failed:
        if not self._context.spec.embedding:
            return _failed(request, "missing_capability", "this model does not embed: ask an embedding model")
        limit = self._context.spec.n_ctx
        for tokens in request.inputs:
            if not tokens:
                return _failed(request, "invalid_request", "an input has no tokens: send at least one")
            if len(tokens) > limit:
                message = f"an input has {len(tokens)} tokens and the context holds {limit}"
                return _failed(request, "context_length_exceeded", message)
            if min(tokens) < 0 or max(tokens) >= self._context.vocabulary.size:
                return _failed(request, "invalid_request", "an input has a token outside the vocabulary")
        try:
            vectors = self._pooled(request)
        except EmbedError as error:
            return _failed(request, "internal_error", str(error))
        return Embedded(id=request.id, vectors=vectors, prompt_tokens=sum(map(len, request.inputs)))

    def _pooled(self, request: Embed) -> list[list[float]]:
        """Whole inputs, as many a batch as fit: attention may look both ways, so none is cut."""
        vectors: list[list[float]] = []
        group: list[list[int]] = []
        for tokens in request.inputs:
            room = self._batch.capacity - sum(map(len, group))
            if group and (len(tokens) > room or len(group) >= self._context.spec.n_seq_max):
                vectors += self._compute_group(group)
                group = []
            group.append(tokens)
        return vectors + self._compute_group(group) if group else vectors

    def _compute_group(self, group: list[list[int]]) -> list[list[float]]:
        self._batch.clear()
        ends: list[int] = []
        for seq, tokens in enumerate(group):
            ends.append(self._batch.add(tokens, 0, seq, output=True) + len(tokens) - 1)
        try:
            self._decode()
            if self._context.pooling == "none":
                return [self._context.token_embedding(end).tolist() for end in ends]
            return [self._context.pooled_embedding(seq).tolist() for seq in range(len(group))]
        finally:
            for seq in range(len(group)):
                self._context.drop_cells(seq)

    def _decode(self) -> None:
        code = self._context.decode(self._batch)
        if code != 0:
            raise EmbedError(f"the model could not compute this input: llama_decode returned {code}")


class EmbedError(Exception):
    """An input could not be computed."""


def _failed(request: Embed, code: str, message: str) -> Failed:
    return Failed(id=request.id, code=code, message=message)
