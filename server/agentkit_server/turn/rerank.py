"""Ranking documents by what they say of a query: each is read together with the query by a model that has a
head for that, on the same path as embeddings."""

from __future__ import annotations

import math
import re
import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, cast

from agentkit_server.errors import AgentkitError, BadRequest, MissingCapability, PromptTooLong
from agentkit_server.models.model import Model
from agentkit_server.residency.types import Lease, LoadOptions
from agentkit_server.turn.backend import Backend, resolve, within
from agentkit_server.turn.options import merge_load, read_options

MAX_DOCUMENTS = 2048
_HEAD = "cls."
"""What the names of a rank head's tensors begin with."""
_TEMPLATE = "tokenizer.chat_template.rerank"
_PLACE = re.compile(r"\{(query|document)\}")
_SOFTMAX = frozenset({"qwen3", "qwen3vl"})
"""Architectures whose head gives probabilities of its labels; others give logits."""
_RELEVANT = frozenset({"yes", "relevant", "true", "positive", "1", "label_1"})
"""What the label is called, of two, that says that a document goes with the query."""


@dataclass(frozen=True, kw_only=True)
class RerankRequest:
    """Documents to be ranked."""

    model: str
    query: str
    documents: tuple[str, ...]
    truncate: bool = False
    """Cut a document that does not fit at its end."""
    max_tokens_per_doc: int | None = None
    """Read so many tokens of a document and no more."""
    load: LoadOptions = LoadOptions()
    keep_alive: str | float | None = None
    max_seconds: float | None = None


@dataclass(frozen=True)
class Score:
    """How well a document goes with the query."""

    raw: float
    """As the model gives it: usually a logit, of two labels the difference of theirs."""
    relevance: float
    """0 to 1; in the same order."""


@dataclass(frozen=True)
class Ranking:
    """One score for each document, in their order."""

    scores: list[Score]
    prompt_tokens: int
    truncated_tokens: int


async def rerank(backend: Backend, request: RerankRequest) -> Ranking:
    """Score every document.

    Raises MissingCapability for a model without a rank head, BadRequest for too many documents or an empty
    query, PromptTooLong when a document does not fit and may not be cut, DeadlinePassed, and what a lease
    raises.
    """
    began = time.monotonic_ns()
    model = await resolve(backend, request.model)
    _check(request, model)
    relevant = _relevant_label(model)
    load = merge_load(request.load, read_options(model.parameters).load)
    with within(request.max_seconds, began, "the documents were not ranked"):
        async with backend.residency.lease(model, load, request.keep_alive) as lease:
            pairs = _Pairs(model, lease, request)
            inputs = [await pairs.tokens(document) for document in request.documents]
            vectors = (await lease.runner.embed(inputs, adapters=lease.adapters)).vectors
    scores = [_score(model, vector, relevant) for vector in vectors]
    return Ranking(scores, sum(map(len, inputs)), pairs.cut)


def _check(request: RerankRequest, model: Model) -> None:
    if "rerank" not in model.capabilities or not any(
        tensor.name.startswith(_HEAD) for tensor in model.gguf.tensors
    ):
        raise MissingCapability(
            f'"{request.model}" does not support rerank: it has no rank head; ask a reranker', param="model"
        )
    if not request.query:
        raise BadRequest("the query is empty; send at least one character", param="query")
    if not 1 <= len(request.documents) <= MAX_DOCUMENTS:
        raise BadRequest(
            f"there are {len(request.documents)} documents; send 1 to {MAX_DOCUMENTS}", param="documents"
        )


class _Pairs:
    """Writes a document together with the query as the model was taught to read them."""

    def __init__(self, model: Model, lease: Lease, request: RerankRequest) -> None:
        self.cut = 0
        """Tokens of documents that were left out."""
        template = model.gguf.metadata.get(_TEMPLATE)
        self._template = template if isinstance(template, str) else None
        self._runner = lease.runner
        self._room = lease.context_length
        self._request = request
        self._query: list[int] | None = None

    async def tokens(self, document: str) -> list[int]:
        """Raises PromptTooLong."""
        most = self._request.max_tokens_per_doc
        own = await self._plain(document)
        kept = own if most is None else own[:most]
        pair = await self._pair(document, own, kept)
        # Tokenized anew, a document that was cut may have more tokens than were kept of it.
        while self._request.truncate and 0 < (over := len(pair) - self._room) < len(kept):
            kept = kept[: len(kept) - over]
            pair = await self._pair(document, own, kept)
        if len(pair) > self._room:
            raise self._too_long(len(pair))
        self.cut += len(own) - len(kept)
        return pair

    async def _pair(self, document: str, own: list[int], kept: list[int]) -> list[int]:
        query = self._request.query
        if self._template is None:
            self._query = self._query or await self._plain(query)
            begin, between, end = self._runner.facts.pair or ([], [], [])
            return [*begin, *self._query, *between, *kept, *end]
        if len(kept) < len(own):
            document = await self._runner.detokenize(kept)
        said = {"query": query, "document": document}
        # In one piece: a word and the space before it are one token.
        text = _PLACE.sub(lambda place: said[place[1]], self._template)
        return await self._runner.tokenize(text, add_special=False)

    async def _plain(self, text: str) -> list[int]:
        return await self._runner.tokenize(text, add_special=False, parse_special=False)

    def _too_long(self, length: int) -> PromptTooLong:
        hint = "shorten the query" if self._request.truncate else "send truncate=true, shorten it"
        return PromptTooLong(
            length,
            self._room,
            message=f"a document and the query together exceed the context length: {length} tokens against "
            f"{self._room}; {hint} or raise num_ctx",
            param="documents",
        )


def _relevant_label(model: Model) -> int:
    """Which of the head's values says that a document is relevant. Raises MissingCapability if none does."""
    found = model.gguf.metadata.get(f"{model.gguf.architecture}.classifier.output_labels") or ()
    labels = [str(label) for label in cast("Sequence[Any]", found)]
    if len(labels) <= 1:
        return 0
    relevant = [at for at, label in enumerate(labels) if label.lower() in _RELEVANT]
    if len(labels) != 2 or len(relevant) != 1:
        raise MissingCapability(
            f"{model.name.short!r} does not support rerank: the labels of its head are {labels[:10]}, none "
            f"of which says how relevant a document is; ask a reranker",
            param="model",
        )
    return relevant[0]


def _score(model: Model, vector: list[float], relevant: int) -> Score:
    if not all(map(math.isfinite, vector)):
        raise AgentkitError("the model gave a score with NaN or infinite values; try another document")
    if model.gguf.architecture in _SOFTMAX:
        return Score(vector[relevant], vector[relevant])
    logit = vector[relevant] - sum(vector[:relevant] + vector[relevant + 1 :])
    return Score(logit, _sigmoid(logit))


def _sigmoid(logit: float) -> float:
    if logit >= 0:
        return 1 / (1 + math.exp(-logit))
    return math.exp(logit) / (1 + math.exp(logit))
