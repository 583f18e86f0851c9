"""Model folders as Hugging Face has them, small enough to write in a test: random weights that every machine
draws the same, a configuration, a tokenizer. Needs numpy only: the program that made the reference logits
(tests/models/convert/make_reference.py) builds the same models in another environment.
"""

from __future__ import annotations

import json
import zlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

Tensors = dict[str, npt.NDArray[Any]]

VOCAB, HIDDEN, INNER = 64, 32, 48
PROMPT = [5, 17, 40, 9, 33, 33, 2, 58, 21, 11, 47, 30]
CHECKED = (3, len(PROMPT) - 1)
"""Positions of the prompt whose logits are compared."""
LONG_PROMPT = (PROMPT * 25)[:300]
"""Longer than the original context of Phi-3, which has other factors from there on."""

_COMMON: dict[str, Any] = {
    "vocab_size": VOCAB,
    "hidden_size": HIDDEN,
    "intermediate_size": INNER,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "max_position_embeddings": 64,
    "rms_norm_eps": 1e-5,
    "bos_token_id": 0,
    "eos_token_id": 1,
    "pad_token_id": None,
}
LLAMA3 = {
    "rope_type": "llama3",
    "factor": 8.0,
    "low_freq_factor": 1.0,
    "high_freq_factor": 4.0,
    "original_max_position_embeddings": 32,
}
_YARN = {"rope_type": "yarn", "factor": 4.0, "original_max_position_embeddings": 16}
_LONG = {
    "rope_type": "longrope",
    "short_factor": [1.0, 1.1, 1.3, 1.7],
    "long_factor": [1.5, 2.5, 4.0, 8.0],
    "original_max_position_embeddings": 256,
}
_GEMMA = {
    "head_dim": 16,
    "query_pre_attn_scalar": 16,
    "hidden_activation": "gelu_pytorch_tanh",
    "sliding_window": 4,
    "tie_word_embeddings": True,
}
CONFIGS: dict[str, dict[str, Any]] = {
    "LlamaForCausalLM": {
        "attention_bias": True,
        "mlp_bias": True,
        "rope_theta": 500.0,
        "rope_scaling": LLAMA3,
    },
    "MistralForCausalLM": {"head_dim": 16, "rope_theta": 10000.0, "sliding_window": None},
    "Qwen2ForCausalLM": {"rope_theta": 1000.0, "rope_scaling": _YARN, "tie_word_embeddings": True},
    "Qwen3ForCausalLM": {"head_dim": 16, "rope_theta": 1e6},
    "SmolLM3ForCausalLM": {
        "num_hidden_layers": 4,
        "no_rope_layers": [1, 1, 1, 0],
        "rope_theta": 1e4,
        "tie_word_embeddings": True,
    },
    "Gemma2ForCausalLM": {
        **_GEMMA,
        "rope_theta": 1e4,
        "attn_logit_softcapping": 2.0,
        "final_logit_softcapping": 5.0,
        "layer_types": ["sliding_attention", "full_attention"],
    },
    "Gemma3ForCausalLM": {
        **_GEMMA,
        "layer_types": ["sliding_attention", "full_attention"],
        "rope_theta": 1e6,
        "rope_local_base_freq": 100.0,
        "rope_scaling": {"rope_type": "linear", "factor": 2.0},
    },
    "Phi3ForCausalLM": {
        "num_attention_heads": 2,
        "num_key_value_heads": 1,
        "partial_rotary_factor": 0.5,
        "rope_theta": 1e4,
        "rope_scaling": _LONG,
        "max_position_embeddings": 512,
        "original_max_position_embeddings": 256,
    },
    "BertModel": {"type_vocab_size": 2, "layer_norm_eps": 1e-12, "hidden_act": "gelu_new"},
}
"""What each tiny model says beyond what all of them do."""


def config(architecture: str) -> dict[str, Any]:
    """Its config.json."""
    model_type = architecture.removesuffix("ForCausalLM").removesuffix("Model").lower()
    model_type = {"gemma3": "gemma3_text"}.get(model_type, model_type)
    return {**_COMMON, **CONFIGS[architecture], "architectures": [architecture], "model_type": model_type}


def draw(name: str, *shape: int) -> npt.NDArray[np.float32]:
    """Numbers that F16 and BF16 hold exactly, the same for the same name."""
    random = np.random.default_rng(zlib.crc32(name.encode()))
    return (random.integers(-127, 128, shape) / 256).astype(np.float32)


