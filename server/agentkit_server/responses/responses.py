"""The responses of one server: those that are kept, and those that are made in the background."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

from anyio import to_thread

from agentkit_server.responses.background import Background, Run
from agentkit_server.responses.store import Kept, ResponseStore

T = TypeVar("T")


class Responses:
    """A ResponseStore for the event loop, opened when it is first used, and the Background.

    Every method raises StoreError.
    """

    def __init__(self, path: Path, *, keep: float, most_bytes: int) -> None:
        """As ResponseStore; `keep` 0 = none are kept."""
        self.background = Background()
        self.keeps = keep != 0
        self._open = lambda: ResponseStore(path, keep=keep, most_bytes=most_bytes)
        self._store: ResponseStore | None = None
        self._opening = asyncio.Lock()

    async def open(self) -> ResponseStore:
        """The store."""
        async with self._opening:
            if self._store is None:
                self._store = await to_thread.run_sync(self._open)
            return self._store

    async def put(self, kept: Kept) -> None:
        """Keep a response."""
        await self._do(lambda store: store.put(kept))

    async def get(self, id: str) -> Kept | None:
        """The response `id`."""
        # Looked up first: it may end while the file is read.
        run = self.background.get(id)
        kept = await self._do(lambda store: store.get(id))
        return kept and _truly(kept, run)

    async def chain(self, id: str, *, use: bool = True) -> list[Kept]:
        """The response `id` behind all that it continues, the oldest first. With `use` they count as used."""
        run = self.background.get(id)
        chain = await self._do(lambda store: store.chain(id, use=use))
        return [*chain[:-1], *(_truly(kept, run) for kept in chain[-1:])]

    async def holder(self, item: str) -> Kept | None:
        """The response that has the output item `item`."""
        return await self._do(lambda store: store.holder(item))

    async def delete(self, id: str) -> bool:
        """Remove a response. False when there is none."""
        return await self._do(lambda store: store.delete(id))

    async def close(self) -> None:
        """End what is being made, and let go of the file."""
        await self.background.close()
        if self._store is not None:
            await to_thread.run_sync(self._store.close)

    async def _do(self, work: Callable[[ResponseStore], T]) -> T:
        store = await self.open()
        return await to_thread.run_sync(work, store)


def _truly(kept: Kept, run: Run | None) -> Kept:
    """`kept`, which is lost when this server was to make it and has no `run` that does: its end could not be
    kept."""
    if kept.running and kept.here and run is None:
        kept.running, kept.lost = False, True
    return kept
