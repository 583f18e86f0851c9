"""GGUF files: `read_gguf` gives the facts that the rest of the server asks of a model file.

A file that is hostile, damaged or no model raises InvalidGGUF, and nothing else. A split model is read
through its first shard.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal, cast

from gguf.constants import LlamaFileType, PoolingType

from agentkit_server.errors import InvalidGGUF
from agentkit_server.models.gguf_header import Header, read_header
from agentkit_server.models.model import GGUFInfo, TensorInfo

PoolingName = Literal["none", "mean", "cls", "last", "rank"]

_SHARD = re.compile(r"(?P<stem>.+)-(?P<number>\d{5})-of-(?P<count>\d{5})\.gguf", re.DOTALL)
_MAX_LENGTH = 1 << 31
_MAX_BLOCKS = 1 << 16
_GUESSED = int(LlamaFileType.GUESSED)
_FILE_TYPES = {
    int(kind): kind.name.removeprefix("MOSTLY_").removeprefix("ALL_").removesuffix("_MOE")
    for kind in LlamaFileType
}


def shard_paths(path: Path) -> tuple[Path, ...]:
    """Every file of the model at `path`: the file itself, or all shards when it is the first of several.

    Raises InvalidGGUF for a later shard and for missing ones.
    """
    match = _SHARD.fullmatch(path.name)
    if match is None:
        return (path,)
    count = int(match["count"])
    if int(match["number"]) != 1:
        first = f"{match['stem']}-00001-of-{match['count']}.gguf"
        raise InvalidGGUF(f"{str(path)!r} is a later shard of a split model; give the first, {first!r}")
    paths = tuple(
        path.with_name(f"{match['stem']}-{number:05}-of-{match['count']}.gguf")
        for number in range(1, count + 1)
    )
    missing = next((shard for shard in paths if not shard.is_file()), None)
    if missing is not None:
        raise InvalidGGUF(f"the shard {str(missing)!r} is missing; all {count} must be in one folder")
    return paths


def read_gguf(path: Path) -> GGUFInfo:
    """Read a model file, or the first shard of a split one. Sizes and counts are of the whole model.

    Raises InvalidGGUF.
    """
    return gguf_of(path, [read_header(shard) for shard in shard_paths(path)])


def gguf_of(path: Path, headers: Sequence[Header]) -> GGUFInfo:
    """What the headers of a model say, which are read: of its one file, or of all shards in order.

    Raises InvalidGGUF.
    """
    facts = _Facts(path, headers[0].metadata)
    tensors = tuple(tensor for header in headers for tensor in header.tensors)
    blocks = facts.length("block_count", _MAX_BLOCKS)
    embedding, heads = facts.length("embedding_length"), facts.lengths("attention.head_count")
    head_count = max(heads, default=0)
    heads_kv = facts.lengths("attention.head_count_kv") or heads
    per_head = embedding // head_count if head_count else 0
    return GGUFInfo(
        metadata=facts.metadata,
        tensors=tensors,
        file_size=sum(header.file_size for header in headers),
        architecture=facts.architecture,
        parameter_count=facts.number("general.parameter_count")
        or sum(header.parameter_count for header in headers),
        quantization=facts.quantization(tensors),
        context_length=facts.length("context_length"),
        embedding_length=embedding,
        block_count=blocks,
        head_count=head_count,
        head_count_kv=heads_kv * blocks if len(heads_kv) == 1 else heads_kv,
        key_length=facts.length("attention.key_length") or per_head,
        value_length=facts.length("attention.value_length") or per_head,
        pooling=facts.pooling(),
        chat_template=facts.text("tokenizer.chat_template"),
        vocab_size=facts.length("vocab_size") or facts.count("tokenizer.ggml.tokens"),
    )


class _Facts:
    """Typed access to metadata; a key of the wrong type is InvalidGGUF."""

    def __init__(self, path: Path, metadata: dict[str, Any]) -> None:
        self.path = path
        self.metadata = metadata
        self.architecture = self.text("general.architecture") or ""
        if not self.architecture:
            raise InvalidGGUF(f"{str(path)!r} has no general.architecture, so it is no model file")

    def _wrong(self, key: str, expected: str) -> InvalidGGUF:
        return InvalidGGUF(
            f"{str(self.path)!r} has {key} = {self.metadata[key]!r:.80} where {expected} belongs"
        )

    def text(self, key: str) -> str | None:
        value = self.metadata.get(key)
        if value is not None and not isinstance(value, str):
            raise self._wrong(key, "a string")
        return value

    def number(self, key: str, most: int = 1 << 60) -> int:
        value = self.metadata.get(key, 0)
        if not _is_count(value, most):
            raise self._wrong(key, f"a whole number up to {most}")
        return value

    def length(self, name: str, most: int = _MAX_LENGTH) -> int:
        return self.number(f"{self.architecture}.{name}", most)

    def lengths(self, name: str) -> tuple[int, ...]:
        """A number, or one number for each block."""
        key = f"{self.architecture}.{name}"
        value = self.metadata.get(key)
        if not isinstance(value, list):
            return () if value is None else (self.number(key, _MAX_LENGTH),)
        counts = cast("list[Any]", value)
        if not all(_is_count(count, _MAX_LENGTH) for count in counts):
            raise self._wrong(key, "a list of whole numbers")
        return tuple(counts)

    def count(self, key: str) -> int:
        value = self.metadata.get(key)
        return len(cast("Sequence[Any]", value)) if isinstance(value, Sequence) else 0

    def pooling(self) -> PoolingName | None:
        key = f"{self.architecture}.pooling_type"
        if key not in self.metadata:
            return None
        value = self.number(key, len(PoolingType) - 1)
        return cast("PoolingName", PoolingType(value).name.lower())

    def quantization(self, tensors: Sequence[TensorInfo]) -> str:
        """The file type as llama.cpp names it, else the type of most weights."""
        if "general.file_type" in self.metadata:
            name = _FILE_TYPES.get(self.number("general.file_type") & ~_GUESSED)
            if name is not None:
                return name
        types = Counter(tensor.type for tensor in tensors if len(tensor.shape) > 1)
        return types.most_common(1)[0][0] if types else "unknown"


def _is_count(value: Any, most: int) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and 0 <= value <= most