def weights(architecture: str, **changed: Any) -> Tensors:
    """Every tensor of its checkpoint, F32. `changed` are keys of config.json."""
    given = config(architecture) | changed
    if architecture == "BertModel":
        return _bert(given)
    shift = 0.0 if architecture.startswith("Gemma") else 1.0
    shapes = _shapes(architecture, given)
    return {
        name: draw(name, *shape) + np.float32(shift if name.endswith("norm.weight") else 0)
        for name, shape in shapes.items()
    }


def _shapes(architecture: str, given: Mapping[str, Any]) -> dict[str, tuple[int, ...]]:
    shapes: dict[str, tuple[int, ...]] = {"model.embed_tokens.weight": (given["vocab_size"], HIDDEN)}
    for layer in range(given["num_hidden_layers"]):
        inside = _phi3_layer(given) if architecture == "Phi3ForCausalLM" else _layer(architecture, given)
        shapes |= {f"model.layers.{layer}.{name}": shape for name, shape in inside.items()}
    shapes["model.norm.weight"] = (HIDDEN,)
    if not given.get("tie_word_embeddings"):
        shapes["lm_head.weight"] = (given["vocab_size"], HIDDEN)
    return shapes


def _layer(architecture: str, given: Mapping[str, Any]) -> dict[str, tuple[int, ...]]:
    head = given.get("head_dim") or HIDDEN // given["num_attention_heads"]
    queries, keys = given["num_attention_heads"] * head, given["num_key_value_heads"] * head
    shapes: dict[str, tuple[int, ...]] = {}
    rows = {"self_attn.q_proj": queries, "self_attn.k_proj": keys, "self_attn.v_proj": keys}
    rows |= {"mlp.gate_proj": given["intermediate_size"], "mlp.up_proj": given["intermediate_size"]}
    for name, count in rows.items():
        shapes[f"{name}.weight"] = (count, HIDDEN)
        attention = name.startswith("self_attn")
        if given.get("attention_bias" if attention else "mlp_bias") or (
            attention and "Qwen2" in architecture
        ):
            shapes[f"{name}.bias"] = (count,)
    shapes["self_attn.o_proj.weight"], shapes["mlp.down_proj.weight"] = (
        (HIDDEN, queries),
        (HIDDEN, given["intermediate_size"]),
    )
    if given.get("mlp_bias"):
        shapes["self_attn.o_proj.bias"], shapes["mlp.down_proj.bias"] = (HIDDEN,), (HIDDEN,)
    if architecture in ("Qwen3ForCausalLM", "Gemma3ForCausalLM"):
        shapes |= {f"self_attn.{part}_norm.weight": (head,) for part in ("q", "k")}
    norms = ["input_layernorm", "post_attention_layernorm"]
    if architecture.startswith("Gemma"):
        norms += ["pre_feedforward_layernorm", "post_feedforward_layernorm"]
    return shapes | {f"{name}.weight": (HIDDEN,) for name in norms}


def _phi3_layer(given: Mapping[str, Any]) -> dict[str, tuple[int, ...]]:
    head = HIDDEN // given["num_attention_heads"]
    return {
        "self_attn.qkv_proj.weight": (HIDDEN + 2 * head * given["num_key_value_heads"], HIDDEN),
        "self_attn.o_proj.weight": (HIDDEN, HIDDEN),
        "mlp.gate_up_proj.weight": (2 * INNER, HIDDEN),
        "mlp.down_proj.weight": (HIDDEN, INNER),
        "input_layernorm.weight": (HIDDEN,),
        "post_attention_layernorm.weight": (HIDDEN,),
    }


def _bert(given: Mapping[str, Any]) -> Tensors:
    shapes: dict[str, tuple[int, ...]] = {
        "embeddings.word_embeddings": (given["vocab_size"], HIDDEN),
        "embeddings.position_embeddings": (given["max_position_embeddings"], HIDDEN),
        "embeddings.token_type_embeddings": (given["type_vocab_size"], HIDDEN),
    }
    norms = ["embeddings.LayerNorm"]
    for layer in range(given["num_hidden_layers"]):
        root = f"encoder.layer.{layer}."
        shapes |= {f"{root}attention.self.{part}": (HIDDEN, HIDDEN) for part in ("query", "key", "value")}
        shapes[f"{root}attention.output.dense"] = (HIDDEN, HIDDEN)
        shapes[f"{root}intermediate.dense"] = (INNER, HIDDEN)
        shapes[f"{root}output.dense"] = (HIDDEN, INNER)
        norms += [f"{root}attention.output.LayerNorm", f"{root}output.LayerNorm"]
    shapes["pooler.dense"] = (HIDDEN, HIDDEN)
    tensors: Tensors = {}
    for name, shape in shapes.items():
        tensors[f"{name}.weight"] = draw(f"{name}.weight", *shape)
        if not name.startswith("embeddings"):
            tensors[f"{name}.bias"] = draw(f"{name}.bias", shape[0])
    for name in norms:
        tensors[f"{name}.weight"] = draw(f"{name}.weight", HIDDEN) + np.float32(1)
        tensors[f"{name}.bias"] = draw(f"{name}.bias", HIDDEN)
    return tensors


