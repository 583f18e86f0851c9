"""One file on its way from a server to the disk: in parts, over several connections, from where an earlier
try ended.

What arrives is not trusted here: whoever runs a transfer compares the digest before anybody sees the content.
A server that knows no ranges is read in one piece, and again from the start when that breaks.
"""

from __future__ import annotations

import re
import time
from collections.abc import AsyncGenerator, Callable
from contextlib import AbstractAsyncContextManager, aclosing
from typing import TypeAlias

import httpx
from anyio import to_thread

from agentkit_server.errors import RegistryError
from agentkit_server.models.partials import Part, Partial
from agentkit_server.models.registry.exchange import retried
from agentkit_server.models.registry.options import TransferOptions
from agentkit_server.models.registry.streams import Streams

Opener: TypeAlias = Callable[[int | None, int | None], AbstractAsyncContextManager[httpx.Response]]
"""Asks for the bytes from one position to another, both counted in; None = the whole file."""

WRITE_BYTES = 1 << 20
WRITE_SECONDS = 0.5
"""What came is written after so many bytes, or so long: on a slow line progress is seen all the same."""
PROGRESS_BYTES = 1 << 20
"""A connection that brought this much before it broke does not count as a failed try."""
_PARTS = 64
_LONGEST_PART = 1 << 30
RANGE = re.compile(r"bytes (\d{1,19})-\d{1,19}/(\d{1,19}|\*)", re.ASCII)
"""What `Content-Range` says: the first byte, and the size of the whole file."""


class Transfer:
    """Fills a partial download. `what` names it in errors."""

    def __init__(self, open_range: Opener, partial: Partial, options: TransferOptions, what: str) -> None:
        self._open = open_range
        self._partial = partial
        self._options = options
        self._what = what
        self._streams = Streams(options.streams, self._bring)

    async def run(self) -> AsyncGenerator[int]:
        """Fetch what is missing; yields the bytes that are there. Raises RegistryError and OSError."""
        async with aclosing(self._streams.run(self._missing)) as changes:
            async for _ in changes:
                yield self._partial.done

    # --- within -----------------------------------------------------------------------------------

    async def _missing(self) -> list[Part]:
        await self._plan()
        return [part for part in self._partial.parts if part.left]

    async def _plan(self) -> None:
        partial = self._partial
        partial.plan(min(max(partial.size // _PARTS, self._options.part_bytes), _LONGEST_PART))
        if len(partial.parts) > 1 and not await retried(self._has_ranges, self._options.patience):
            await to_thread.run_sync(partial.reset, partial.size)

    async def _has_ranges(self) -> bool:
        async with self._open(0, 0) as response:
            self._check(response, 0)
            return response.status_code == 206

    async def _bring(self, part: Part) -> None:
        patience, failures = self._options.patience, 0
        while part.left:
            before = part.done
            try:
                await self._read(part)
            except RegistryError as error:
                failures = 1 if part.done - before >= PROGRESS_BYTES else failures + 1
                if not error.transient:
                    raise
                if failures >= patience.tries:
                    raise RegistryError(
                        f"{error.message}; given up after {failures} tries, and what came is kept: the next "
                        f"pull goes on from there",
                        answered=error.answered,
                    ) from None
                await patience.sleep(patience.pause(failures, error.retry_after))

    async def _read(self, part: Part) -> None:
        """One connection's share of a part."""
        whole = len(self._partial.parts) == 1
        wanted = (None, None) if whole and not part.done else (part.position, part.stop - 1)
        async with self._open(*wanted) as response:
            if response.status_code != 206:
                if not whole:
                    raise RegistryError(
                        f"{self._what}: the server gives the whole file where a part was asked for"
                    )
                part.done = 0
            self._check(response, part.position)
            buffer, write_at = bytearray(), time.monotonic() + WRITE_SECONDS
            try:
                async for chunk in response.aiter_raw():
                    await self._options.pace.spend(len(chunk))
                    buffer += chunk[: part.left - len(buffer)]
                    full = len(buffer) >= min(WRITE_BYTES, part.left)
                    if full or time.monotonic() >= write_at:
                        await self._write(part, buffer)
                        write_at = time.monotonic() + WRITE_SECONDS
                    if not part.left:
                        return
            except httpx.HTTPError:
                await self._write(part, buffer)
                raise
            await self._write(part, buffer)
        raise RegistryError(f"{self._what}: the server stopped {part.left} bytes too early", transient=True)

    async def _write(self, part: Part, buffer: bytearray) -> None:
        if buffer:
            await to_thread.run_sync(self._partial.write, part, bytes(buffer))
            buffer.clear()
            self._streams.wake()

    def _check(self, response: httpx.Response, start: int) -> None:
        """The server must mean the same file, and the bytes that were asked for."""
        size = self._partial.size
        if response.status_code == 206:
            stated = response.headers.get("content-range", "")
            match = RANGE.fullmatch(stated)
            right = match is not None and int(match[1]) == start and match[2] in ("*", str(size))
        else:
            stated = response.headers.get("content-length", str(size))
            right = stated == str(size)
        if not right:
            raise RegistryError(
                f"{self._what}: the server offers {stated!r:.100} where bytes from {start} of {size} were "
                f"asked for; manifest and file do not belong together, or the server is at fault"
            )
