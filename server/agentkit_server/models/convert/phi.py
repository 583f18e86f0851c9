"""Phi-3, 3.5 and 4: queries, keys and values in one matrix, as are both halves of the gated MLP."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from agentkit_server.errors import ConversionError
from agentkit_server.models.convert.decoders import embeddings, norm
from agentkit_server.models.convert.files import Fields
from agentkit_server.models.convert.plan import Dimensions, Plan, Wanted, demand, linear
from agentkit_server.models.convert.rope import longrope, parameters


def phi3(config: Fields) -> Plan:
    sizes = Dimensions.of(config)
    demand(config, "hidden_act", ("silu",), "silu")
    if sizes.head_dim * sizes.heads != sizes.hidden:
        raise ConversionError(f"{config.where}: head_dim {sizes.head_dim} cannot be imported for this model")
    given = parameters(config)
    rotated = int((given.number("partial_rotary_factor", 1.0) or 1.0) * sizes.head_dim)
    if not 0 < rotated <= sizes.head_dim or rotated % 2:
        raise ConversionError(f"{given.where}: {rotated} of {sizes.head_dim} dimensions cannot be rotated")
    rope = longrope(given, rotated, sizes.context)
    window = config.count("sliding_window") or 0
    metadata: dict[str, Any] = {
        **sizes.metadata("phi3"),
        "phi3.attention.layer_norm_rms_epsilon": config.number("rms_norm_eps", 1e-5),
        # 0 tells llama.cpp that there is none.
        "phi3.attention.sliding_window": window,
        "phi3.rope.dimension_count": rotated,
        **rope.keys("phi3"),
    }
    wanted = list(embeddings(config, sizes))
    for layer in range(sizes.layers):
        wanted += phi3_layer(layer, sizes)
    notes: tuple[str, ...] = ()
    if 0 < window < sizes.context:
        notes = (f"every layer sees the whole prompt: llama.cpp does not use the window of {window} tokens",)
    return Plan("phi3", metadata, tuple(wanted), sizes.vocab, rope.computed, notes=notes)


def phi3_layer(layer: int, sizes: Dimensions) -> Iterator[Wanted]:
    name, source = f"blk.{layer}.", f"layers.{layer}."
    rows = (sizes.heads + 2 * sizes.heads_kv) * sizes.head_dim
    yield norm(layer, "attn_norm", "input_layernorm", sizes.hidden)
    yield from linear(f"{name}attn_qkv", f"{source}self_attn.qkv_proj", rows, sizes.hidden)
    yield from linear(f"{name}attn_output", f"{source}self_attn.o_proj", sizes.hidden, sizes.hidden)
    yield norm(layer, "ffn_norm", "post_attention_layernorm", sizes.hidden)
    yield from linear(f"{name}ffn_up", f"{source}mlp.gate_up_proj", 2 * sizes.inner, sizes.hidden)
    yield from linear(f"{name}ffn_down", f"{source}mlp.down_proj", sizes.hidden, sizes.inner)
