"""What an architecture asks of a checkpoint and writes into the GGUF: facts, no bytes."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt

from agentkit_server.errors import ConversionError
from agentkit_server.models.convert.files import Fields

MAX_LAYERS = 512
"""llama.cpp's own limit."""
MAX_HEAD_DIM = 1 << 16


@dataclass(frozen=True)
class Wanted:
    """One tensor of the GGUF, and where it comes from."""

    name: str
    source: str
    """Its name in the checkpoint, below the root that the names share."""
    shape: tuple[int, ...]
    heads: int = 0
    """For rows that are rotated: how many heads they are. llama.cpp has each head's pairs side by side
    where transformers has first all first halves, then all second ones."""
    plus: float = 0.0
    """Added to every number."""
    optional: bool = False
    exact: bool = False
    """F32, though it has more than one dimension."""
    beside: bool = False
    """Its name is beside the root, not below it."""


@dataclass(frozen=True)
class Computed:
    """A tensor of the GGUF that the configuration gives."""

    name: str
    values: npt.NDArray[np.float32]


@dataclass(frozen=True)
class Plan:
    """How one model becomes a GGUF."""

    architecture: str
    """llama.cpp's name."""
    metadata: Mapping[str, Any]
    wanted: tuple[Wanted, ...]
    vocab_size: int
    """Rows of the embedding: tokens that the model can have."""
    computed: tuple[Computed, ...] = ()
    roots: tuple[str, ...] = ("model.",)
    """What the names of the checkpoint may begin with, one of these for all of them."""
    ignored: re.Pattern[str] = field(default=re.compile(r".*\.rotary_emb\.inv_freq"))
    """Tensors that say nothing that is not known."""
    left_out: re.Pattern[str] = field(default=re.compile("(?!)"))
    """Tensors that are another part of the model, about which there is a note."""
    notes: tuple[str, ...] = ()
    """What whoever imports the model should know."""


@dataclass(frozen=True)
class Dimensions:
    """The sizes that all decoders have."""

    hidden: int
    inner: int
    layers: int
    heads: int
    heads_kv: int
    head_dim: int
    vocab: int
    context: int

    @classmethod
    def of(cls, config: Fields, **defaults: int) -> Dimensions:
        """`defaults` are what transformers takes for keys that are absent."""
        hidden = config.need("hidden_size", defaults.get("hidden_size"))
        heads = config.need("num_attention_heads", defaults.get("num_attention_heads"))
        head_dim = config.count("head_dim", defaults.get("head_dim"))
        if not head_dim and hidden % heads:
            raise ConversionError(f"{config.where}: hidden_size {hidden} is no multiple of {heads} heads")
        head_dim = head_dim or hidden // heads
        if head_dim > MAX_HEAD_DIM or head_dim % 2:
            raise ConversionError(f"{config.where}: heads of {head_dim} are odd, or over {MAX_HEAD_DIM}")
        layers = config.need("num_hidden_layers", defaults.get("num_hidden_layers"))
        if layers > MAX_LAYERS:
            raise ConversionError(f"{config.where}: {layers} layers; llama.cpp has at most {MAX_LAYERS}")
        heads_kv = config.need("num_key_value_heads", defaults.get("num_key_value_heads", heads))
        if heads % heads_kv:
            raise ConversionError(f"{config.where}: {heads} heads cannot share {heads_kv} keys and values")
        return cls(
            hidden=hidden,
            inner=config.need("intermediate_size", defaults.get("intermediate_size")),
            layers=layers,
            heads=heads,
            heads_kv=heads_kv,
            head_dim=head_dim,
            vocab=config.need("vocab_size", defaults.get("vocab_size")),
            context=config.need("max_position_embeddings", defaults.get("max_position_embeddings")),
        )

    def metadata(self, architecture: str) -> dict[str, Any]:
        return {
            f"{architecture}.context_length": self.context,
            f"{architecture}.embedding_length": self.hidden,
            f"{architecture}.feed_forward_length": self.inner,
            f"{architecture}.block_count": self.layers,
            f"{architecture}.attention.head_count": self.heads,
            f"{architecture}.attention.head_count_kv": self.heads_kv,
            f"{architecture}.vocab_size": self.vocab,
        }

    def head_metadata(self, architecture: str) -> dict[str, Any]:
        return {
            f"{architecture}.attention.key_length": self.head_dim,
            f"{architecture}.attention.value_length": self.head_dim,
        }


def linear(name: str, source: str, rows: int, columns: int, *, bias: bool = False) -> Iterator[Wanted]:
    """A matrix, and its bias where the checkpoint may have one."""
    yield Wanted(f"{name}.weight", f"{source}.weight", (rows, columns))
    if bias:
        yield Wanted(f"{name}.bias", f"{source}.bias", (rows,), optional=True)


def demand(config: Fields, key: str, allowed: tuple[Any, ...], default: Any = None) -> None:
    """Refuse a model whose `key` is none of `allowed`; an absent one counts as `default`."""
    value = config.get(key)
    value = default if value is None else value
    if value not in allowed:
        listed = ", ".join(repr(one) for one in allowed)
        raise ConversionError(f"{config.where}: {key} is {value!r:.80}; what can be imported is {listed}")
