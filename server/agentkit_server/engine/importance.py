"""Importance matrices: how much each column of a tensor matters, as llama.cpp's llama-imatrix measured it.

Reads its GGUF files and the binary files (.dat) that it wrote before. Both are untrusted: whatever is wrong
with one is an InvalidImportance, and no more is read than the file holds.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float32]

MAX_ENTRIES = 100_000
_SUMS, _COUNTS = ".in_sum2", ".counts"


class InvalidImportance(Exception):
    """The file is no importance matrix, or not a whole one."""


@dataclass(frozen=True)
class Importance:
    """Mean squared activations by tensor name, one for each column (of each expert)."""

    entries: dict[str, Floats]
    dataset: str
    """What it was measured on, "" = the file does not say."""
    chunks: int
    """How many pieces of text it was measured on, 0 = the file does not say."""


def read_importance(path: Path) -> Importance:
    """Raises InvalidImportance."""
    try:
        with path.open("rb") as file:
            importance = _read_gguf(path) if file.read(4) == b"GGUF" else _read_old(file)
    except InvalidImportance:
        raise
    # The reader of GGUF files trusts its input, and fails on others in whatever way it comes to.
    except Exception as error:
        raise InvalidImportance(f"it is no importance matrix, or is damaged: {error}") from None
    if not importance.entries:
        raise InvalidImportance("it has no entries")
    for name, values in importance.entries.items():
        if not np.isfinite(values).all():
            raise InvalidImportance(f"the values of {name!r} are not all finite")
    return importance


def _read_old(file: BinaryIO) -> Importance:
    """A count; for each entry a name, how many calls were summed, and the sums; then calls and data set."""
    size = file.seek(0, 2)
    file.seek(0)
    count = _int32(file)
    if not 0 < count <= MAX_ENTRIES:
        raise InvalidImportance(f"it is neither GGUF nor a list of entries (it states {count} of them)")
    entries: dict[str, Floats] = {}
    for _ in range(count):
        name = _text(file)
        calls, length = _int32(file), _int32(file)
        if length < 1 or length * 4 > size - file.tell():
            raise InvalidImportance(f"it states {length} values for {name!r}, more than it holds")
        sums = np.frombuffer(file.read(length * 4), np.float32)
        entries[name] = np.ascontiguousarray(sums / np.float32(calls if calls > 0 else 1))
    if file.tell() == size:
        return Importance(entries, "", 0)
    chunks = _int32(file)
    return Importance(entries, "" if file.tell() == size else _text(file), chunks)


def _int32(file: BinaryIO) -> int:
    return struct.unpack("<i", file.read(4))[0]


def _text(file: BinaryIO) -> str:
    length = _int32(file)
    if not 0 <= length <= 1 << 16:
        raise InvalidImportance(f"it states a name of {length} bytes")
    return file.read(length).decode("utf-8", "replace")


def _read_gguf(path: Path) -> Importance:
    # Half of the time that it takes to start, and most models are quantised without.
    from gguf import GGMLQuantizationType, GGUFReader

    reader = GGUFReader(path)
    sums: dict[str, Floats] = {}
    counts: dict[str, Floats] = {}
    for tensor in reader.tensors:
        for suffix, found in ((_SUMS, sums), (_COUNTS, counts)):
            if tensor.name.endswith(suffix):
                if tensor.tensor_type != GGMLQuantizationType.F32:
                    raise InvalidImportance(f"{tensor.name!r} is not of type F32")
                found[tensor.name.removesuffix(suffix)] = np.asarray(tensor.data, np.float32).reshape(-1)
    if sums.keys() != counts.keys():
        odd = min(sums.keys() ^ counts.keys())
        raise InvalidImportance(f"it has sums or counts of {odd!r}, and not both")
    entries = {name: _means(name, values, counts[name]) for name, values in sums.items()}
    datasets = reader.get_field("imatrix.datasets")
    chunks = reader.get_field("imatrix.chunk_count")
    names: Any = datasets.contents() if datasets is not None else []
    return Importance(
        entries,
        str(names[0]) if isinstance(names, list) and names else "",  # pyright: ignore[reportUnknownArgumentType]
        int(chunks.contents()) if chunks is not None else 0,
    )


def _means(name: str, sums: Floats, counts: Floats) -> Floats:
    """Sums of each expert by how often it was asked; 1 for those that never were."""
    if not len(counts) or len(sums) % len(counts):
        raise InvalidImportance(f"{name!r} has {len(sums)} sums and {len(counts)} counts")
    rows, asked = sums.reshape(len(counts), -1), np.rint(counts).reshape(-1, 1)
    means = np.where(asked > 0, rows / np.where(asked > 0, asked, 1), np.float32(1))
    return np.ascontiguousarray(means.reshape(-1), np.float32)
