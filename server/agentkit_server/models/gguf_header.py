"""The header of a GGUF file, read with bounds: a hostile file costs a few seconds and a few hundred
megabytes at the very worst, and every way of being wrong is InvalidGGUF.

The file is read, never mapped: a mapped file that shrinks kills the process. The reader of the `gguf`
package trusts its input and takes seconds for a large vocabulary, so only its constants are used.
"""

from __future__ import annotations

import math
import struct
from collections.abc import Generator, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO, overload

from gguf.constants import GGML_QUANT_SIZES, GGUF_DEFAULT_ALIGNMENT, GGMLQuantizationType, GGUFValueType

from agentkit_server.errors import InvalidGGUF
from agentkit_server.models.model import TensorInfo

MAGIC = b"GGUF"
VERSIONS = (2, 3)
MAX_TENSORS = 100_000
MAX_KEYS = 100_000
MAX_KEY_BYTES = 65_535
MAX_NAME_BYTES = 255
MAX_STRING_BYTES = 16 << 20
MAX_ELEMENTS = 8 << 20
"""Array elements of the whole file; the largest vocabularies have a few hundred thousand."""
MAX_HEADER_BYTES = 128 << 20
MAX_DIMENSIONS = 4
MAX_TENSOR_ELEMENTS = 1 << 60
LONG_ARRAY = 1024
"""Arrays with more elements stay in the file until somebody reads them."""
_REMEMBERED = 256
"""Single elements that an array remembers."""

_SCALARS = {
    GGUFValueType.UINT8: "B",
    GGUFValueType.INT8: "b",
    GGUFValueType.UINT16: "H",
    GGUFValueType.INT16: "h",
    GGUFValueType.UINT32: "I",
    GGUFValueType.INT32: "i",
    GGUFValueType.UINT64: "Q",
    GGUFValueType.INT64: "q",
    GGUFValueType.FLOAT32: "f",
    GGUFValueType.FLOAT64: "d",
    GGUFValueType.BOOL: "?",
}


@dataclass(frozen=True)
class Header:
    """Everything before the tensor data, checked against the size of the file."""

    metadata: dict[str, Any]
    tensors: tuple[TensorInfo, ...]
    parameter_count: int
    file_size: int
    kinds: dict[str, GGUFValueType]
    """How each value of the metadata is stored."""


class LongArray(Sequence[Any]):
    """A long array (vocabulary, merges, scores) that stays in its file: each pass over it reads it again,
    and single elements (special tokens) are remembered.

    Raises InvalidGGUF when the file has changed since its header was read.
    """

    def __init__(self, path: Path, offset: int, count: int, element: GGUFValueType, order: str) -> None:
        self._path = path
        self._offset = offset
        self._count = count
        self._element = element
        self._order = order
        self._known: dict[int, Any] = {}

    def __len__(self) -> int:
        return self._count

    @overload
    def __getitem__(self, index: int) -> Any: ...
    @overload
    def __getitem__(self, index: slice) -> list[Any]: ...
    def __getitem__(self, index: int | slice) -> Any:
        if isinstance(index, slice):
            first, last, step = index.indices(self._count)
            if step != 1:
                return self._read(0, self._count)[index]
            return self._read(first, max(last - first, 0))
        position = range(self._count)[index]
        if position not in self._known:
            (value,) = self._read(position, 1)
            if len(self._known) >= _REMEMBERED:
                self._known.clear()
            self._known[position] = value
        return self._known[position]

    def __iter__(self) -> Iterator[Any]:
        return iter(self._read(0, self._count))

    def __repr__(self) -> str:
        return f"<{self._count} values of type {self._element.name}>"

    def _read(self, first: int, count: int) -> list[Any]:
        with open_gguf(self._path) as file, _readable(self._path):
            cursor = Cursor(file, self._path, self._order)
            cursor.skip(self._offset)
            cursor.skip_elements(self._element, first)
            return cursor.elements(self._element, count)


