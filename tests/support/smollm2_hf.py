"""smollm2 as Hugging Face would have it: the folder that its GGUF might have been made from, with the numbers
that its quantised weights stand for, as F16."""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from gguf import GGML_QUANT_SIZES, GGMLQuantizationType, TokenType, dequantize
from support.smollm2 import gguf_path
from support.tiny_hf import files_of, write_json

from agentkit_server.models.gguf_header import read_header
from agentkit_server.models.model import TensorInfo

NAMES = {
    "attn_norm": "input_layernorm",
    "attn_q": "self_attn.q_proj",
    "attn_k": "self_attn.k_proj",
    "attn_v": "self_attn.v_proj",
    "attn_output": "self_attn.o_proj",
    "ffn_norm": "post_attention_layernorm",
    "ffn_gate": "mlp.gate_proj",
    "ffn_up": "mlp.up_proj",
    "ffn_down": "mlp.down_proj",
}
HEADS, HEADS_KV = 9, 3


def write_folder(folder: Path) -> dict[str, Path]:
    """The whole folder, 270 MB. Returns its files by name."""
    header = read_header(gguf_path())
    facts = {
        key: value if isinstance(value, str) else _plain(value) for key, value in header.metadata.items()
    }
    write_json(folder / "config.json", _config(facts))
    write_json(folder / "tokenizer.json", _tokenizer(facts))
    write_json(folder / "tokenizer_config.json", _tokenizer_config(facts))
    _write_weights(folder / "model.safetensors", header.tensors)
    return files_of(folder)


def _config(facts: dict[str, Any]) -> dict[str, Any]:
    names = {
        "hidden_size": "embedding_length",
        "intermediate_size": "feed_forward_length",
        "num_hidden_layers": "block_count",
        "num_attention_heads": "attention.head_count",
        "num_key_value_heads": "attention.head_count_kv",
        "max_position_embeddings": "context_length",
        "rope_theta": "rope.freq_base",
        "rms_norm_eps": "attention.layer_norm_rms_epsilon",
        "vocab_size": "vocab_size",
    }
    given: dict[str, Any] = {name: facts[f"llama.{key}"] for name, key in names.items()}
    fixed = {"tie_word_embeddings": True, "hidden_act": "silu", "eos_token_id": 2}
    return {"architectures": ["LlamaForCausalLM"], "model_type": "llama", **given, **fixed}


def _tokenizer(facts: dict[str, Any]) -> dict[str, Any]:
    tokens, types = facts["tokenizer.ggml.tokens"], facts["tokenizer.ggml.token_type"]
    special = [n for n, kind in enumerate(types) if kind == TokenType.CONTROL]
    digits = {"type": "Digits", "individual_digits": True}
    level = {"type": "ByteLevel", "add_prefix_space": False, "trim_offsets": True, "use_regex": True}
    return {
        "added_tokens": [{"id": n, "content": tokens[n], "special": True} for n in special],
        "pre_tokenizer": {"type": "Sequence", "pretokenizers": [digits, level]},
        "model": {
            "type": "BPE",
            "vocab": {token: n for n, token in enumerate(tokens)},
            "merges": [merge.split(" ") for merge in facts["tokenizer.ggml.merges"]],
        },
    }


def _tokenizer_config(facts: dict[str, Any]) -> dict[str, Any]:
    tokens = facts["tokenizer.ggml.tokens"]
    kinds = {"bos": "bos", "eos": "eos", "pad": "padding", "unk": "unknown"}
    given = {
        f"{name}_token": tokens[facts[f"tokenizer.ggml.{kind}_token_id"]] for name, kind in kinds.items()
    }
    return {**given, "chat_template": facts["tokenizer.chat_template"]}


def _plain(value: Any) -> Any:
    return value if isinstance(value, str) or not isinstance(value, Sequence) else list(value)


def _write_weights(path: Path, tensors: Sequence[TensorInfo]) -> None:
    header: dict[str, Any] = {}
    end = 0
    for tensor in tensors:
        size = 2 * math.prod(tensor.shape)
        header[_name(tensor)] = {
            "dtype": "F16",
            "shape": tensor.shape[::-1],
            "data_offsets": [end, end + size],
        }
        end += size
    head = json.dumps(header).encode()
    # The file's data is its end: every tensor after the other, padded to 32 bytes.
    place = gguf_path().stat().st_size - sum(_padded(tensor) for tensor in tensors)
    with path.open("wb") as file, gguf_path().open("rb") as source:
        file.write(len(head).to_bytes(8, "little") + head)
        source.seek(place)
        for tensor in tensors:
            file.write(_values(tensor, source.read(_padded(tensor))).astype("<f2").tobytes())


def _size(tensor: TensorInfo) -> int:
    block, size = GGML_QUANT_SIZES[GGMLQuantizationType[tensor.type]]
    return math.prod(tensor.shape) // block * size


def _padded(tensor: TensorInfo) -> int:
    return -(-_size(tensor) // 32) * 32


def _name(tensor: TensorInfo) -> str:
    stem, _, layer_part = tensor.name.partition(".")
    if stem == "token_embd":
        return "model.embed_tokens.weight"
    if stem == "output_norm":
        return "model.norm.weight"
    layer, part, _ = layer_part.split(".")
    return f"model.layers.{layer}.{NAMES[part]}.weight"


def _values(tensor: TensorInfo, data: bytes) -> npt.NDArray[np.float32]:
    kind = GGMLQuantizationType[tensor.type]
    raw = np.frombuffer(data[: _size(tensor)], np.float32 if kind == GGMLQuantizationType.F32 else np.uint8)
    values = dequantize(raw, kind).reshape(tensor.shape[::-1])
    if tensor.name.endswith(("attn_q.weight", "attn_k.weight")):
        heads = HEADS if "attn_q" in tensor.name else HEADS_KV
        # Pairs that lie side by side go apart, into the halves of their head.
        pairs = values.reshape(heads, -1, 2, values.shape[1])
        values = np.concatenate([pairs[:, :, 0], pairs[:, :, 1]], axis=1).reshape(values.shape)
    return values
