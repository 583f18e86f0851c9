"""The blobs of one model on their way into the store: those that are there are left alone, the others are
fetched from where an earlier pull ended, compared with their digests, and only then visible.

The same blob is fetched by one process at a time; the others wait for it. A download that is stopped stays
for the next pull; one whose bytes are wrong is fetched once more from its start.
"""

from __future__ import annotations

import errno
import logging
from collections.abc import AsyncGenerator, Sequence
from contextlib import ExitStack, aclosing, asynccontextmanager
from dataclasses import dataclass

from anyio import CancelScope, sleep, to_thread

from agentkit_server.errors import PullFailed, StoreError
from agentkit_server.models.digest import Digest
from agentkit_server.models.partials import Partial
from agentkit_server.models.registry.options import TransferOptions
from agentkit_server.models.registry.transfers import Opener, Transfer
from agentkit_server.models.sources.source import PullProgress
from agentkit_server.models.sources.steps import Steps
from agentkit_server.models.store import Store

_log = logging.getLogger(__name__)

LOOK_AGAIN = 0.25
"""Seconds between two looks at whether another process is done with a blob."""
_TRIES = 2
"""Downloads of one blob, when what came was not what its digest says."""
_LONG = 64 << 20
"""Bytes whose hashing takes long enough to be told of."""


@dataclass(frozen=True)
class Wanted:
    """A blob and where its bytes are."""

    digest: Digest
    """What the bytes must have; for a file that nobody states the digest of, what its download goes by."""
    size: int
    open_range: Opener
    name: str = ""
    """Of a file without a stated digest: whatever comes is taken."""
    tag: str = ""
    """What tells two contents of such a file apart, where the server says."""

    @property
    def status(self) -> str:
        return f"pulling {self.name or self.digest.short}"


class Incoming:
    """Brings blobs into a store. The caller keeps them from being pruned (`Store.keeping`)."""

    def __init__(self, store: Store, options: TransferOptions, wanted: Sequence[Wanted]) -> None:
        self._store = store
        self._options = options
        self._wanted = tuple({each.digest: each for each in wanted}.values())
        self._to_verify = 0
        self._verified = 0
        self.found: dict[Digest, Digest] = {}
        """What the bytes of a wanted blob turned out to have, for those that were fetched."""

    async def run(self) -> AsyncGenerator[PullProgress]:
        """Raises PullFailed, RegistryError and StoreError."""
        try:
            missing = await to_thread.run_sync(self._missing)
            self._to_verify = sum(each.size for each in missing)
            # The long ones last, so that one line about verifying is behind all that are about fetching.
            for each in sorted(self._wanted, key=_size):
                if each not in missing:
                    yield _pulling(each, each.size)
                    continue
                async with aclosing(self._fetch(each)) as lines:
                    async for line in lines:
                        yield line
            if missing:
                yield self._verifying(0)
        except OSError as error:
            full = error.errno in (errno.ENOSPC, errno.EDQUOT)
            remedy = "make room and pull again" if full else "check its disk and permissions"
            raise StoreError(
                f"the model store failed: {error}; {remedy}. What came is kept for an hour at least: the "
                f"next pull goes on from there"
            ) from error

    # --- within -----------------------------------------------------------------------------------

    def _missing(self) -> list[Wanted]:
        """What is to be fetched. Raises PullFailed when there is no room for it."""
        missing = [each for each in self._wanted if not self._is_there(each)]
        free = self._store.free_bytes()
        needed = sum(each.size for each in missing)
        if needed > free:
            # Only now: what an earlier pull has brought takes no room any more.
            needed -= sum(self._store.partial_bytes(each.digest) for each in missing)
        if needed > free:
            raise PullFailed(
                f"the model needs {needed} bytes and the disk of the store has {free} left; make room and "
                f"pull again"
            )
        return missing

    def _is_there(self, wanted: Wanted) -> bool:
        digest = str(wanted.digest)
        if wanted.name or not self._store.has_blob(digest):
            return False
        return self._store.blob_path(digest).stat().st_size == wanted.size

    async def _fetch(self, wanted: Wanted) -> AsyncGenerator[PullProgress]:
        most = 0
        for number in range(1, _TRIES + 1):
            async with self._opened(wanted) as partial:
                if partial is None:
                    yield _pulling(wanted, wanted.size)
                    break
                transfer = Transfer(wanted.open_range, partial, self._options, wanted.status)
                async with aclosing(transfer.run()) as progress:
                    async for done in progress:
                        most = max(most, done)
                        yield _pulling(wanted, most)
                steps = Steps(partial.hash_steps())
                async with aclosing(steps.run()) as hashed:
                    async for done in hashed:
                        if wanted.size >= _LONG:
                            yield self._verifying(done)
                if wanted.name or steps.result == wanted.digest:
                    await to_thread.run_sync(partial.commit, steps.result)
                    self.found[wanted.digest] = steps.result
                    break
                await to_thread.run_sync(partial.discard)
                _log.warning("the bytes of %s came with the digest %s", wanted.digest, steps.result)
                if number == _TRIES:
                    raise PullFailed(
                        f'digest mismatch, expected "{wanted.digest}", got "{steps.result}", {_TRIES} times; '
                        f"nothing was kept: the registry, or a proxy on the way, gives wrong bytes"
                    )
        self._verified += wanted.size

    def _verifying(self, done: int) -> PullProgress:
        completed = min(self._verified + done, self._to_verify)
        return PullProgress("verifying sha256 digest", total=self._to_verify, completed=completed)

    @asynccontextmanager
    async def _opened(self, wanted: Wanted) -> AsyncGenerator[Partial | None]:
        """The download of a blob, for us alone; None when another has brought the blob meanwhile."""
        with ExitStack() as held:
            try:
                while True:
                    if await to_thread.run_sync(self._is_there, wanted):
                        yield None
                        return
                    partial = await to_thread.run_sync(self._open, held, wanted)
                    if partial is not None:
                        break
                    # No event crosses processes, and a thread that waits for a lock cannot be cancelled.
                    await sleep(LOOK_AGAIN)
                yield partial
            finally:
                with CancelScope(shield=True):
                    await to_thread.run_sync(held.close)

    def _open(self, held: ExitStack, wanted: Wanted) -> Partial | None:
        try:
            return held.enter_context(self._store.partial(wanted.digest, wanted.size, wanted.tag))
        except BlockingIOError:
            return None


def _size(wanted: Wanted) -> int:
    return wanted.size


def _pulling(wanted: Wanted, done: int) -> PullProgress:
    return PullProgress(wanted.status, None if wanted.name else str(wanted.digest), wanted.size, done)