class Cursor:
    """Reads values one after the other and refuses to leave the file or the bounds."""

    def __init__(self, file: BinaryIO, path: Path, order: str = "<") -> None:
        self.order = order
        self.position = 0
        self.path = path
        self.size = file.seek(0, 2)
        file.seek(0)
        self._file = file
        self._length = struct.Struct(f"{order}Q")
        self._elements_left = MAX_ELEMENTS

    def fail(self, what: str) -> InvalidGGUF:
        return InvalidGGUF(f"{str(self.path)!r} is not a usable GGUF file: {what}")

    def take(self, count: int) -> bytes:
        self._advance(count)
        data = self._file.read(count)
        if len(data) != count:
            raise self._cut_short()
        return data

    def skip(self, count: int) -> None:
        self._advance(count)
        self._file.seek(count, 1)

    def _advance(self, count: int) -> None:
        self.position += count
        if self.position > self.size:
            raise self._cut_short()
        if self.position > MAX_HEADER_BYTES:
            raise self.fail(f"its header is longer than {MAX_HEADER_BYTES} bytes")

    def _cut_short(self) -> InvalidGGUF:
        return self.fail(
            f"it is cut short inside its header, which needs {self.position} bytes where the file has "
            f"{self.size}; fetch it again"
        )

    def scalar(self, kind: GGUFValueType) -> Any:
        code = f"{self.order}{_SCALARS[kind]}"
        return struct.unpack(code, self.take(struct.calcsize(code)))[0]

    def uint32(self) -> int:
        return self.scalar(GGUFValueType.UINT32)

    def uint64(self) -> int:
        return self.scalar(GGUFValueType.UINT64)

    def string(self, limit: int = MAX_STRING_BYTES) -> str:
        (count,) = self._length.unpack(self.take(8))
        if count > limit:
            raise self.fail(f"it states a string of {count} bytes at byte {self.position}, more than {limit}")
        # Vocabularies exist whose tokens are halves of characters.
        return self.take(count).decode("utf-8", errors="replace")

    def kind(self) -> GGUFValueType:
        number = self.uint32()
        try:
            return GGUFValueType(number)
        except ValueError:
            raise self.fail(f"it has a value of unknown type {number} at byte {self.position}") from None

    def value(self, kind: GGUFValueType) -> Any:
        if kind is GGUFValueType.STRING:
            return self.string()
        return self._array() if kind is GGUFValueType.ARRAY else self.scalar(kind)

    def _array(self) -> list[Any] | LongArray:
        element, count = self.kind(), self.uint64()
        if element is GGUFValueType.ARRAY:
            raise self.fail(f"it has an array of arrays at byte {self.position}, which no model needs")
        if count > self._elements_left:
            raise self.fail(f"it states an array of {count} values; {MAX_ELEMENTS} in all are allowed")
        self._elements_left -= count
        if count <= LONG_ARRAY:
            return self.elements(element, count)
        start = self.position
        self.skip_elements(element, count)
        return LongArray(self.path, start, count, element, self.order)

    def elements(self, element: GGUFValueType, count: int) -> list[Any]:
        """`count` values of one type, which the caller has bounded."""
        if element is GGUFValueType.STRING:
            return [self.string() for _ in range(count)]
        code = f"{self.order}{count}{_SCALARS[element]}"
        return list(struct.unpack(code, self.take(struct.calcsize(code))))

    def skip_elements(self, element: GGUFValueType, count: int) -> None:
        """Pass over `count` values of one type."""
        if element is GGUFValueType.STRING:
            self._skip_strings(count)
        else:
            self.skip(struct.calcsize(f"{self.order}{_SCALARS[element]}") * count)

    def _skip_strings(self, count: int) -> None:
        # Written out because vocabularies and merges run it 100,000 times.
        read, unpack = self._file.read, self._length.unpack
        position, end = self.position, min(self.size, MAX_HEADER_BYTES)
        for _ in range(count):
            position += 8
            if position > end:
                break
            head = read(8)
            if len(head) < 8:
                raise self._cut_short()
            (size,) = unpack(head)
            position += size
            if position > end:
                break
            read(size)
        self._advance(position - self.position)


def open_gguf(path: Path) -> BinaryIO:
    """The file, opened for reading. Raises InvalidGGUF when it cannot be."""
    try:
        # A named pipe or a device would block or never end.
        if not path.is_file():
            raise InvalidGGUF(f"{str(path)!r} is not a file")
        return path.open("rb", buffering=1 << 20)
    except OSError as error:
        raise InvalidGGUF(f"{str(path)!r} cannot be opened: {error.strerror or error}") from None


@contextmanager
def _readable(path: Path) -> Generator[None]:
    """A disk that fails while a file is read makes that file unusable, and no more."""
    try:
        yield
    except OSError as error:
        raise InvalidGGUF(f"{str(path)!r} cannot be read: {error.strerror or error}") from None


