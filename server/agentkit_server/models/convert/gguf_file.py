"""Writes a GGUF file front to back, tensor by tensor, to anything that takes bytes.

The writer of the `gguf` package wants a file of its own and arrays as a whole; here a tensor comes in
pieces and the target may be a blob that is hashed on its way.
"""

from __future__ import annotations

import math
import struct
from collections.abc import Generator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol, cast

from gguf.constants import GGUF_DEFAULT_ALIGNMENT, GGMLQuantizationType, GGUFValueType

from agentkit_server.errors import ConversionError
from agentkit_server.models.gguf_header import MAGIC

Metadata = Mapping[str, Any]
"""Key -> str, bool, int (unsigned, 32 bits), float (32 bits), or a non-empty list of one of these, in which
whole numbers are signed."""

_VERSION = 3
_SIZES = {GGMLQuantizationType.F32: 4, GGMLQuantizationType.F16: 2, GGMLQuantizationType.BF16: 2}
_NUMBERS: dict[type, tuple[GGUFValueType, str]] = {
    bool: (GGUFValueType.BOOL, "?"),
    float: (GGUFValueType.FLOAT32, "f"),
}


class Sink(Protocol):
    """A file, or a blob on its way into the store."""

    def write(self, data: bytes, /) -> object: ...


@contextmanager
def sink_of(target: Sink | Path) -> Generator[Sink]:
    """What is given, or the file at a path."""
    if isinstance(target, Path):
        with target.open("wb") as file:
            yield file
    else:
        yield target


@dataclass(frozen=True)
class Tensor:
    """One tensor of the file. `shape` as numpy has it: the last dimension is the contiguous one."""

    name: str
    type: GGMLQuantizationType
    shape: tuple[int, ...]

    @property
    def size(self) -> int:
        """Bytes, without padding."""
        return math.prod(self.shape) * _SIZES[self.type]


def header(metadata: Metadata, tensors: Sequence[Tensor]) -> bytes:
    """Everything before the tensor data, which follows in the same order, each tensor padded by `padding`."""
    out = bytearray(MAGIC + struct.pack("<IQQ", _VERSION, len(tensors), len(metadata)))
    for key, value in metadata.items():
        out += _string(key) + _value(value)
    offset = 0
    for tensor in tensors:
        shape = tensor.shape[::-1]
        out += _string(tensor.name) + struct.pack(f"<I{len(shape)}Q", len(shape), *shape)
        out += struct.pack("<IQ", int(tensor.type), offset)
        offset += tensor.size + len(padding(tensor.size))
    return bytes(out) + padding(len(out))


def padding(size: int) -> bytes:
    """The zeros after `size` bytes."""
    return bytes(-size % GGUF_DEFAULT_ALIGNMENT)


def _string(text: str) -> bytes:
    try:
        data = text.encode("utf-8")
    except UnicodeEncodeError as error:
        around = text[max(0, error.start - 20) : error.end + 20]
        raise ConversionError(f"half a character is in {around!r}, which no GGUF can hold") from None
    return struct.pack("<Q", len(data)) + data


def _value(value: Any) -> bytes:
    if isinstance(value, list):
        return _array(cast("list[Any]", value))
    if isinstance(value, str):
        return struct.pack("<I", GGUFValueType.STRING) + _string(value)
    kind, code = _packing(value, (GGUFValueType.UINT32, "I"))
    return struct.pack(f"<I{code}", kind, value)


def _packing(value: object, whole: tuple[GGUFValueType, str]) -> tuple[GGUFValueType, str]:
    return _NUMBERS.get(type(value), whole)


def _array(values: list[Any]) -> bytes:
    if isinstance(values[0], str):
        head = struct.pack("<IIQ", GGUFValueType.ARRAY, GGUFValueType.STRING, len(values))
        return head + b"".join(map(_string, values))
    kind, code = _packing(values[0], (GGUFValueType.INT32, "i"))
    return struct.pack(f"<IIQ{len(values)}{code}", GGUFValueType.ARRAY, kind, len(values), *values)
