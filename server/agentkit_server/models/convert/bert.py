"""BERT as an embedding model: one vector for a text, pooled as the folder of sentence-transformers says."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

from gguf.constants import PoolingType

from agentkit_server.errors import ConversionError
from agentkit_server.models.convert.files import Fields, Files, read_json, read_object
from agentkit_server.models.convert.plan import MAX_LAYERS, Plan, Wanted, demand, linear

_POOLING = {
    "pooling_mode_mean_tokens": PoolingType.MEAN,
    "pooling_mode_cls_token": PoolingType.CLS,
    "pooling_mode_lasttoken": PoolingType.LAST,
}
_POOLING_NAMES = {"mean": PoolingType.MEAN, "cls": PoolingType.CLS, "lasttoken": PoolingType.LAST}


def bert(config: Fields, files: Files) -> Plan:
    demand(config, "hidden_act", ("gelu", "gelu_new", "gelu_pytorch_tanh"), "gelu")
    demand(config, "position_embedding_type", ("absolute",), "absolute")
    demand(config, "is_decoder", (False,), False)
    hidden, inner = config.need("hidden_size", 768), config.need("intermediate_size", 3072)
    heads, layers = config.need("num_attention_heads", 12), config.need("num_hidden_layers", 12)
    vocab, context = config.need("vocab_size", 30522), config.need("max_position_embeddings", 512)
    if hidden % heads or layers > MAX_LAYERS:
        raise ConversionError(
            f"{config.where}: {hidden} wide with {heads} heads and {layers} layers cannot be"
        )
    metadata: dict[str, Any] = {
        "bert.context_length": context,
        "bert.embedding_length": hidden,
        "bert.feed_forward_length": inner,
        "bert.block_count": layers,
        "bert.attention.head_count": heads,
        "bert.attention.layer_norm_epsilon": config.number("layer_norm_eps", 1e-12),
        "bert.attention.causal": False,
        "bert.vocab_size": vocab,
        "bert.pooling_type": int(_pooling(files)),
        "tokenizer.ggml.token_type_count": config.need("type_vocab_size", 2),
    }
    wanted = [*_embeddings(vocab, context, config.need("type_vocab_size", 2), hidden)]
    for layer in range(layers):
        wanted += _layer(layer, hidden, inner)
    return Plan(
        "bert",
        metadata,
        tuple(wanted),
        vocab,
        roots=("", "bert."),
        ignored=re.compile(r"(bert\.)?(embeddings\.position_ids|pooler\.dense\.(weight|bias))"),
    )


def parameters(files: Files) -> dict[str, int]:
    """Options that the folder's own program would run the model with."""
    limits = read_object(files, "sentence_bert_config.json")
    length = None if limits is None else limits.count("max_seq_length")
    return {} if not length else {"num_ctx": length}


def _pooling(files: Files) -> PoolingType:
    """How vectors of tokens become one. A folder that does not say is pooled by mean, as
    sentence-transformers does."""
    modules = read_json(files, "modules.json")
    if modules is None:
        return PoolingType.MEAN
    found = PoolingType.MEAN
    for module in Fields({"modules": modules}, "modules.json").objects("modules"):
        kind = (module.text("type") or "").rpartition(".")[2]
        if kind == "Pooling":
            found = _mode(files, f"{module.text('path') or ''}/config.json")
        elif kind not in ("Transformer", "Normalize"):
            raise ConversionError(
                f"modules.json has a module {kind!r}; Transformer, Pooling and Normalize can be imported"
            )
    return found


def _mode(files: Files, name: str) -> PoolingType:
    said = read_object(files, name)
    if said is None:
        raise ConversionError(f"modules.json names {name!r}, which is not in the folder")
    modes = [key for key, value in said.values.items() if key.startswith("pooling_mode_") and value is True]
    named = said.text("pooling_mode")
    if not modes and named in _POOLING_NAMES:
        return _POOLING_NAMES[named]
    if len(modes) != 1 or modes[0] not in _POOLING:
        found = ", ".join(modes) or repr(named)
        raise ConversionError(f"{name!r} pools by {found}; one of mean, cls and last token can be imported")
    return _POOLING[modes[0]]


def _embeddings(vocab: int, context: int, kinds: int, hidden: int) -> Iterator[Wanted]:
    source = "embeddings."
    yield Wanted("token_embd.weight", f"{source}word_embeddings.weight", (vocab, hidden))
    # llama.cpp adds these two without converting them.
    yield Wanted("position_embd.weight", f"{source}position_embeddings.weight", (context, hidden), exact=True)
    yield Wanted("token_types.weight", f"{source}token_type_embeddings.weight", (kinds, hidden), exact=True)
    yield from _norm("token_embd_norm", f"{source}LayerNorm", hidden)


def _norm(name: str, source: str, width: int) -> Iterator[Wanted]:
    for part in ("weight", "bias"):
        yield Wanted(f"{name}.{part}", f"{source}.{part}", (width,))


def _layer(layer: int, hidden: int, inner: int) -> Iterator[Wanted]:
    name, source = f"blk.{layer}.", f"encoder.layer.{layer}."
    for part, module in (("q", "query"), ("k", "key"), ("v", "value")):
        yield from linear(f"{name}attn_{part}", f"{source}attention.self.{module}", hidden, hidden, bias=True)
    yield from linear(f"{name}attn_output", f"{source}attention.output.dense", hidden, hidden, bias=True)
    yield from _norm(f"{name}attn_output_norm", f"{source}attention.output.LayerNorm", hidden)
    yield from linear(f"{name}ffn_up", f"{source}intermediate.dense", inner, hidden, bias=True)
    yield from linear(f"{name}ffn_down", f"{source}output.dense", hidden, inner, bias=True)
    yield from _norm(f"{name}layer_output_norm", f"{source}output.LayerNorm", hidden)
