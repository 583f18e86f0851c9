"""Files that are uploaded as blobs: read once to know their digest, and once to be sent."""

from __future__ import annotations

import hashlib
from collections.abc import AsyncIterator
from os import PathLike
from pathlib import Path

_PIECE = 1 << 20


def file_digest(path: str | PathLike[str]) -> str:
    """`sha256:` and the hex digest of the file's bytes."""
    with Path(path).open("rb") as file:
        return f"sha256:{hashlib.file_digest(file, 'sha256').hexdigest()}"


async def pieces(path: str | PathLike[str]) -> AsyncIterator[bytes]:
    """The file's bytes in order, read without blocking the event loop."""
    import asyncio

    with await asyncio.to_thread(Path(path).open, "rb") as file:
        while piece := await asyncio.to_thread(file.read, _PIECE):
            yield piece
