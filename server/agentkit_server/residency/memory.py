"""What a model needs, in bytes, before anything is loaded.

The estimate comes from GGUF metadata alone and is meant to be a little high; its parts stay apart so
that an error can show them.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

from agentkit_server.engine.types import CacheType, LoadSpec
from agentkit_server.models.model import GGUFInfo, Model

GIB = 1 << 30
MIB = 1 << 20
BYTES_PER_ELEMENT: Mapping[CacheType, float] = {"f16": 2.0, "q8_0": 34 / 32, "q4_0": 18 / 32}
# An interpreter with numpy, the native libraries and the tokenizer's tables.
PROCESS_BYTES = 96 * MIB


@dataclass(frozen=True)
class Estimate:
    """The parts of what a loaded model takes."""

    weights: int
    adapters: int
    kv: int
    recurrent: int
    compute: int
    output: int
    process: int = PROCESS_BYTES

    @property
    def total(self) -> int:
        return sum(getattr(self, field.name) for field in fields(self))

    def __str__(self) -> str:
        parts = [(field.name, getattr(self, field.name)) for field in fields(self)]
        return f"{size(self.total)} (" + ", ".join(f"{n} {size(v)}" for n, v in parts if v) + ")"


def size(count: int) -> str:
    """Bytes for a person: 1.5 GiB, 12 MiB."""
    return f"{count / GIB:.1f} GiB" if count >= GIB else f"{count / MIB:.0f} MiB"


def estimate(model: Model, spec: LoadSpec) -> Estimate:
    """What `model` takes when loaded with `spec`."""
    gguf = model.gguf
    outputs = spec.n_batch * gguf.embedding_length if spec.embedding else spec.n_seq_max * gguf.vocab_size
    return Estimate(
        weights=weights_bytes(model),
        adapters=sum(adapter_sizes(model).values()),
        kv=kv_bytes(gguf, spec.n_cells, spec.cache_type),
        recurrent=recurrent_bytes(gguf, spec.n_seq_max),
        compute=_compute_bytes(gguf, spec),
        output=4 * outputs,
    )


def weights_bytes(model: Model) -> int:
    """Size of the weights on disk (they are mapped or copied whole): all shards and projectors."""
    return model.gguf.file_size + sum(path.stat().st_size for path in model.projectors if path.exists())


def adapter_sizes(model: Model) -> dict[Path, int]:
    """Size of each adapter's file, which is what it takes; one that is not there is found out later."""
    sizes: dict[Path, int] = {}
    for adapter in model.adapters:
        with suppress(OSError):
            sizes[adapter.path] = adapter.path.stat().st_size
    return sizes


def kv_bytes(gguf: GGUFInfo, n_cells: int, cache_type: CacheType) -> int:
    """Key and value cells of every attention block."""
    heads = sum(gguf.head_count_kv)
    return int(heads * (gguf.key_length + gguf.value_length) * n_cells * BYTES_PER_ELEMENT[cache_type])


def recurrent_bytes(gguf: GGUFInfo, n_seq_max: int) -> int:
    """States of the blocks that keep one per sequence instead of cells (float32)."""
    inner = _number(gguf, "ssm.inner_size")
    wide = inner + 2 * _number(gguf, "ssm.group_count") * _number(gguf, "ssm.state_size")
    convolution = max(_number(gguf, "ssm.conv_kernel") - 1, 0) * wide
    state = inner * _number(gguf, "ssm.state_size")
    wkv = gguf.embedding_length * _number(gguf, "wkv.head_size")
    shift = 2 * gguf.embedding_length if wkv else 0
    short = max(_number(gguf, "shortconv.l_cache") - 1, 0) * gguf.embedding_length
    # A hybrid names its recurrent blocks by giving them no KV heads; some have both in each block.
    blocks = sum(1 for heads in gguf.head_count_kv if not heads) or gguf.block_count
    return 4 * blocks * n_seq_max * (convolution + state + wkv + shift + short)


def _compute_bytes(gguf: GGUFInfo, spec: LoadSpec) -> int:
    # The graph is reserved for a whole batch whose every row asks for logits, and the allocator reuses
    # memory from step to step: only the widest step counts. Without flash attention the scores of
    # every head are kept, and the mask is float32 instead of float16.
    plain = spec.flash_attention == "off"
    mask = spec.n_cells * (4 if plain else 2)
    scores = gguf.head_count * spec.n_cells if plain else 0
    logits = 4 * (gguf.vocab_size + 2 * gguf.embedding_length)
    attention = 4 * (scores + 12 * gguf.embedding_length) + mask
    feed_forward = 4 * (3 * _number(gguf, "feed_forward_length") + 2 * gguf.embedding_length) + mask
    return spec.n_batch * max(logits, attention, feed_forward)


def _number(gguf: GGUFInfo, key: str) -> int:
    value: Any = gguf.metadata.get(f"{gguf.architecture}.{key}", 0)
    if isinstance(value, Sequence) and not isinstance(value, str):
        value = max(value, default=0)  # pyright: ignore[reportUnknownArgumentType, reportUnknownVariableType]
    return int(value) if isinstance(value, int) and value > 0 else 0
