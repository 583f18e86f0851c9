"""Embedding on a scripted engine."""

from __future__ import annotations

import math
from typing import Any

import pytest

from agentkit_server.errors import BadRequest, MissingCapability, PromptTooLong
from agentkit_server.residency.types import LoadOptions
from agentkit_server.runner.scripted import Scripted, ScriptedLauncher, ScriptedModel
from agentkit_server.turn.run import Backend, EmbedRequest, embed

pytestmark = pytest.mark.anyio


@pytest.fixture
def launcher() -> ScriptedLauncher:
    return ScriptedLauncher(model=ScriptedModel(pooling="mean", n_embd=8))


def asked(*inputs: str | tuple[int, ...], **fields: Any) -> EmbedRequest:
    return EmbedRequest(model="embedder", inputs=inputs, **fields)


async def test_every_input_becomes_a_vector_of_length_one(backend: Backend) -> None:
    result = await embed(backend, asked("one", "two", (111, 110, 101)))
    assert [math.hypot(*vector) for vector in result.vectors] == pytest.approx([1, 1, 1])
    assert result.vectors[0] == result.vectors[2] != result.vectors[1]
    assert result.prompt_tokens == 9


async def test_vectors_can_be_left_as_the_model_gives_them(backend: Backend) -> None:
    result = await embed(backend, asked("one", normalise=False))
    assert math.hypot(*result.vectors[0]) != pytest.approx(1)


async def test_fewer_dimensions_are_scaled_to_length_one_again(backend: Backend) -> None:
    result = await embed(backend, asked("one", dimensions=3))
    assert len(result.vectors[0]) == 3
    assert math.hypot(*result.vectors[0]) == pytest.approx(1)


async def test_dimensions_that_the_model_does_not_have_are_refused(backend: Backend) -> None:
    with pytest.raises(BadRequest, match="dimensions must be from 1 to 8"):
        await embed(backend, asked("one", dimensions=9))


async def test_an_input_that_does_not_fit_is_cut_and_counted_or_refused(backend: Backend) -> None:
    small = LoadOptions(num_ctx=16)
    result = await embed(backend, asked("x" * 20, "y", load=small))
    assert (result.prompt_tokens, result.truncated_tokens) == (17, 4)
    with pytest.raises(
        PromptTooLong, match="the input length exceeds the context length: 20 tokens against 16"
    ):
        await embed(backend, asked("x" * 20, truncate=False, load=small))


async def test_no_inputs_load_the_model_and_give_no_vectors(
    backend: Backend, launcher: ScriptedLauncher
) -> None:
    assert (await embed(backend, asked())).vectors == []
    assert len(launcher.launches) == 1


async def test_empty_inputs_foreign_ids_and_chat_models_are_refused(backend: Backend) -> None:
    with pytest.raises(BadRequest, match="no tokens"):
        await embed(backend, asked(""))
    with pytest.raises(BadRequest, match="outside the vocabulary"):
        await embed(backend, asked((10**6,)))
    with pytest.raises(MissingCapability, match="tiny does not support embedding"):
        await embed(backend, EmbedRequest(model="tiny", inputs=("x",)))


async def test_a_model_that_gives_nan_is_an_error(backend: Backend, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Scripted, "_vector", lambda *_: [math.nan] * 8)
    with pytest.raises(Exception, match="NaN"):
        await embed(backend, asked("one"))
