"""Gemma 2 and Gemma 3. Their norms multiply by one plus the weight, some layers see a window only."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping
from typing import Any

from agentkit_server.errors import ConversionError
from agentkit_server.models.convert.decoders import attention, embeddings, gated_mlp, norm, qk_norms
from agentkit_server.models.convert.files import Fields
from agentkit_server.models.convert.plan import Dimensions, Plan, Wanted, demand
from agentkit_server.models.convert.rope import FULL, SLIDING, Rope, parameters, read_rope

_ACTIVATION = "gelu_pytorch_tanh"
_GEMMA2 = {"num_key_value_heads": 4, "head_dim": 256, "max_position_embeddings": 8192}
_GEMMA3 = {
    "num_attention_heads": 8,
    "num_key_value_heads": 4,
    "head_dim": 256,
    "vocab_size": 262_208,
    "max_position_embeddings": 131_072,
}


def gemma2(config: Fields) -> Plan:
    sizes = Dimensions.of(config, **_GEMMA2)
    rope = _rope(config, sizes, 10000.0)
    caps: dict[str, float] = {}
    for key, default in (("attn_logit_softcapping", 50.0), ("final_logit_softcapping", 30.0)):
        cap = config.number(key, default)
        if (key in config.values and config.get(key) is None) or not cap:
            raise ConversionError(f"{config.where}: {key} is off, which llama.cpp cannot do for Gemma 2")
        caps[f"gemma2.{key}"] = cap
    metadata = {
        **_metadata("gemma2", config, sizes),
        **rope.keys("gemma2"),
        **caps,
        **_windows("gemma2", config, sizes, 2),
    }
    return _plan("gemma2", config, sizes, metadata, rope.notes)


def gemma3(config: Fields) -> Plan:
    sizes = Dimensions.of(config, **_GEMMA3)
    demand(config, "use_bidirectional_attention", (False,), False)
    demand(config, "attn_logit_softcapping", (None,))
    rope = _rope(config, sizes, 1_000_000.0)
    metadata = {
        **_metadata("gemma3", config, sizes),
        **rope.keys("gemma3"),
        **_windows("gemma3", config, sizes, 6),
        "gemma3.rope.freq_base_swa": _local_theta(config),
    }
    cap = config.number("final_logit_softcapping")
    if cap:
        metadata["gemma3.final_logit_softcapping"] = cap
    return _plan("gemma3", config, sizes, metadata, rope.notes)


def gemma3_with_vision(config: Fields) -> Plan:
    """The part that reads and writes text."""
    text = config.object("text_config")
    if text is None:
        raise ConversionError(f"{config.where} has no text_config")
    plan = gemma3(text)
    return Plan(
        plan.architecture,
        plan.metadata,
        plan.wanted,
        plan.vocab_size,
        roots=("language_model.model.", "model.language_model."),
        left_out=re.compile(r"(model\.)?(vision_tower|multi_modal_projector)\..*"),
        notes=(*plan.notes, "only the text part is imported: images cannot be shown to this model"),
    )


def _local_theta(config: Fields) -> float:
    local = parameters(config, SLIDING)
    if config.object("rope_parameters") is None:
        return config.number("rope_local_base_freq") or 10000.0
    return local.number("rope_theta") or 10000.0


def _metadata(architecture: str, config: Fields, sizes: Dimensions) -> dict[str, Any]:
    demand(config, "hidden_activation", (_ACTIVATION,), _ACTIVATION)
    # llama.cpp computes this one from the sizes, and differently for the two largest.
    scalar = config.number("query_pre_attn_scalar", 256.0)
    largest = sizes.layers == (46 if architecture == "gemma2" else 62)
    expected = sizes.hidden // sizes.heads if largest else sizes.head_dim
    if scalar != expected:
        raise ConversionError(
            f"{config.where}: query_pre_attn_scalar is {scalar}; llama.cpp takes {expected} for such a model"
        )
    return {
        **sizes.metadata(architecture),
        **sizes.head_metadata(architecture),
        f"{architecture}.attention.layer_norm_rms_epsilon": config.number("rms_norm_eps", 1e-6),
    }


def _windows(architecture: str, config: Fields, sizes: Dimensions, period: int) -> dict[str, Any]:
    """Which layers see a window. A pattern is written where it is not the usual one."""
    usual = [int((layer + 1) % period != 0) for layer in range(sizes.layers)]
    step = config.count("sliding_window_pattern") or config.count("_sliding_window_pattern") or period
    pattern = [int((layer + 1) % step != 0) for layer in range(sizes.layers)]
    kinds = config.list("layer_types")
    if kinds:
        if len(kinds) != sizes.layers or any(kind not in (FULL, SLIDING) for kind in kinds):
            raise ConversionError(f"{config.where}: layer_types is {kinds!r:.80}, which is not understood")
        pattern = [int(kind == SLIDING) for kind in kinds]
    keys: dict[str, Any] = {
        f"{architecture}.attention.sliding_window": config.need("sliding_window", 4096),
    }
    if pattern != usual:
        keys[f"{architecture}.attention.sliding_window_pattern"] = pattern
    return keys


def _rope(config: Fields, sizes: Dimensions, theta: float) -> Rope:
    rope = read_rope(parameters(config), sizes.head_dim, sizes.context, theta)
    if rope.computed:
        raise ConversionError(f"{config.where}: llama.cpp has Llama 3's rope scaling for Llama only")
    return rope


def _plan(
    architecture: str, config: Fields, sizes: Dimensions, metadata: dict[str, Any], notes: tuple[str, ...]
) -> Plan:
    wanted: list[Wanted] = list(embeddings(config, sizes, tied=True, plus=1.0))
    if any(one.beside for one in wanted):
        raise ConversionError(f"{config.where}: a Gemma with a head of its own cannot be imported")
    for layer in range(sizes.layers):
        wanted += LAYERS[architecture](layer, sizes)
    return Plan(architecture, metadata, tuple(wanted), sizes.vocab, notes=notes)


def _gemma2_layer(layer: int, sizes: Dimensions) -> Iterator[Wanted]:
    names = {
        "attn_norm": "input_layernorm",
        "post_attention_norm": "post_attention_layernorm",
        "ffn_norm": "pre_feedforward_layernorm",
        "post_ffw_norm": "post_feedforward_layernorm",
    }
    for name, source in names.items():
        yield norm(layer, name, source, sizes.hidden, plus=1.0)
    yield from attention(layer, sizes)
    yield from gated_mlp(layer, sizes)


def _gemma3_layer(layer: int, sizes: Dimensions) -> Iterator[Wanted]:
    yield from _gemma2_layer(layer, sizes)
    yield from qk_norms(layer, sizes, plus=1.0)


LAYERS: Mapping[str, Callable[[int, Dimensions], Iterator[Wanted]]] = {
    "gemma2": _gemma2_layer,
    "gemma3": _gemma3_layer,
}
"""llama.cpp's name -> the tensors of one layer."""
