"""A BERT small enough to write in a test and real enough for llama.cpp to compute: random weights, a
vocabulary of a few words, any pooling."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Literal

import gguf
import numpy as np
import numpy.typing as npt

WORDS = (
    "[PAD]",
    "[UNK]",
    "[CLS]",
    "[SEP]",
    "[MASK]",
    "▁a",
    "▁cat",
    "▁dog",
    "▁sat",
    "▁ran",
    "▁here",
    "▁there",
)
POOLING = {"none": 0, "mean": 1, "cls": 2, "last": 3, "rank": 4}
WIDTH, INNER, HEADS, CONTEXT = 32, 64, 4, 64


def write_tiny_bert(
    path: Path,
    pooling: Literal["none", "mean", "cls", "last", "rank"],
    extra: Mapping[str, str | list[str]] | None = None,
) -> Path:
    """The same weights whatever the `pooling`; `rank` adds those of `head`. `extra` adds metadata."""
    writer = gguf.GGUFWriter(path, "bert")
    writer.add_name("tiny bert")
    writer.add_context_length(CONTEXT)
    writer.add_embedding_length(WIDTH)
    writer.add_feed_forward_length(INNER)
    writer.add_block_count(1)
    writer.add_head_count(HEADS)
    writer.add_layer_norm_eps(1e-12)
    writer.add_causal_attention(False)
    writer.add_pooling_type(gguf.PoolingType(POOLING[pooling]))
    writer.add_file_type(gguf.LlamaFileType.ALL_F32)
    _add_vocabulary(writer)
    for key, value in (extra or {}).items():
        if isinstance(value, str):
            writer.add_string(key, value)
        else:
            writer.add_array(key, value)
    _add_weights(writer)
    if pooling == "rank":
        for name, values in head().items():
            writer.add_tensor(name, values)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return path


def head() -> dict[str, npt.NDArray[np.float32]]:
    """A classification head of one label: a dense layer with tanh, and the label's weights."""
    random = np.random.default_rng(6)
    shapes = {"cls.weight": (WIDTH, WIDTH), "cls.bias": (WIDTH,)}
    shapes |= {"cls.output.weight": (1, WIDTH), "cls.output.bias": (1,)}
    return {name: random.normal(0, 0.4, shape).astype(np.float32) for name, shape in shapes.items()}


def _add_vocabulary(writer: gguf.GGUFWriter) -> None:
    control, normal = gguf.TokenType.CONTROL, gguf.TokenType.NORMAL
    writer.add_tokenizer_model("bert")
    writer.add_token_list(list(WORDS))
    writer.add_token_types([control if w.startswith("[") else normal for w in WORDS])
    writer.add_token_type_count(2)
    writer.add_pad_token_id(0)
    writer.add_unk_token_id(1)
    writer.add_bos_token_id(2)
    writer.add_eos_token_id(3)
    writer.add_sep_token_id(3)
    writer.add_mask_token_id(4)


def _add_weights(writer: gguf.GGUFWriter) -> None:
    random = np.random.default_rng(5)

    def weight(name: str, *shape: int) -> None:
        writer.add_tensor(name, random.normal(0, 0.4, shape).astype(np.float32))

    def norm(name: str) -> None:
        writer.add_tensor(f"{name}.weight", np.ones(WIDTH, np.float32))
        writer.add_tensor(f"{name}.bias", np.zeros(WIDTH, np.float32))

    weight("token_embd.weight", len(WORDS), WIDTH)
    weight("position_embd.weight", CONTEXT, WIDTH)
    weight("token_types.weight", 2, WIDTH)
    norm("token_embd_norm")
    for part in ("attn_q", "attn_k", "attn_v", "attn_output"):
        weight(f"blk.0.{part}.weight", WIDTH, WIDTH)
        weight(f"blk.0.{part}.bias", WIDTH)
    norm("blk.0.attn_output_norm")
    weight("blk.0.ffn_up.weight", INNER, WIDTH)
    weight("blk.0.ffn_up.bias", INNER)
    weight("blk.0.ffn_down.weight", WIDTH, INNER)
    weight("blk.0.ffn_down.bias", WIDTH)
    norm("blk.0.layer_output_norm")
