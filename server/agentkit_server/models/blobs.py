"""Blobs: content named by its sha256, in `blobs/sha256-<hex>`.

Content is written in a scratch folder, hashed on the way, synced to the disk and renamed into place, so a
blob is either whole or absent. Scratch folders are locked by their process and swept once it is gone.
"""

from __future__ import annotations

import contextlib
import hashlib
import logging
import os
import shutil
import tempfile
from collections.abc import Generator, Iterable
from contextlib import contextmanager
from pathlib import Path

from agentkit_server.errors import InvalidDigest
from agentkit_server.models.digest import Digest
from agentkit_server.models.file_lock import locked

_log = logging.getLogger(__name__)

SCRATCH = ".partial"
_OWNER = "lock"
_NEEDED = "needed"
_CHUNK = 8 << 20


class BlobWriter:
    """One blob on its way into the store. `path` is its file until `commit`."""

    def __init__(self, folder: Path, path: Path) -> None:
        self.path = path
        self.size = 0
        self._folder = folder
        self._hash = hashlib.sha256()
        self._file = path.open("wb")

    def write(self, data: bytes) -> None:
        self._file.write(data)
        self._hash.update(data)
        self.size += len(data)

    def flush(self) -> None:
        """Make what was written so far readable at `path`."""
        self._file.flush()

    def commit(self, expected: Digest | None = None) -> Digest:
        """Make the blob visible under its digest. Raises InvalidDigest when that is not `expected`."""
        found = Digest(self._hash.hexdigest())
        if expected is not None and found != expected:
            raise InvalidDigest(f'digest mismatch, expected "{expected}", got "{found}"')
        self._file.flush()
        os.fsync(self._file.fileno())
        self._file.close()
        publish(self.path, self._folder / found.file_name)
        return found

    def close(self) -> None:
        self._file.close()


class Blobs:
    """The blobs folder of a store."""

    def __init__(self, folder: Path, store_lock: Path) -> None:
        self.folder = folder
        self._scratch = folder / SCRATCH
        self._store_lock = store_lock

    def path(self, digest: Digest) -> Path:
        return self.folder / digest.file_name

    def has(self, digest: Digest, size: int | None = None) -> bool:
        """True when the blob is there, with `size` bytes where that is given."""
        try:
            found = self.path(digest).stat().st_size
        except OSError:
            return False
        return size is None or found == size

    def add(self, content: bytes) -> Digest:
        """Store bytes at hand."""
        digest = Digest.of(content)
        if not self.has(digest, len(content)):
            with self.writer() as writer:
                writer.write(content)
                writer.commit(digest)
        return digest

    def adopt_steps(self, path: Path) -> Generator[tuple[int, int], None, Digest]:
        """Make a file on the file system of the blobs one of them. Blocking, in steps of 8 MiB: yields (bytes
        hashed, bytes in all)."""
        hashed, done = hashlib.sha256(), 0
        with path.open("r+b") as file:
            total = file.seek(0, os.SEEK_END)
            file.seek(0)
            while chunk := file.read(_CHUNK):
                hashed.update(chunk)
                done += len(chunk)
                yield done, total
            os.fsync(file.fileno())
        digest = Digest(hashed.hexdigest())
        publish(path, self.path(digest))
        return digest

    @contextmanager
    def writer(self) -> Generator[BlobWriter]:
        """A new blob; what is not committed when the block ends is gone."""
        with self.scratch() as folder:
            writer = BlobWriter(self.folder, folder / "content")
            try:
                yield writer
            finally:
                writer.close()

    @contextmanager
    def scratch(self) -> Generator[Path]:
        """An empty folder on the file system of the blobs, removed with its content at the end."""
        with contextlib.ExitStack() as owned:
            # Made under the store's lock, so that no sweep sees the folder before its own lock is held.
            with locked(self._store_lock):
                self._scratch.mkdir(parents=True, exist_ok=True)
                folder = Path(tempfile.mkdtemp(dir=self._scratch))
                owned.callback(shutil.rmtree, folder, ignore_errors=True)
                owned.enter_context(locked(folder / _OWNER, wait=False))
            yield folder

    def sweep(self) -> None:
        """Remove scratch folders whose process is gone. The caller holds the store's lock."""
        for folder in self._scratch.iterdir() if self._scratch.is_dir() else ():
            try:
                with locked(folder / _OWNER, wait=False):
                    _log.info("removing the unfinished download %s", folder)
                    shutil.rmtree(folder)
            except BlockingIOError:
                continue
            except OSError as error:
                _log.warning("cannot remove the unfinished download %s: %s", folder, error)

    @contextmanager
    def needing(self, digests: Iterable[Digest]) -> Generator[None]:
        """While the block runs, no process removes these blobs, or the parts of their downloads."""
        with self.scratch() as folder:
            # Under the store's lock: whoever removes blobs has been through before, or sees the list.
            with locked(self._store_lock):
                (folder / _NEEDED).write_text("\n".join(digest.file_name for digest in digests))
            yield

    def needed(self) -> set[str]:
        """File names of all blobs that some process is `needing`. The caller holds the store's lock."""
        names: set[str] = set()
        for folder in self._scratch.iterdir() if self._scratch.is_dir() else ():
            try:
                with locked(folder / _OWNER, wait=False):
                    continue
            except BlockingIOError:
                with contextlib.suppress(FileNotFoundError):
                    names.update((folder / _NEEDED).read_text().split())
            except OSError as error:
                _log.debug("passing over %s: %s", folder, error)
        return names


def publish(path: Path, blob: Path) -> None:
    """Make a whole file, whose content is on the disk, the blob: readable by all, as Ollama's are."""
    with contextlib.suppress(OSError):
        path.chmod(0o644)
    os.replace(path, blob)
    sync_folder(blob.parent)


def sync_folder(folder: Path) -> None:
    """Write a folder's entries to the disk, where the system can."""
    if os.name == "nt":
        return
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
