"""Linked files: a person's own GGUF becomes a model without being copied. Its manifest holds the path,
and the sha256, size and modification time that the file had."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Generator
from pathlib import Path

from agentkit_server.errors import InvalidGGUF
from agentkit_server.models.gguf import shard_paths
from agentkit_server.models.manifest import Layer, layer_type

CHUNK = 8 << 20


def link_layers(path: Path) -> Generator[tuple[int, int], None, tuple[Layer, ...]]:
    """Hash a GGUF file, or all shards of the model whose first shard it is.

    Yields (bytes done, bytes in all) and returns one layer a file. Blocking: each step reads at most
    8 MiB. Raises InvalidGGUF when a file is missing or changes meanwhile.
    """
    paths = shard_paths(path.expanduser().absolute())
    try:
        total = sum(shard.stat().st_size for shard in paths)
        done = 0
        layers: list[Layer] = []
        for shard in paths:
            layer = yield from _layer(shard, done, total)
            layers.append(layer)
            done += layer.size
    except OSError as error:
        raise InvalidGGUF(f"{os.fspath(path)!r} cannot be read: {error.strerror or error}") from None
    return tuple(layers)


def _layer(path: Path, before: int, total: int) -> Generator[tuple[int, int], None, Layer]:
    digest, size = hashlib.sha256(), 0
    with path.open("rb") as file:
        stat = os.fstat(file.fileno())
        while chunk := file.read(CHUNK):
            digest.update(chunk)
            size += len(chunk)
            yield before + size, total
    if size != stat.st_size or path.stat().st_mtime_ns != stat.st_mtime_ns:
        raise InvalidGGUF(f"{os.fspath(path)!r} changed while it was read; try again once it is complete")
    return Layer(
        media_type=layer_type("model"),
        digest=f"sha256:{digest.hexdigest()}",
        size=size,
        path=os.fspath(path),
        modified_ns=stat.st_mtime_ns,
    )
