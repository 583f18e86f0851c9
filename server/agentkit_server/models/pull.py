"""Pulls: brings models into a store from whichever source their reference names.

Pulls of one model that overlap share one download. A pull ends with the status `success` or raises
PullFailed, InvalidModelName or StoreError, and leaves nothing half done behind.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator, Sequence
from contextlib import aclosing

from anyio import to_thread

from agentkit_server.errors import PullFailed
from agentkit_server.models.download import Download
from agentkit_server.models.names import ModelName
from agentkit_server.models.sources.embedded import EMBEDDED, Embedded
from agentkit_server.models.sources.pypi import PyPI
from agentkit_server.models.sources.source import PullProgress, Source
from agentkit_server.models.store import Store

__all__ = ["PullProgress", "Pulls"]


class Pulls:
    """The pulls under way into one store. Belongs to one event loop.

    Without `sources`, references that come over the network are safe: no file of this machine is read.
    """

    def __init__(self, store: Store, sources: Sequence[Source] | None = None) -> None:
        self._store = store
        self._sources = (Embedded(PyPI()), PyPI()) if sources is None else tuple(sources)
        self._running: dict[str, Download] = {}

    async def pull(self, reference: str) -> AsyncGenerator[PullProgress]:
        """Bring in the model of `reference`. Closing the iterator leaves the pull; the last one to leave
        stops it."""
        source = next((source for source in self._sources if source.matches(reference)), None)
        name = ModelName.parse(reference) if source is None else source.name(reference)
        if source is None:
            if not await to_thread.run_sync(self._store.has, name):
                raise PullFailed(_no_source(reference))
            yield PullProgress("pulling manifest")
            yield PullProgress("success")
            return
        async with aclosing(self._download(source, reference, name).follow()) as lines:
            async for line in lines:
                yield line

    async def close(self) -> None:
        """Stop every pull and clean up after it."""
        for download in list(self._running.values()):
            await download.cancel()

    def _download(self, source: Source, reference: str, name: ModelName) -> Download:
        running = self._running.get(name.key)
        if running is not None and running.open:
            return running
        download = Download(_to_success(source.pull(reference, name, self._store)))
        self._running[name.key] = download
        download.task.add_done_callback(lambda _: self._forget(name.key, download))
        return download

    def _forget(self, key: str, download: Download) -> None:
        if self._running.get(key) is download:
            del self._running[key]


async def _to_success(lines: AsyncGenerator[PullProgress]) -> AsyncGenerator[PullProgress]:
    async with aclosing(lines):
        async for line in lines:
            yield line
    yield PullProgress("success")


def _no_source(reference: str) -> str:
    return (
        f"pull model manifest: {reference!r} would come from a model registry, which this version cannot "
        f"reach yet; what works: {', '.join(EMBEDDED)}, pypi:PACKAGE, and GGUF files that the command line "
        f"links"
    )
