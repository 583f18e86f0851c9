"""Adapter files are checked against the model before llama.cpp sees them."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import gguf
import numpy as np
import pytest
from support.lora import write_lora
from support.tiny_bert import WIDTH as BERT_WIDTH
from support.tiny_bert import WORDS as BERT_WORDS
from support.tiny_bert import write_tiny_bert
from support.tiny_llama import INNER, WIDTH, WORDS, random_pair, write_tiny_llama

from agentkit_server.errors import InvalidGGUF
from agentkit_server.models.adapters import check_adapter
from agentkit_server.models.gguf import read_gguf
from agentkit_server.models.model import GGUFInfo

DOWN = "blk.0.ffn_down.weight"
GOOD = {DOWN: random_pair(WIDTH, INNER, seed=1)}
Value = str | float | int | list[int] | np.float64 | None


@pytest.fixture
def base(tmp_path: Path) -> GGUFInfo:
    return read_gguf(write_tiny_llama(tmp_path / "base.gguf"))


def refusal(path: Path, base: GGUFInfo) -> str:
    with pytest.raises(InvalidGGUF) as caught:
        check_adapter(path, base)
    assert repr(str(path)) in caught.value.message
    return caught.value.message


def written(path: Path, metadata: dict[str, Value], *tensors: tuple[str, Any]) -> Path:
    """An adapter with other metadata, or none where a value is None."""
    said: dict[str, Value] = {"general.type": "adapter", "adapter.type": "lora", "adapter.lora.alpha": 1.0}
    said |= metadata
    writer = gguf.GGUFWriter(path, str(said.pop("architecture", "llama")))
    for key, value in said.items():
        match value:
            case None:
                continue
            case np.float64():
                writer.add_float64(key, value)
            case float():
                writer.add_float32(key, value)
            case int():
                writer.add_uint32(key, value)
            case str():
                writer.add_string(key, value)
            case list():
                writer.add_array(key, value)
    a, b = GOOD[DOWN]
    for name, values in tensors or ((f"{DOWN}.lora_a", a), (f"{DOWN}.lora_b", b)):
        writer.add_tensor(name, np.asarray(values, np.float32))
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return path


def test_an_adapter_of_the_model_passes(tmp_path: Path, base: GGUFInfo) -> None:
    pairs = GOOD | {
        "output.weight": random_pair(len(WORDS), WIDTH, seed=2, rank=3),
        # These two are looked up and not multiplied: A has a row for each token.
        "token_embd.weight": (np.ones((len(WORDS), 2)), np.ones((WIDTH, 2))),
    }
    assert check_adapter(write_lora(tmp_path / "lora.gguf", pairs, 2.0), base) == ""


def test_norm_weights_are_not_applied_and_that_is_said(tmp_path: Path, base: GGUFInfo) -> None:
    norms = {"blk.0.attn_norm.weight": np.ones(WIDTH, np.float32)}
    path = write_lora(tmp_path / "lora.gguf", GOOD, 1.0, extra=norms)
    assert check_adapter(path, base).startswith(f"the norm weights of the adapter {str(path)!r} are left out")


@pytest.mark.parametrize(
    ("metadata", "why"),
    [
        ({"general.type": None}, "its general.type is None and not 'adapter': it is no adapter"),
        ({"general.type": "model"}, "its general.type is 'model' and not 'adapter'"),
        ({"general.type": 1}, "its general.type is 1 and"),
        ({"architecture": "qwen2"}, "made for the architecture 'qwen2' and the model is 'llama'"),
        ({"adapter.type": "control_vector"}, "its adapter.type is 'control_vector'; only 'lora'"),
        ({"adapter.type": None}, "its adapter.type is None"),
        (
            {"adapter.lora.alpha": np.float64(1)},
            "its adapter.lora.alpha is 1.0, which is no finite 32-bit float",
        ),
        (
            {"adapter.lora.alpha": 1},
            "its adapter.lora.alpha is 1, which is no finite 32-bit float",
        ),
        ({"adapter.lora.alpha": float("nan")}, "its adapter.lora.alpha is nan"),
        (
            {"adapter.alora.invocation_tokens": [1, 2]},
            "activated LoRA, which begins inside a prompt, is not supported",
        ),
    ],
)
def test_metadata_that_is_not_that_of_a_lora_for_this_model_is_refused(
    tmp_path: Path, base: GGUFInfo, metadata: dict[str, Value], why: str
) -> None:
    assert why in refusal(written(tmp_path / "lora.gguf", metadata), base)


ONE, TWO = np.ones((1, INNER)), np.ones((WIDTH, 1))


@pytest.mark.parametrize(
    ("tensors", "why"),
    [
        ([("weights", ONE)], "it has the tensor 'weights', which is no part of a LoRA"),
        ([("blk.0.attn_norm.weight", np.ones(WIDTH))], "it has no LoRA tensors"),
        ([(f"{DOWN}.lora_a", ONE)], f"{DOWN!r} has lora_a and not lora_b"),
        ([(f"{DOWN}.lora_b", TWO)], f"{DOWN!r} has lora_b and not lora_a"),
        ([("blk.9.x.lora_a", ONE), ("blk.9.x.lora_b", TWO)], "the model has no tensor 'blk.9.x'"),
        ([(f"{DOWN}.lora_a", np.ones((1, INNER + 1))), (f"{DOWN}.lora_b", TWO)], f"{DOWN!r} has the shape"),
        ([(f"{DOWN}.lora_a", ONE), (f"{DOWN}.lora_b", np.ones((WIDTH, 2)))], f"{DOWN!r} has the shape"),
        # llama.cpp looks at two dimensions only, and ends the process on what it finds in the third.
        ([(f"{DOWN}.lora_a", np.ones((5, 1, INNER))), (f"{DOWN}.lora_b", TWO)], f"{DOWN!r} has the shape"),
        (
            [
                ("output_norm.weight.lora_a", np.ones((1, WIDTH))),
                ("output_norm.weight.lora_b", np.ones((1, 1))),
            ],
            "'output_norm.weight' has the shape",
        ),
    ],
)
def test_tensors_that_do_not_fit_are_refused(
    tmp_path: Path, base: GGUFInfo, tensors: list[tuple[str, Any]], why: str
) -> None:
    assert why in refusal(written(tmp_path / "lora.gguf", {}, *tensors), base)


def test_a_type_that_cannot_be_multiplied_with_is_refused(tmp_path: Path, base: GGUFInfo) -> None:
    parts = {f"{DOWN}.lora_a": np.ones((1, INNER), np.int32), f"{DOWN}.lora_b": np.ones((WIDTH, 1), np.int32)}
    path = write_lora(tmp_path / "lora.gguf", {}, 1.0, extra=parts)
    assert f"its tensor '{DOWN}.lora_a' has the type I32" in refusal(path, base)


def test_a_weight_that_nothing_can_be_added_to_is_refused(tmp_path: Path, base: GGUFInfo) -> None:
    path = write_lora(tmp_path / "lora.gguf", GOOD, 1.0)
    tensors = tuple(replace(each, type="NVFP4") if each.name == DOWN else each for each in base.tensors)
    assert f"{DOWN!r} has the type NVFP4" in refusal(path, replace(base, tensors=tensors))


def test_a_lookup_that_is_the_output_too_cannot_be_changed(tmp_path: Path, base: GGUFInfo) -> None:
    pairs = {"token_embd.weight": (np.ones((len(WORDS), 2)), np.ones((WIDTH, 2)))}
    path = write_lora(tmp_path / "lora.gguf", pairs, 1.0)
    tied = replace(base, tensors=tuple(each for each in base.tensors if each.name != "output.weight"))
    assert "which in this model is its output too" in refusal(path, tied)
    bert = read_gguf(write_tiny_bert(tmp_path / "bert.gguf", "mean"))
    pairs = {"token_embd.weight": (np.ones((len(BERT_WORDS), 2)), np.ones((BERT_WIDTH, 2)))}
    path = write_lora(tmp_path / "bert-lora.gguf", pairs, 1.0, architecture="bert")
    assert check_adapter(path, bert) == ""


def test_a_file_that_is_cut_short_or_no_gguf_is_refused(tmp_path: Path, base: GGUFInfo) -> None:
    path = write_lora(tmp_path / "lora.gguf", GOOD, 1.0)
    whole = path.read_bytes()
    for length in (0, 3, 40, len(whole) - 4):
        path.write_bytes(whole[:length])
        refusal(path, base)
    refusal(tmp_path / "missing.gguf", base)
