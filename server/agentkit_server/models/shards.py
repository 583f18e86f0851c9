"""Split models: their shards become one GGUF file, byte for byte what they held.

Keys are copied as they stand, so that no type and no odd token changes; only the keys about the split go.
"""

from __future__ import annotations

import math
import struct
from collections.abc import Generator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO, Protocol

from gguf.constants import GGML_QUANT_SIZES, GGUF_DEFAULT_ALIGNMENT, GGMLQuantizationType

from agentkit_server.errors import InvalidGGUF
from agentkit_server.models.gguf_header import (
    MAGIC,
    MAX_KEY_BYTES,
    MAX_NAME_BYTES,
    Cursor,
    open_gguf,
    read_header,
)

_CHUNK = 4 << 20
_VERSION = 3
_ABOUT_THE_SPLIT = "split."
_MAX_ALIGNMENT = 1 << 16
"""Bytes; llama.cpp writes 32. Each tensor is filled up to it."""


class Target(Protocol):
    """A file, or a blob on its way into the store."""

    def write(self, data: bytes, /) -> object: ...


@dataclass(frozen=True)
class _Tensor:
    """`head` is everything about it in the header but the offset, as it stands there."""

    name: str
    head: bytes
    position: int
    """Of its data in its shard."""
    size: int


@dataclass(frozen=True)
class _Shard:
    path: Path
    keys: tuple[bytes, ...]
    """Key, type and value of each, as they stand there."""
    tensors: tuple[_Tensor, ...]
    alignment: int


def merge_shards(paths: Sequence[Path], target: Target) -> Generator[tuple[int, int]]:
    """Write the model whose shards are `paths`, in their order, to `target`; what they are called does not
    matter.

    Blocking, in steps of at most 4 MiB: yields (bytes of tensors done, of all). Raises InvalidGGUF, and what
    `target` raises.
    """
    shards = [_read(path, number, len(paths)) for number, path in enumerate(paths)]
    tensors = [tensor for shard in shards for tensor in shard.tensors]
    if len({tensor.name for tensor in tensors}) < len(tensors):
        raise InvalidGGUF(f"the shards of {str(paths[0])!r} have a tensor twice; they are not of one model")
    first = shards[0]
    if any(shard.alignment != first.alignment for shard in shards) or first.alignment > _MAX_ALIGNMENT:
        raise InvalidGGUF(
            f"the shards of {str(paths[0])!r} are to be aligned to {sorted({s.alignment for s in shards})} "
            f"bytes; only one number up to {_MAX_ALIGNMENT} can be merged"
        )
    target.write(_header(first, tensors))
    total, done = sum(tensor.size for tensor in tensors), 0
    with ExitStack() as opened:
        for shard in shards:
            file = opened.enter_context(open_gguf(shard.path))
            for tensor in shard.tensors:
                for chunk in _data(file, shard.path, tensor):
                    target.write(chunk)
                    done += len(chunk)
                    yield done, total
                target.write(bytes(-tensor.size % first.alignment))


def _header(first: _Shard, tensors: Sequence[_Tensor]) -> bytes:
    out = bytearray(MAGIC + struct.pack("<IQQ", _VERSION, len(tensors), len(first.keys)))
    out += b"".join(first.keys)
    offset = 0
    for tensor in tensors:
        out += tensor.head + struct.pack("<Q", offset)
        offset += tensor.size + -tensor.size % first.alignment
    return bytes(out) + bytes(-len(out) % first.alignment)


def _data(file: BinaryIO, path: Path, tensor: _Tensor) -> Generator[bytes]:
    file.seek(tensor.position)
    left = tensor.size
    while left:
        chunk = file.read(min(left, _CHUNK))
        if not chunk:
            raise InvalidGGUF(f"{str(path)!r} became shorter while it was read")
        left -= len(chunk)
        yield chunk


def _read(path: Path, number: int, count: int) -> _Shard:
    metadata = read_header(path).metadata
    stated = metadata.get("split.no", 0), metadata.get("split.count", 1)
    if stated != (number, count):
        raise InvalidGGUF(
            f"{str(path)!r} says that it is shard {stated[0]!r:.20} (from 0) of {stated[1]!r:.20}, where "
            f"shard {number} of {count} was expected; give all shards of one model, in their order"
        )
    alignment = metadata.get("general.alignment", GGUF_DEFAULT_ALIGNMENT)
    with open_gguf(path) as file:
        cursor = Cursor(file, path)
        cursor.skip(len(MAGIC))
        if cursor.uint32() not in (2, _VERSION):
            raise InvalidGGUF(f"{str(path)!r} is big-endian; its shards cannot be merged here")
        n_tensors, n_keys = cursor.uint64(), cursor.uint64()
        spans = [_skip_key(cursor) for _ in range(n_keys)]
        heads = [_skip_tensor(cursor) for _ in range(n_tensors)]
        data = cursor.position + -cursor.position % alignment
        keys = [_bytes(file, *span) for name, *span in spans if not name.startswith(_ABOUT_THE_SPLIT)]
        tensors = [
            _Tensor(name, _bytes(file, start, stop), data + offset, size)
            for name, start, stop, offset, size in heads
        ]
    return _Shard(path, tuple(keys), tuple(tensors), alignment)


def _skip_key(cursor: Cursor) -> tuple[str, int, int]:
    """Name of the next key, and where it stands."""
    start = cursor.position
    name = cursor.string(MAX_KEY_BYTES)
    cursor.value(cursor.kind())
    return name, start, cursor.position


def _skip_tensor(cursor: Cursor) -> tuple[str, int, int, int, int]:
    """Name of the next tensor, where its entry stands (without the offset), its offset and size."""
    start = cursor.position
    name = cursor.string(MAX_NAME_BYTES)
    shape = [cursor.uint64() for _ in range(cursor.uint32())]
    block, block_bytes = GGML_QUANT_SIZES[GGMLQuantizationType(cursor.uint32())]
    stop = cursor.position
    return name, start, stop, cursor.uint64(), math.prod(shape) // block * block_bytes


def _bytes(file: BinaryIO, start: int, stop: int) -> bytes:
    file.seek(start)
    return file.read(stop - start)