def read_header(path: Path) -> Header:
    """Read and check everything before the tensor data. Raises InvalidGGUF."""
    with open_gguf(path) as file, _readable(path):
        cursor = _start(file, path)
        n_tensors, n_keys = cursor.uint64(), cursor.uint64()
        if n_tensors > MAX_TENSORS or n_keys > MAX_KEYS:
            raise cursor.fail(
                f"it states {n_tensors} tensors and {n_keys} keys; {MAX_TENSORS} and {MAX_KEYS} are allowed"
            )
        metadata, kinds = _metadata(cursor, n_keys)
        tensors = _tensors(cursor, n_tensors, _alignment(cursor, metadata))
        elements = sum(math.prod(tensor.shape) for tensor in tensors)
        return Header(metadata, tensors, elements, cursor.size, kinds)


def _start(file: BinaryIO, path: Path) -> Cursor:
    """Check magic and version, and find the byte order."""
    cursor = Cursor(file, path)
    magic = file.read(4)
    if magic != MAGIC:
        raise cursor.fail(f"it begins with {magic!r} where {MAGIC!r} should stand")
    cursor.position = 4
    version = cursor.uint32()
    if version and version & 0xFFFF == 0:
        cursor = Cursor(file, path, ">")
        cursor.skip(4)
        version = cursor.uint32()
    if version not in VERSIONS:
        raise cursor.fail(f"it has GGUF version {version}; versions 2 and 3 are read")
    return cursor


def _metadata(cursor: Cursor, count: int) -> tuple[dict[str, Any], dict[str, GGUFValueType]]:
    metadata: dict[str, Any] = {}
    kinds: dict[str, GGUFValueType] = {}
    for _ in range(count):
        key = cursor.string(MAX_KEY_BYTES)
        if key in metadata:
            raise cursor.fail(f"it has the key {key!r} twice")
        kinds[key] = cursor.kind()
        metadata[key] = cursor.value(kinds[key])
    return metadata, kinds


def _alignment(cursor: Cursor, metadata: dict[str, Any]) -> int:
    alignment = metadata.get("general.alignment", GGUF_DEFAULT_ALIGNMENT)
    if not isinstance(alignment, int) or alignment <= 0 or alignment & (alignment - 1):
        raise cursor.fail(f"general.alignment is {alignment!r}, which is not a power of two")
    return alignment


def _tensors(cursor: Cursor, count: int, alignment: int) -> tuple[TensorInfo, ...]:
    tensors: dict[str, TensorInfo] = {}
    data_bytes = 0
    for _ in range(count):
        tensor, end = _tensor(cursor, alignment)
        if tensor.name in tensors:
            raise cursor.fail(f"it has the tensor {tensor.name!r} twice")
        tensors[tensor.name] = tensor
        data_bytes = max(data_bytes, end)
    needed = -(-cursor.position // alignment) * alignment + data_bytes
    if tensors and needed > cursor.size:
        raise cursor.fail(
            f"it is cut short, with {cursor.size} bytes where its header describes {needed}; fetch it again"
        )
    return tuple(tensors.values())


def _tensor(cursor: Cursor, alignment: int) -> tuple[TensorInfo, int]:
    """One tensor, and where it ends in the tensor data."""
    name = cursor.string(MAX_NAME_BYTES)
    n_dimensions = cursor.uint32()
    if n_dimensions > MAX_DIMENSIONS:
        raise cursor.fail(f"tensor {name!r} has {n_dimensions} dimensions, more than {MAX_DIMENSIONS}")
    shape = tuple(cursor.uint64() for _ in range(n_dimensions))
    number, offset = cursor.uint32(), cursor.uint64()
    try:
        kind = GGMLQuantizationType(number)
    except ValueError:
        raise cursor.fail(f"tensor {name!r} has the type {number}, which this version cannot read") from None
    elements = math.prod(shape)
    block, block_bytes = GGML_QUANT_SIZES[kind]
    if elements > MAX_TENSOR_ELEMENTS or (shape[0] if shape else 1) % block:
        raise cursor.fail(f"tensor {name!r} has the shape {shape!r}, impossible for {kind.name}")
    if offset % alignment:
        raise cursor.fail(f"tensor {name!r} starts at {offset}, no multiple of the alignment {alignment}")
    return TensorInfo(name, kind.name, shape), offset + elements // block * block_bytes
