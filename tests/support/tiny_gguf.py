"""Tiny GGUF files for tests: their metadata is valid and complete, their weights are a few zeros.

They can be stored, listed, shown and resolved, and served by a scripted engine; llama.cpp cannot load them.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, cast

import numpy as np
from gguf import GGMLQuantizationType, GGUFWriter, LlamaFileType, PoolingType, TokenType

CHATML = (
    "{% for message in messages %}{{ '<|im_start|>' + message['role'] + '\n' + message['content'] "
    "+ '<|im_end|>' + '\n' }}{% endfor %}"
    "{% if add_generation_prompt %}{{ '<|im_start|>assistant\n' }}{% endif %}"
)
VOCAB = ("<unk>", "<|im_start|>", "<|im_end|>", "a", "b", "c", "hello", "world")


def write_tiny_gguf(
    path: Path,
    *,
    architecture: str = "llama",
    name: str = "tiny",
    chat_template: str | None = CHATML,
    pooling: str | None = None,
    context_length: int = 2048,
    vocab: Sequence[str] = VOCAB,
    extra: Mapping[str, Any] | None = None,
    file_type: LlamaFileType = LlamaFileType.MOSTLY_F16,
) -> Path:
    """Write a GGUF of about 2 KB to `path` and return it.

    `pooling` is none, mean, cls, last or rank; None makes a generative model. `extra` adds metadata
    (str, bool, int, float or a list of one of these) under full key names.
    """
    writer = GGUFWriter(path, architecture)
    writer.add_name(name)
    writer.add_file_type(file_type)
    writer.add_context_length(context_length)
    writer.add_embedding_length(32)
    writer.add_block_count(2)
    writer.add_feed_forward_length(64)
    writer.add_head_count(4)
    writer.add_head_count_kv(2)
    writer.add_rope_dimension_count(8)
    writer.add_layer_norm_rms_eps(1e-5)
    writer.add_vocab_size(len(vocab))
    if pooling is not None:
        writer.add_pooling_type(PoolingType[pooling.upper()])
    _add_tokenizer(writer, vocab)
    if chat_template is not None:
        writer.add_chat_template(chat_template)
    for key, value in (extra or {}).items():
        _add(writer, key, value)
    writer.add_tensor("token_embd.weight", np.zeros((len(vocab), 32), dtype=np.float16))
    writer.add_tensor("output_norm.weight", np.zeros(32, dtype=np.float32))
    quantized = np.zeros((2, 34), dtype=np.uint8)
    writer.add_tensor("blk.0.attn_q.weight", quantized, raw_dtype=GGMLQuantizationType.Q8_0)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return path


def _add_tokenizer(writer: GGUFWriter, vocab: Sequence[str]) -> None:
    writer.add_tokenizer_model("gpt2")
    writer.add_tokenizer_pre("default")
    writer.add_token_list(list(vocab))
    control = [text.startswith("<") for text in vocab]
    writer.add_token_types([TokenType.CONTROL if is_control else TokenType.NORMAL for is_control in control])
    writer.add_token_merges(["a b"])
    writer.add_bos_token_id(1)
    writer.add_eos_token_id(2)


def _add(writer: GGUFWriter, key: str, value: Any) -> None:
    match value:
        case bool():
            writer.add_bool(key, value)
        case int():
            writer.add_uint32(key, value)
        case float():
            writer.add_float32(key, value)
        case str():
            writer.add_string(key, value)
        case list():
            writer.add_array(key, cast("list[Any]", value))
        case _:
            raise TypeError(f"no GGUF type for {value!r} of key {key!r}")
