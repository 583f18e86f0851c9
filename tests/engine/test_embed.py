"""Embeddings of an embedding model: pooled by llama.cpp as the file says."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from support.tiny_bert import WIDTH, head, write_tiny_bert

from agentkit_server.engine.grammars import Grammars
from agentkit_server.engine.llama import Batch, Context
from agentkit_server.engine.stepper import Stepper
from agentkit_server.engine.types import Cancel, Embed, Embedded, Failed, Generate, LoadSpec, Reply, Shutdown

INPUTS = [[2, 5, 6, 8, 3], [2, 5, 7, 9, 10, 3], [2, 6, 3]]


def load(path: Path, **changes: int) -> Context:
    options = {"n_ctx": 64, "n_cells": 64, "n_batch": 64, "n_seq_max": 8, **changes}
    return Context(LoadSpec(path=str(path), embedding=True, n_threads=1, **options), lambda _: None)


def ask(context: Context, command: Embed | Generate) -> Reply:
    replies: list[Reply] = []

    def receive(some: list[Reply]) -> None:
        replies.extend(some)
        stepper.submit(Shutdown())

    stepper = Stepper(context, Grammars(context.vocabulary), receive)
    stepper.submit(command)
    stepper.run()
    return replies[0]


def embed(context: Context, inputs: list[list[int]]) -> np.ndarray[tuple[int, int], np.dtype[np.float64]]:
    reply = ask(context, Embed(id=1, inputs=inputs))
    assert isinstance(reply, Embedded)
    assert reply.prompt_tokens == sum(map(len, inputs))
    return np.array(reply.vectors)


@pytest.fixture
def token_vectors(tmp_path: Path) -> list[np.ndarray[tuple[int, int], np.dtype[np.float32]]]:
    """Every token's embedding, from the same weights without pooling."""
    context = load(write_tiny_bert(tmp_path / "none.gguf", "none"))
    out: list[np.ndarray[tuple[int, int], np.dtype[np.float32]]] = []
    for tokens in INPUTS:
        batch = Batch(64)
        batch.add(tokens, 0, 0, output=True)
        assert context.decode(batch) == 0
        out.append(np.stack([context.token_embedding(i) for i in range(len(tokens))]))
    context.free()
    return out


@pytest.mark.parametrize("pooling", ["mean", "cls", "last"])
def test_each_pooling_gives_what_its_name_says(
    tmp_path: Path,
    token_vectors: list[np.ndarray[tuple[int, int], np.dtype[np.float32]]],
    pooling: str,
) -> None:
    context = load(write_tiny_bert(tmp_path / f"{pooling}.gguf", pooling))  # pyright: ignore[reportArgumentType]
    assert context.pooling == pooling
    pooled = embed(context, INPUTS)
    context.free()
    rows = {"mean": lambda v: v.mean(axis=0), "cls": lambda v: v[0], "last": lambda v: v[-1]}
    expected = np.stack([rows[pooling](v) for v in token_vectors])
    assert pooled.shape == (3, WIDTH)
    np.testing.assert_allclose(pooled, expected, rtol=1e-3, atol=1e-4)


def test_a_rank_head_scores_the_first_token(
    tmp_path: Path, token_vectors: list[np.ndarray[tuple[int, int], np.dtype[np.float32]]]
) -> None:
    context = load(write_tiny_bert(tmp_path / "rank.gguf", "rank"))
    assert context.pooling == "rank"
    assert context.facts().pair == [[2], [3], [3]]
    scores = embed(context, INPUTS)
    context.free()
    weights = head()
    first = np.stack([vectors[0] for vectors in token_vectors])
    dense = np.tanh(first @ weights["cls.weight"].T + weights["cls.bias"])
    expected = dense @ weights["cls.output.weight"].T + weights["cls.output.bias"]
    assert scores.shape == (3, 1)
    np.testing.assert_allclose(scores, expected, rtol=1e-3, atol=1e-4)
    assert np.ptp(scores) > 0.1


def test_more_inputs_than_fit_one_batch_come_back_in_order(tmp_path: Path) -> None:
    context = load(write_tiny_bert(tmp_path / "mean.gguf", "mean"), n_batch=16, n_ctx=16, n_seq_max=2)
    alone = np.concatenate([embed(context, [tokens]) for tokens in INPUTS])
    together = embed(context, INPUTS * 3)
    context.free()
    np.testing.assert_allclose(together, np.tile(alone, (3, 1)), rtol=1e-3, atol=1e-4)


def test_an_embedding_model_does_not_generate(tmp_path: Path) -> None:
    context = load(write_tiny_bert(tmp_path / "mean.gguf", "mean"))
    reply = ask(context, Generate(id=1, prompt=[2, 5, 3]))
    context.free()
    assert isinstance(reply, Failed)
    assert reply.code == "missing_capability"


def test_an_input_without_tokens_or_beyond_the_context_or_vocabulary_is_not_embedded(tmp_path: Path) -> None:
    context = load(write_tiny_bert(tmp_path / "mean.gguf", "mean"))
    codes = []
    for bad in ([[]], [[2] * 65], [[99]], [[-1]]):
        reply = ask(context, Embed(id=1, inputs=bad))
        assert isinstance(reply, Failed)
        codes.append(reply.code)
    context.free()
    assert codes == ["invalid_request", "context_length_exceeded", "invalid_request", "invalid_request"]


def test_an_embedding_that_nobody_waits_for_any_more_is_dropped_between_batches(tmp_path: Path) -> None:
    context = load(write_tiny_bert(tmp_path / "mean.gguf", "mean"), n_batch=8, n_ctx=8)
    replies: list[Reply] = []

    def receive(some: list[Reply]) -> None:
        replies.extend(some)
        stepper.submit(Shutdown())

    stepper = Stepper(context, Grammars(context.vocabulary), receive)
    stepper.submit(Embed(id=1, inputs=[[2, 5, 6, 7, 3]] * 100))
    stepper.submit(Cancel(1))
    stepper.submit(Embed(id=2, inputs=[[2, 5, 3]]))
    stepper.run()
    context.free()
    assert [reply.id for reply in replies if isinstance(reply, Embedded)] == [2]
