"""The real smollm2 by both ways: its GGUF, and the folder that it might have been made from."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from support import smollm2_hf
from support.conversion import converted, loaded, logits
from support.smollm2 import gguf_path

from agentkit_server.engine.llama import Context
from agentkit_server.models.convert.convert import Converted
from agentkit_server.models.gguf import read_gguf
from agentkit_server.models.model import GGUFInfo

TEXTS = (
    "Hello, world! It's 12345 o'clock.",
    "<|im_start|>user\nWhat is 2+2?<|im_end|>\n",
    "   spaces,\ttabs\n\n\nand lines",
    "Größe, 東京, Москва, 🚀 and naïve café",
    "def f(x):\n    return {x: [1, 2.5]}",
)


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Path, Converted]]:
    folder = tmp_path_factory.mktemp("smollm2")
    files = smollm2_hf.write_folder(folder)
    yield folder / "model.gguf", converted(files, folder / "model.gguf")
    # pytest would keep half a gigabyte.
    shutil.rmtree(folder)


@pytest.fixture(scope="module")
def contexts(made: tuple[Path, Converted]) -> Iterator[tuple[Context, Context]]:
    """The model as it was, and as it was imported."""
    both = (loaded(gguf_path(), n_ctx=256), loaded(made[0], n_ctx=256))
    yield both
    for context in both:
        context.free()


@pytest.fixture(scope="module")
def infos(made: tuple[Path, Converted]) -> tuple[GGUFInfo, GGUFInfo]:
    return read_gguf(gguf_path()), read_gguf(made[0])


def test_the_same_facts(infos: tuple[GGUFInfo, GGUFInfo], made: tuple[Path, Converted]) -> None:
    before, after = infos
    assert after.quantization == "F16"
    kept: tuple[Any, ...] = (before.parameter_count, before.context_length, before.head_count_kv)
    assert (after.parameter_count, after.context_length, after.head_count_kv) == kept
    assert after.chat_template == before.chat_template == made[1].chat_template
    assert {t.name: t.shape for t in after.tensors} == {t.name: t.shape for t in before.tensors}
    for key in ("tokens", "token_type", "merges", "pre", "bos_token_id", "eos_token_id", "padding_token_id"):
        name = f"tokenizer.ggml.{key}"
        was, now = before.metadata[name], after.metadata[name]
        assert now == was if isinstance(was, str | int) else list(now) == list(was), name


def test_the_same_tokens(contexts: tuple[Context, Context]) -> None:
    before, after = (context.vocabulary for context in contexts)
    for text in TEXTS:
        expected = before.tokenize(text, add_special=True, parse_special=True)
        assert after.tokenize(text, add_special=True, parse_special=True) == expected, text
    assert after.eog == before.eog


def test_the_same_logits_within_quantisation_error(contexts: tuple[Context, Context]) -> None:
    before, after = contexts
    prompt = before.vocabulary.tokenize(
        "<|im_start|>user\nName the capital of France.<|im_end|>\n"
        "<|im_start|>assistant\nThe capital of France is",
        add_special=False,
        parse_special=True,
    )
    positions = (3, 9, 14, len(prompt) - 1)
    was, now = (logits(context, prompt, positions) for context in contexts)
    assert list(was.argmax(axis=1)) == list(now.argmax(axis=1))
    # Weights are the same numbers; activations are rounded to eight bits by one, to F16 by the other.
    assert np.abs(now - was).max() < 0.15 * was.std()
    assert after.vocabulary.text([int(now[-1].argmax())], special=False) == " Paris"