def write_safetensors(path: Path, tensors: Mapping[str, npt.NDArray[Any]], dtype: str = "F32") -> Path:
    """`dtype` is F32, F16 or BF16 (whose lower bits are dropped)."""
    header: dict[str, Any] = {"__metadata__": {"format": "pt"}}
    parts: list[bytes] = []
    end = 0
    for name, values in tensors.items():
        part = _encoded(values, dtype)
        offsets = [end, end + len(part)]
        header[name] = {"dtype": dtype, "shape": list(values.shape), "data_offsets": offsets}
        parts.append(part)
        end += len(part)
    head = json.dumps(header).encode()
    head += b" " * (-len(head) % 8)
    path.write_bytes(len(head).to_bytes(8, "little") + head + b"".join(parts))
    return path


def _encoded(values: npt.NDArray[Any], dtype: str) -> bytes:
    if dtype == "BF16":
        return (values.astype("<f4").view("<u4") >> 16).astype("<u2").tobytes()
    return values.astype({"F32": "<f4", "F16": "<f2"}[dtype]).tobytes()


def byte_level_tokenizer() -> dict[str, Any]:
    """A tokenizer.json of byte-level BPE whose ids 0 and 1 are special."""
    letters = [chr(code) for code in range(33, 93)]
    vocab = {text: 2 + place for place, text in enumerate([*letters, "AB", "Ġ"])}
    special = [{"id": place, "content": text, "special": True} for place, text in enumerate(("<s>", "</s>"))]
    return {
        "added_tokens": special,
        "normalizer": None,
        "pre_tokenizer": {"type": "ByteLevel", "add_prefix_space": False, "use_regex": True},
        "post_processor": {"type": "ByteLevel"},
        "model": {"type": "BPE", "vocab": vocab, "merges": ["A B"]},
    }


def word_piece_tokenizer() -> dict[str, Any]:
    """A tokenizer.json of BERT's kind."""
    special = ("[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]")
    words = [*special, *(f"word{chr(97 + n)}" for n in range(20)), *(f"##{chr(97 + n)}" for n in range(20))]
    words += [chr(97 + n) for n in range(VOCAB - len(words))]
    return {
        "added_tokens": [{"id": n, "content": text, "special": True} for n, text in enumerate(special)],
        "normalizer": {"type": "BertNormalizer", "clean_text": True, "lowercase": True},
        "pre_tokenizer": {"type": "BertPreTokenizer"},
        "post_processor": None,
        "model": {
            "type": "WordPiece",
            "unk_token": "[UNK]",
            "continuing_subword_prefix": "##",
            "vocab": {word: place for place, word in enumerate(words)},
        },
    }


def write_folder(folder: Path, architecture: str, dtype: str = "F32", **changed: Any) -> dict[str, Path]:
    """A whole model folder; `changed` are keys of config.json. Returns its files by name."""
    tokenizer, special = byte_level_tokenizer(), {"bos_token": "<s>", "eos_token": "</s>"}
    if architecture == "BertModel":
        special = {f"{name.lower()}_token": f"[{name}]" for name in ("PAD", "UNK", "CLS", "SEP", "MASK")}
        tokenizer = word_piece_tokenizer()
    write_safetensors(folder / "model.safetensors", weights(architecture, **changed), dtype)
    write_json(folder / "config.json", config(architecture) | changed)
    write_json(folder / "tokenizer.json", tokenizer)
    write_json(folder / "tokenizer_config.json", special)
    return files_of(folder)


def write_json(path: Path, content: Any) -> None:
    path.parent.mkdir(exist_ok=True)
    path.write_text(json.dumps(content))


def files_of(folder: Path) -> dict[str, Path]:
    """Every file below a folder, by its name in it."""
    return {str(path.relative_to(folder)): path for path in folder.rglob("*") if path.is_file()}
