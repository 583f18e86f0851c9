"""Safetensors files: their headers, read with bounds and checked against the size of the file, and their
tensors, a piece at a time.

The format: eight bytes with the length of the header, a JSON object that gives each tensor's type, shape
and place, and the data without gaps. Nothing is mapped: a mapped file that shrinks kills the process.
"""

from __future__ import annotations

import json
import math
import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO, cast

import numpy as np
import numpy.typing as npt

from agentkit_server.errors import ConversionError
from agentkit_server.models.convert.files import Fields, Files, decoded, is_count, read_object

SUFFIX = ".safetensors"
INDEX = "model.safetensors.index.json"
PIECE = 4 << 20
"""Elements that are read at once."""
MAX_HEADER_BYTES = 16 << 20
MAX_TENSORS = 100_000
MAX_DIMENSIONS = 8
_MAX_ELEMENTS = 1 << 48
_MAX_FILES = 10_000

_BITS = {
    **dict.fromkeys(("BOOL", "U8", "I8", "F8_E4M3", "F8_E5M2", "F8_E8M0", "F8_E4M3FNUZ", "F8_E5M2FNUZ"), 8),
    **dict.fromkeys(("U16", "I16", "F16", "BF16"), 16),
    **dict.fromkeys(("U32", "I32", "F32"), 32),
    **dict.fromkeys(("U64", "I64", "F64", "C64"), 64),
}
_READ_AS = {"F32": "<f4", "F16": "<f2", "BF16": "<u2"}
"""Types that are converted, as numpy reads them. numpy has no bfloat16: its bits are kept as numbers."""

Array = npt.NDArray[Any]


@dataclass(frozen=True)
class Stored:
    """One tensor as its file states it."""

    name: str
    dtype: str
    shape: tuple[int, ...]
    file: str
    """Name of its file in the folder."""
    offset: int
    """Bytes from the beginning of the file."""

    @property
    def elements(self) -> int:
        return math.prod(self.shape)

    @property
    def size(self) -> int:
        """Bytes in its file."""
        return self.elements * _BITS[self.dtype] // 8

    @property
    def readable(self) -> str:
        """`dtype`, where it is one that is converted. Raises ConversionError."""
        if self.dtype in _READ_AS:
            return self.dtype
        why = "; give the weights as they were before" if self.dtype.startswith("F8") else ""
        raise ConversionError(
            f"the tensor {self.name!r} in {self.file!r} has the type {self.dtype}; F32, F16 and BF16 can be "
            f"imported{why}"
        )


class Checkpoint:
    """All tensors of a model, of one file or of the shards that an index names. A context manager."""

    def __init__(self, files: Files, names: list[str]) -> None:
        self.tensors: dict[str, Stored] = {}
        self._files = files
        self._open: tuple[str, BinaryIO] | None = None
        for name in names:
            self._add(name)

    def __enter__(self) -> Checkpoint:
        return self

    def __exit__(self, *_: object) -> None:
        if self._open is not None:
            self._open[1].close()

    def _add(self, name: str) -> None:
        with _opened(name, self._files[name]) as file:
            tensors = read_header(name, file)
        for tensor in tensors:
            if tensor.name in self.tensors:
                other = self.tensors[tensor.name].file
                raise ConversionError(f"the tensor {tensor.name!r} is both in {other!r} and in {name!r}")
            self.tensors[tensor.name] = tensor
        if len(self.tensors) > MAX_TENSORS:
            raise ConversionError(f"the model has more than {MAX_TENSORS} tensors")

    def pieces(self, tensor: Stored) -> Iterator[Array]:
        """The tensor from its first element to its last, flat, at most PIECE elements at a time."""
        for start in range(0, tensor.elements, PIECE):
            yield self._read(tensor, start, min(PIECE, tensor.elements - start))

    def whole(self, tensor: Stored) -> Array:
        """The tensor in its shape."""
        return self._read(tensor, 0, tensor.elements).reshape(tensor.shape)

    def _read(self, tensor: Stored, start: int, count: int) -> Array:
        dtype = np.dtype(_READ_AS[tensor.readable])
        file = self._file(tensor.file)
        try:
            file.seek(tensor.offset + start * dtype.itemsize)
            data = file.read(count * dtype.itemsize)
        except OSError as error:
            raise ConversionError(f"{tensor.file!r} cannot be read: {error.strerror or error}") from None
        if len(data) != count * dtype.itemsize:
            raise ConversionError(f"{tensor.file!r} became shorter while it was read")
        return np.frombuffer(data, dtype)

    def _file(self, name: str) -> BinaryIO:
        """One is open at a time: models have more shards than a process may have files."""
        if self._open is None or self._open[0] != name:
            self.__exit__()
            self._open = (name, _opened(name, self._files[name]))
        return self._open[1]


