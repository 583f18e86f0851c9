"""Embedding texts or token ids: the same path as a turn, without a stream."""

from __future__ import annotations

import time
from dataclasses import dataclass

import numpy as np

from agentkit_server.errors import AgentkitError, BadRequest, MissingCapability, PromptTooLong
from agentkit_server.residency.types import Lease, LoadOptions
from agentkit_server.runner.protocol import Runner
from agentkit_server.turn.backend import Backend, now_ns, resolve, within
from agentkit_server.turn.options import merge_load, read_options

MAX_INPUTS = 2048


@dataclass(frozen=True, kw_only=True)
class EmbedRequest:
    """Texts, or token ids as they stand, to be embedded."""

    model: str
    inputs: tuple[str | tuple[int, ...], ...]
    truncate: bool = True
    """Cut an input that does not fit at its end; the result says how much."""
    dimensions: int | None = None
    """Keep this many leading dimensions (of a model trained for it)."""
    normalise: bool = True
    """Scale every vector to length 1."""
    load: LoadOptions = LoadOptions()
    keep_alive: str | float | None = None
    max_seconds: float | None = None


@dataclass(frozen=True)
class Embeddings:
    """One vector per input, in order."""

    vectors: list[list[float]]
    prompt_tokens: int
    truncated_tokens: int
    load_ns: int
    total_ns: int


async def embed(backend: Backend, request: EmbedRequest) -> Embeddings:
    """Embed every input.

    Raises MissingCapability, BadRequest for an empty input or absurd dimensions, PromptTooLong when an
    input does not fit and may not be cut, DeadlinePassed, and what a lease raises.
    """
    began, began_ns = now_ns(), time.monotonic_ns()
    model = await resolve(backend, request.model)
    if "embedding" not in model.capabilities:
        raise MissingCapability(f"{request.model} does not support embedding", param="model")
    if len(request.inputs) > MAX_INPUTS:
        raise BadRequest(
            f"{len(request.inputs)} inputs in one request; send at most {MAX_INPUTS}", param="input"
        )
    own = read_options(model.parameters)
    load = merge_load(request.load, own.load)
    with within(request.max_seconds, began_ns, "the inputs were not embedded"):
        async with backend.residency.lease(model, load, request.keep_alive) as lease:
            _check_dimensions(request.dimensions, lease.runner.facts.n_embd)
            whole = [await _tokens(lease.runner, text) for text in request.inputs]
            closing = await _closing_token(lease.runner)
            cut = [_fitting(tokens, closing, lease, request) for tokens in whole]
            vectors = (await lease.runner.embed(cut, adapters=lease.adapters)).vectors if cut else []
    kept = sum(map(len, cut))
    return Embeddings(
        vectors=_finished(vectors, request),
        prompt_tokens=kept,
        truncated_tokens=sum(map(len, whole)) - kept,
        load_ns=lease.load_ns,
        total_ns=now_ns() - began,
    )


async def _tokens(runner: Runner, given: str | tuple[int, ...]) -> list[int]:
    tokens = await runner.tokenize(given) if isinstance(given, str) else [*given]
    if not tokens:
        raise BadRequest("an input has no tokens; send at least one character", param="input")
    if any(not 0 <= token < runner.facts.n_vocab for token in tokens):
        raise BadRequest(
            f"an input has token ids outside the vocabulary; ids go from 0 to {runner.facts.n_vocab - 1}",
            param="input",
        )
    return tokens


async def _closing_token(runner: Runner) -> list[int]:
    """The token that the model wants at the end of every text ([SEP]), if any: a cut keeps it."""
    marks = await runner.tokenize("", add_special=True)
    return marks[-1:] if len(marks) > 1 else []


def _fitting(tokens: list[int], closing: list[int], lease: Lease, request: EmbedRequest) -> list[int]:
    if len(tokens) <= lease.context_length:
        return tokens
    if not request.truncate:
        raise PromptTooLong(
            len(tokens),
            lease.context_length,
            message=f"the input length exceeds the context length: {len(tokens)} tokens against "
            f"{lease.context_length}; shorten it, raise num_ctx, or send truncate=true",
            param="input",
        )
    return [*tokens[: lease.context_length - len(closing)], *closing]


def _check_dimensions(dimensions: int | None, n_embd: int) -> None:
    if dimensions is not None and not 1 <= dimensions <= n_embd:
        raise BadRequest(
            f"dimensions must be from 1 to {n_embd} for this model: {dimensions!r}", param="dimensions"
        )


def _finished(vectors: list[list[float]], request: EmbedRequest) -> list[list[float]]:
    if not vectors:
        return []
    matrix = np.asarray(vectors, dtype=np.float64)[:, : request.dimensions]
    if not np.isfinite(matrix).all():
        raise AgentkitError("the model gave an embedding with NaN or infinite values; try another input")
    # Shortened vectors are only comparable at length 1 again.
    if request.normalise or request.dimensions is not None:
        norms = np.linalg.norm(matrix, axis=1, keepdims=True)
        matrix = matrix / np.where(norms == 0, 1, norms)
    return matrix.tolist()
