from __future__ import annotations

import hashlib
from collections.abc import AsyncIterator
from pathlib import Path

import anyio
import pytest

from agentkit_server.errors import InvalidDigest
from agentkit_server.models.store import Store

pytestmark = pytest.mark.anyio

CONTENT = b"0123456789" * 1_000_000
DIGEST = "sha256:" + hashlib.sha256(CONTENT).hexdigest()


async def chunks(content: bytes) -> AsyncIterator[bytes]:
    for start in range(0, len(content), 65_536):
        yield content[start : start + 65_536]


def files(store: Store) -> list[Path]:
    return [path for path in (store.root / "blobs").rglob("*") if path.is_file()]


async def test_an_upload_becomes_a_blob(store: Store) -> None:
    assert not store.has_blob(DIGEST)
    assert await store.add_blob(DIGEST, chunks(CONTENT))
    assert store.has_blob(DIGEST.replace(":", "-"))
    assert store.blob_path(DIGEST).read_bytes() == CONTENT
    assert files(store) == [store.blob_path(DIGEST)]


async def test_a_blob_that_is_there_is_not_read_again(store: Store) -> None:
    await store.add_blob(DIGEST, chunks(CONTENT))

    async def unread() -> AsyncIterator[bytes]:
        raise AssertionError("nobody should read this upload")
        yield b""

    assert not await store.add_blob(DIGEST.upper().replace("SHA256", "sha256"), unread())


async def test_content_of_another_digest_is_refused_with_both(store: Store) -> None:
    other = hashlib.sha256(b"x").hexdigest()
    with pytest.raises(InvalidDigest, match=f'digest mismatch, expected "{DIGEST}", got "sha256:{other}"'):
        await store.add_blob(DIGEST, chunks(b"x"))
    assert files(store) == []


async def test_an_upload_that_breaks_off_leaves_nothing(store: Store) -> None:
    async def broken() -> AsyncIterator[bytes]:
        yield CONTENT[: 5 << 20]
        raise ConnectionError("the client went away")

    with pytest.raises(Exception, match="the client went away"):
        await store.add_blob(DIGEST, broken())
    assert files(store) == []


async def test_a_cancelled_upload_leaves_nothing(store: Store) -> None:
    started = anyio.Event()

    async def endless() -> AsyncIterator[bytes]:
        yield CONTENT[: 5 << 20]
        started.set()
        await anyio.sleep_forever()

    with anyio.fail_after(10):
        async with anyio.create_task_group() as group:
            group.start_soon(store.add_blob, DIGEST, endless())
            await started.wait()
            group.cancel_scope.cancel()
    assert files(store) == []


MALFORMED = ["", "sha256:", "sha256:../../x", "sha256:" + "g" * 64, "md5:" + "0" * 64, "0" * 64]
MALFORMED += ["sha256:" + "0" * 63, "sha256:" + "0" * 65, "sha256:" + "0" * 64 + "\n", "sha256/" + "0" * 64]


@pytest.mark.parametrize("digest", MALFORMED)
async def test_a_malformed_digest_never_becomes_a_path(store: Store, digest: str) -> None:
    for use in (store.has_blob, store.blob_path):
        with pytest.raises(InvalidDigest, match="invalid digest format"):
            use(digest)
    with pytest.raises(InvalidDigest, match="invalid digest format"):
        await store.add_blob(digest, chunks(b""))


async def test_two_uploads_of_one_blob_at_once_both_succeed(store: Store) -> None:
    with anyio.fail_after(30):
        async with anyio.create_task_group() as group:
            for _ in range(3):
                group.start_soon(store.add_blob, DIGEST, chunks(CONTENT))
    assert store.blob_path(DIGEST).read_bytes() == CONTENT
    assert files(store) == [store.blob_path(DIGEST)]


async def test_opening_a_store_leaves_alone_what_another_is_still_writing(store: Store) -> None:
    with store.blob_writer() as writer:
        writer.write(CONTENT)
        Store(store.root)
        digest = writer.commit()
    assert store.has_blob(str(digest))
