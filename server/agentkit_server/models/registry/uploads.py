"""The blobs of one model on their way to a registry, several at once.

A blob goes in chunks. When one breaks, the registry is asked how much of it has come, and the rest follows;
a registry that has forgotten the upload, as Docker's does then, gets the blob from its start.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator, Sequence
from contextlib import aclosing, suppress
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from anyio import move_on_after, to_thread

from agentkit_server.errors import RegistryError, StoreError
from agentkit_server.models.digest import Digest
from agentkit_server.models.names import ModelName
from agentkit_server.models.registry.client import RegistryClient, Upload
from agentkit_server.models.registry.streams import Streams
from agentkit_server.models.sources.source import PullProgress

CHUNK = 64 << 20
"""Bytes of one request: what a registry must take in before its proxy loses patience."""
PIECE = 1 << 20
_LEAVE_SECONDS = 2
_OUT_OF_STEP = (404, 416)
"""What a registry answers to a chunk when it has forgotten the upload, or stands elsewhere in it."""


@dataclass(frozen=True)
class Outgoing:
    """A blob, its file, and another model of the registry that has it, where one is known."""

    digest: Digest
    size: int
    path: Path
    mount_from: ModelName | None = None


class Uploads:
    """Sends blobs to where `name` is. Belongs to one event loop; `run` once."""

    def __init__(self, client: RegistryClient, name: ModelName, blobs: Sequence[Outgoing]) -> None:
        self._client = client
        self._name = name
        self._blobs = list(blobs)
        self._sent: dict[Outgoing, int] = {}
        """Bytes of each blob that has begun; never fewer than before."""
        self._news: dict[Outgoing, None] = {}
        self._streams = Streams(client.options.streams, self._send)

    async def run(self) -> AsyncGenerator[PullProgress]:
        """Yields how far each blob is. Raises RegistryError and StoreError."""
        async with aclosing(self._streams.run(self._all)) as changes:
            async for _ in changes:
                for line in self._lines():
                    yield line

    # --- within -----------------------------------------------------------------------------------

    def _lines(self) -> list[PullProgress]:
        news, self._news = self._news, {}
        return [
            PullProgress(f"pushing {blob.digest.short}", str(blob.digest), blob.size, self._sent[blob])
            for blob in news
        ]

    def _tell(self, blob: Outgoing, sent: int) -> None:
        if sent > self._sent.get(blob, -1):
            self._sent[blob] = sent
            self._news[blob] = None
            self._streams.wake()

    async def _all(self) -> list[Outgoing]:
        return self._blobs

    async def _send(self, blob: Outgoing) -> None:
        self._tell(blob, 0)
        if await self._is_there(blob) is None:
            upload = await self._begun(blob)
            if upload is not None:
                upload = await self._chunks(blob, upload)
                await self._finish(blob, upload)
        self._tell(blob, blob.size)

    async def _is_there(self, blob: Outgoing) -> int | None:
        return await self._client.head_blob(self._name, blob.digest, push=True)

    async def _begun(self, blob: Outgoing) -> Upload | None:
        """A new upload; None when the registry took the blob from another model."""
        if blob.mount_from is not None:
            try:
                return await self._client.start_upload(self._name, blob.digest, blob.mount_from)
            except RegistryError as error:
                # Whoever may not read the other model may still send the blob.
                if error.transient:
                    raise
        return await self._client.start_upload(self._name, blob.digest)

    async def _chunks(self, blob: Outgoing, upload: Upload) -> Upload:
        patience = self._client.options.patience
        failures = furthest = sent = 0
        try:
            while sent < blob.size:
                size = min(CHUNK, blob.size - sent)
                content = partial(self._content, blob, sent, size)
                try:
                    upload = await self._client.send_chunk(self._name, upload, content, sent, size)
                    sent += size
                except RegistryError as error:
                    failures += 1
                    self._check_worth_it(error, failures)
                    await patience.sleep(patience.pause(failures, error.retry_after))
                    upload, sent = await self._resumed(blob, upload)
                # A blob that begins anew each time would otherwise never be given up.
                if sent > furthest:
                    furthest, failures = sent, 0
        except BaseException:
            with move_on_after(_LEAVE_SECONDS, shield=True), suppress(RegistryError):
                await self._client.cancel_upload(self._name, upload)
            raise
        return upload

    def _check_worth_it(self, error: RegistryError, failures: int) -> None:
        if not error.transient and error.answered not in _OUT_OF_STEP:
            raise error
        if failures >= self._client.options.patience.tries:
            raise RegistryError(
                f"{error.message}; given up after {failures} tries: push again, and only what the registry "
                f"has not got is sent",
                answered=error.answered,
            ) from None

    async def _resumed(self, blob: Outgoing, upload: Upload) -> tuple[Upload, int]:
        """Where a broken upload goes on."""
        try:
            upload, sent = await self._client.uploaded(self._name, upload)
            if sent <= blob.size:
                return upload, sent
        except RegistryError as error:
            if error.transient:
                raise
        again = await self._client.start_upload(self._name, blob.digest)
        if again is None:
            raise RegistryError(f"pushing {blob.digest.short}: the registry says that it has what it has not")
        return again, 0

    async def _finish(self, blob: Outgoing, upload: Upload) -> None:
        try:
            await self._client.finish_upload(self._name, upload, blob.digest)
        except RegistryError:
            # The answer to an earlier try may have been lost, and the upload be over.
            if await self._is_there(blob) is None:
                raise

    async def _content(self, blob: Outgoing, start: int, size: int) -> AsyncGenerator[bytes]:
        """The bytes of one chunk."""
        for begin in range(start, start + size, PIECE):
            wanted = min(PIECE, start + size - begin)
            piece = await to_thread.run_sync(_piece, blob.path, begin, wanted)
            await self._client.options.pace.spend(wanted)
            yield piece
            self._tell(blob, begin + wanted)


def _piece(path: Path, start: int, size: int) -> bytes:
    # Opened anew each time: nobody closes the generator of a body that could not be sent.
    try:
        with path.open("rb") as file:
            file.seek(start)
            piece = file.read(size)
    except OSError as error:
        raise StoreError(f"the file {str(path)!r} cannot be read: {error}") from error
    if len(piece) != size:
        raise StoreError(f"the file {str(path)!r} became shorter while it was pushed")
    return piece
