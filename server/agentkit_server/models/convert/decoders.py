"""Decoders whose layers are a gated MLP and separate queries, keys and values: Llama, Mistral, Qwen 2 and 3,
SmolLM 3."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import Any

from agentkit_server.errors import ConversionError
from agentkit_server.models.convert.files import Fields
from agentkit_server.models.convert.plan import Dimensions, Plan, Wanted, demand, linear
from agentkit_server.models.convert.rope import parameters, read_rope


def llama(config: Fields) -> Plan:
    return _decoder("llama", config, Dimensions.of(config))


def mistral(config: Fields) -> Plan:
    sizes = Dimensions.of(config, num_key_value_heads=8)
    return _decoder("llama", config, sizes, notes=_window_note(config, sizes))


def qwen2(config: Fields) -> Plan:
    demand(config, "use_sliding_window", (False,), False)
    sizes = Dimensions.of(config, num_key_value_heads=32)
    if sizes.heads * sizes.head_dim != sizes.hidden:
        raise ConversionError(
            f"{config.where}: {sizes.heads} heads of {sizes.head_dim} are not {sizes.hidden}"
        )
    return _decoder("qwen2", config, sizes)


def qwen3(config: Fields) -> Plan:
    demand(config, "use_sliding_window", (False,), False)
    return _decoder("qwen3", config, Dimensions.of(config, num_key_value_heads=32, head_dim=128))


def smollm3(config: Fields) -> Plan:
    demand(config, "use_sliding_window", (False,), False)
    sizes = Dimensions.of(config, num_key_value_heads=4)
    # 1 where a layer has positions. llama.cpp knows one pattern: every fourth has none.
    usual = [int((layer + 1) % 4 != 0) for layer in range(sizes.layers)]
    given = config.list("no_rope_layers") or usual
    if given != usual or config.count("no_rope_layer_interval", 4) != 4:
        raise ConversionError(
            f"{config.where}: no_rope_layers is {given!r:.80}; llama.cpp only has the pattern in which every "
            "fourth layer is without positions"
        )
    return _decoder("smollm3", config, sizes, theta=2_000_000.0)


def _decoder(
    architecture: str,
    config: Fields,
    sizes: Dimensions,
    *,
    theta: float = 10000.0,
    notes: tuple[str, ...] = (),
) -> Plan:
    demand(config, "hidden_act", ("silu",), "silu")
    rope = read_rope(parameters(config), sizes.head_dim, sizes.context, theta)
    if rope.computed and architecture != "llama":
        raise ConversionError(f"{config.where}: llama.cpp has Llama 3's rope scaling for Llama only")
    metadata: dict[str, Any] = {
        **sizes.metadata(architecture),
        **sizes.head_metadata(architecture),
        f"{architecture}.attention.layer_norm_rms_epsilon": config.number("rms_norm_eps", 1e-6),
        f"{architecture}.rope.dimension_count": sizes.head_dim,
        **rope.keys(architecture),
    }
    wanted = [*embeddings(config, sizes)]
    for layer in range(sizes.layers):
        wanted += LAYERS[architecture](layer, sizes)
    return Plan(
        architecture, metadata, tuple(wanted), sizes.vocab, rope.computed, notes=(*rope.notes, *notes)
    )


def embeddings(
    config: Fields, sizes: Dimensions, *, tied: bool = False, plus: float = 0.0
) -> Iterator[Wanted]:
    """The embedding, the last norm and the head. `tied`: what transformers takes when nothing is said."""
    yield Wanted("token_embd.weight", "embed_tokens.weight", (sizes.vocab, sizes.hidden))
    yield Wanted("output_norm.weight", "norm.weight", (sizes.hidden,), plus=plus)
    said = config.flag("tie_word_embeddings")
    if not (tied if said is None else said):
        # Tied in fact where the file leaves it out and nobody denies it.
        shape, optional = (sizes.vocab, sizes.hidden), said is None
        yield Wanted("output.weight", "lm_head.weight", shape, optional=optional, beside=True)


def attention(
    layer: int, sizes: Dimensions, *, rotated: bool = False, output_bias: bool = False
) -> Iterator[Wanted]:
    """Queries, keys, values and what comes out."""
    name, source = f"blk.{layer}.attn_", f"layers.{layer}.self_attn."
    queries, keys = sizes.heads * sizes.head_dim, sizes.heads_kv * sizes.head_dim
    for part, heads, rows in (("q", sizes.heads, queries), ("k", sizes.heads_kv, keys), ("v", 0, keys)):
        turned = heads if rotated else 0
        weight, bias = linear(f"{name}{part}", f"{source}{part}_proj", rows, sizes.hidden, bias=True)
        yield Wanted(weight.name, weight.source, weight.shape, heads=turned)
        yield Wanted(bias.name, bias.source, bias.shape, heads=turned, optional=True)
    yield from linear(f"{name}output", f"{source}o_proj", sizes.hidden, queries, bias=output_bias)


def gated_mlp(layer: int, sizes: Dimensions, *, bias: bool = False) -> Iterator[Wanted]:
    name, source = f"blk.{layer}.ffn_", f"layers.{layer}.mlp."
    yield from linear(f"{name}gate", f"{source}gate_proj", sizes.inner, sizes.hidden, bias=bias)
    yield from linear(f"{name}up", f"{source}up_proj", sizes.inner, sizes.hidden, bias=bias)
    yield from linear(f"{name}down", f"{source}down_proj", sizes.hidden, sizes.inner, bias=bias)


def norm(layer: int, name: str, source: str, width: int, plus: float = 0.0) -> Wanted:
    return Wanted(f"blk.{layer}.{name}.weight", f"layers.{layer}.{source}.weight", (width,), plus=plus)


def qk_norms(layer: int, sizes: Dimensions, plus: float = 0.0) -> Iterator[Wanted]:
    """Norms over each head."""
    for part in ("q", "k"):
        yield norm(layer, f"attn_{part}_norm", f"self_attn.{part}_norm", sizes.head_dim, plus)


def _layer(
    layer: int, sizes: Dimensions, *, rotated: bool = False, output_bias: bool = False, mlp_bias: bool = False
) -> Iterator[Wanted]:
    yield norm(layer, "attn_norm", "input_layernorm", sizes.hidden)
    yield from attention(layer, sizes, rotated=rotated, output_bias=output_bias)
    yield norm(layer, "ffn_norm", "post_attention_layernorm", sizes.hidden)
    yield from gated_mlp(layer, sizes, bias=mlp_bias)


def _llama_layer(layer: int, sizes: Dimensions) -> Iterator[Wanted]:
    return _layer(layer, sizes, rotated=True, output_bias=True, mlp_bias=True)


def _smollm3_layer(layer: int, sizes: Dimensions) -> Iterator[Wanted]:
    return _layer(layer, sizes, rotated=True)


def _qwen3_layer(layer: int, sizes: Dimensions) -> Iterator[Wanted]:
    yield from _layer(layer, sizes)
    yield from qk_norms(layer, sizes)


LAYERS: Mapping[str, Callable[[int, Dimensions], Iterator[Wanted]]] = {
    "llama": _llama_layer,
    "qwen2": _layer,
    "qwen3": _qwen3_layer,
    "smollm3": _smollm3_layer,
}
"""llama.cpp's name -> the tensors of one layer."""


def _window_note(config: Fields, sizes: Dimensions) -> tuple[str, ...]:
    window = config.count("sliding_window")
    if window is None or window >= sizes.context:
        return ()
    return (f"every layer sees the whole prompt: llama.cpp has no window of {window} tokens for this model",)
