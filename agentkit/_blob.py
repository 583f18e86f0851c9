"""Files that are uploaded as blobs: read once to know their digest, and once to be sent.

Whoever waits is told how far it is: "hashing" or "uploading", bytes done, and bytes in all.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Generator, Iterator
from contextlib import aclosing
from dataclasses import dataclass
from os import PathLike
from pathlib import Path

from agentkit._errors import RequestError

BlobProgress = Callable[[str, int, int], None]
_PIECE = 1 << 20


@dataclass(frozen=True)
class BlobFile:
    """A file of `size` bytes. Reading it raises RequestError when it has another length by then."""

    path: Path
    size: int
    progress: BlobProgress | None = None

    @classmethod
    def at(cls, path: str | PathLike[str], progress: BlobProgress | None) -> BlobFile:
        """The file as it is now."""
        return cls(Path(path), os.stat(path).st_size, progress)

    @property
    def headers(self) -> dict[str, str]:
        """Headers of the request that sends it."""
        return {"Content-Length": str(self.size), "Content-Type": "application/octet-stream"}

    def digest(self) -> str:
        """`sha256:` and the hex digest of its bytes."""
        digest = hashlib.sha256()
        for piece in self.pieces("hashing"):
            digest.update(piece)
        return f"sha256:{digest.hexdigest()}"

    async def async_digest(self) -> str:
        """As `digest`, without blocking the event loop."""
        import asyncio

        digest = hashlib.sha256()
        async with aclosing(self.async_pieces("hashing")) as pieces:
            async for piece in pieces:
                await asyncio.to_thread(digest.update, piece)
        return f"sha256:{digest.hexdigest()}"

    def pieces(self, doing: str) -> Generator[bytes, None, None]:
        """Its bytes in order."""
        done = 0
        with self.path.open("rb") as file:
            while piece := file.read(_PIECE):
                done += len(piece)
                self._check(done <= self.size)
                yield piece
                self._tell(doing, done)
        self._check(done == self.size)

    async def async_pieces(self, doing: str) -> AsyncGenerator[bytes, None]:
        """As `pieces`, without blocking the event loop."""
        import asyncio

        done = 0
        with await asyncio.to_thread(self.path.open, "rb") as file:
            while piece := await asyncio.to_thread(file.read, _PIECE):
                done += len(piece)
                self._check(done <= self.size)
                yield piece
                self._tell(doing, done)
        self._check(done == self.size)

    def _tell(self, doing: str, done: int) -> None:
        if self.progress is not None:
            self.progress(doing, done, self.size)

    def _check(self, as_long: bool) -> None:
        if not as_long:
            raise RequestError(
                f"{str(self.path)!r} has changed while it was read", hint="try again when it is complete"
            )


@dataclass(frozen=True)
class Upload:
    """What a request sends: the file from its beginning, again after a redirect."""

    file: BlobFile

    def __iter__(self) -> Iterator[bytes]:
        return self.file.pieces("uploading")


@dataclass(frozen=True)
class AsyncUpload:
    """As `Upload`, without blocking the event loop."""

    file: BlobFile

    def __aiter__(self) -> AsyncIterator[bytes]:
        return self.file.async_pieces("uploading")