def checkpoint(files: Files) -> Checkpoint:
    """The checkpoint of a folder. Raises ConversionError when it is none, or not whole."""
    index = read_object(files, INDEX)
    if index is not None:
        return _sharded(files, index)
    names = [name for name in files if name.endswith(SUFFIX) and "/" not in name]
    if "model.safetensors" in names:
        names = ["model.safetensors"]
    if len(names) != 1:
        found = ", ".join(sorted(map(repr, names))[:5]) or "none"
        raise ConversionError(
            f"a folder must have one {SUFFIX} file, or {INDEX!r} that says which belong together; found "
            f"{found}"
        )
    return Checkpoint(files, names)


def _sharded(files: Files, index: Fields) -> Checkpoint:
    places = index.object("weight_map")
    if places is None:
        raise ConversionError(f"{INDEX!r} has no weight_map")
    names = sorted({str(name) for name in places.values.values()})
    if len(names) > _MAX_FILES:
        raise ConversionError(f"{INDEX!r} names {len(names)} files; at most {_MAX_FILES} are read")
    missing = [name for name in names if name not in files]
    if missing:
        raise ConversionError(f"{INDEX!r} names {missing[0]!r}, which is not in the folder")
    found = Checkpoint(files, names)
    for tensor, name in places.values.items():
        if tensor not in found.tensors or found.tensors[tensor].file != name:
            raise ConversionError(f"{INDEX!r} says that {tensor!r} is in {name!r}; it is not")
    return found


def _opened(name: str, path: Path) -> BinaryIO:
    try:
        # A named pipe or a device would block or never end.
        if not path.is_file():
            raise ConversionError(f"{name!r} is not a file")
        return path.open("rb")
    except OSError as error:
        raise ConversionError(f"{name!r} cannot be opened: {error.strerror or error}") from None


def read_header(name: str, file: BinaryIO) -> list[Stored]:
    """Every tensor of one file, in the order of its data. Raises ConversionError."""
    size = os.fstat(file.fileno()).st_size
    length = int.from_bytes(file.read(8), "little")
    if size < 8 or length > size - 8:
        raise ConversionError(
            f"{name!r} is no safetensors file, or is cut short: it has {size} bytes and states a header "
            f"of {length}"
        )
    if length > MAX_HEADER_BYTES:
        raise ConversionError(
            f"{name!r} states a header of {length} bytes; at most {MAX_HEADER_BYTES} are read"
        )
    entries = _entries(name, file.read(length))
    if len(entries) > MAX_TENSORS:
        raise ConversionError(f"{name!r} has {len(entries)} tensors; at most {MAX_TENSORS} are read")
    placed = sorted((_tensor(name, tensor, entry) for tensor, entry in entries.items()), key=_place)
    end = 0
    for begin, after, tensor in placed:
        if begin != end:
            raise ConversionError(
                f"{name!r}: the data of {tensor.name!r} begins at {begin} where {end} is expected, so "
                f"tensors overlap or have gaps between them"
            )
        end = after
    if 8 + length + end != size:
        raise ConversionError(
            f"{name!r} has {size} bytes where its header describes {8 + length + end}; fetch it again"
        )
    start = 8 + length
    return [Stored(t.name, t.dtype, t.shape, name, start + begin) for begin, _, t in placed]


def _place(placed: tuple[int, int, Stored]) -> tuple[int, int]:
    return placed[0], placed[1]


def _entries(name: str, header: bytes) -> dict[str, Any]:
    def unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        if len(pairs) != len(dict(pairs)):
            raise ConversionError(f"{name!r} has a key twice in its header")
        return dict(pairs)

    try:
        entries = json.loads(decoded(name, header), object_pairs_hook=unique)
    except (ValueError, RecursionError) as error:
        raise ConversionError(f"the header of {name!r} is no JSON: {error}") from None
    if not isinstance(entries, dict):
        raise ConversionError(f"the header of {name!r} is no JSON object")
    entries = cast("dict[str, Any]", entries)
    entries.pop("__metadata__", None)
    return entries


def _tensor(file: str, name: str, entry: Any) -> tuple[int, int, Stored]:
    """One tensor, and where its data begins and ends."""
    fields = Fields.of(entry, f"{file!r}: tensor {name!r:.80}")
    dtype, shape, offsets = fields.text("dtype"), fields.list("shape"), fields.list("data_offsets")
    if dtype not in _BITS:
        raise ConversionError(f"{fields.where} has the type {dtype!r}, which is not known")
    if len(shape) > MAX_DIMENSIONS or not all(map(is_count, shape)) or math.prod(shape) > _MAX_ELEMENTS:
        raise ConversionError(f"{fields.where} has the shape {shape!r:.80}, which is impossible")
    if len(offsets) != 2 or not all(
        isinstance(o, int) and not isinstance(o, bool) and o >= 0 for o in offsets
    ):
        raise ConversionError(f"{fields.where} has data_offsets {offsets!r:.80}; two numbers are expected")
    begin, end = cast("list[int]", offsets)
    needed = math.prod(shape) * _BITS[dtype] // 8
    if end - begin != needed:
        raise ConversionError(
            f"{fields.where} has {end - begin} bytes of data where its shape {shape!r} needs {needed}"
        )
    return begin, end, Stored(name, dtype, tuple(shape), file, begin)
