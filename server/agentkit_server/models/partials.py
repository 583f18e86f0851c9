"""Downloads that outlive a process: the bytes that came, beside the blobs, and which of them are there.

`sha256-<hex>.part` has the content, at its full length from the start, and `sha256-<hex>.part.json` how far
each part is. Ollama's own are called `sha256-<hex>-partial…`; neither program reads the other's. Data reaches
the file before the note that it is there, so a note is never ahead of its data when the process is killed.
"""

from __future__ import annotations

import contextlib
import hashlib
import logging
import os
import sys
from collections.abc import Generator, Sequence
from contextlib import contextmanager
from pathlib import Path
from threading import Lock

import msgspec

from agentkit_server.models.blobs import publish
from agentkit_server.models.digest import Digest
from agentkit_server.models.file_lock import locked

_log = logging.getLogger(__name__)

NOTE_BYTES = 8 << 20
"""How much of one part may come before that is noted; a killed pull fetches at most this much of it again."""
_MAX_NOTE_BYTES = 4 << 20
_CHUNK = 4 << 20


def disk_bytes(folder: Path, key: Digest) -> int:
    """What the file system has given to a download; 0 = there is none."""
    try:
        stat = _content(folder, key).stat()
    except FileNotFoundError:
        return 0
    # The file has holes where nothing came yet.
    return min(stat.st_size, stat.st_blocks * 512 if sys.platform != "win32" else stat.st_size)


@contextmanager
def only_one(locks: Path, key: Digest) -> Generator[None]:
    """Hold the lock on the download of one blob. Raises BlockingIOError when another has it; a disk without
    locks is said in the log."""
    with contextlib.ExitStack() as held:
        try:
            # Files of locks stay, so that nobody waits for one that is gone; this many at most.
            held.enter_context(locked(locks / f"blob-{key.hex[:3]}", wait=False))
        except BlockingIOError:
            raise
        except OSError as error:
            _log.warning("other downloads of %s are not waited for: %s", key, error)
        yield


class Part(msgspec.Struct, array_like=True):
    """Bytes `start` up to `stop`, of which the first `done` are there."""

    start: int
    stop: int
    done: int = 0

    @property
    def position(self) -> int:
        """Of the next byte in the file."""
        return self.start + self.done

    @property
    def left(self) -> int:
        return self.stop - self.position


class _Note(msgspec.Struct):
    size: int
    tag: str
    parts: list[Part]


class Partial:
    """One download under way. Blocking, and written to by several threads; the caller sees to it that it is
    open once.

    `tag` is what tells two contents of one address apart, where that can be; bytes of another are dropped.
    """

    def __init__(self, folder: Path, key: Digest, size: int, tag: str = "") -> None:
        self.path = _content(folder, key)
        self.size = size
        self._folder = folder
        self._tag = tag
        self._note = folder / f"{key.file_name}.part.json"
        self._noted: dict[int, int] = {}
        """Start of a part -> how much of it the note says is there."""
        self.parts = self._known()
        self._lock = Lock()
        self._file = self._opened()
        self._settled = self._closed = False

    @property
    def done(self) -> int:
        """Bytes that are there."""
        return sum(part.done for part in self.parts)

    def plan(self, part_bytes: int) -> None:
        """Split what has not begun yet into parts of this length."""
        if not self.parts:
            starts = range(0, self.size, part_bytes)
            self.parts = [Part(start, min(start + part_bytes, self.size)) for start in starts]

    def reset(self, part_bytes: int) -> None:
        """Forget every byte, and plan anew."""
        self.parts = []
        self.plan(part_bytes)
        self._write_note()

    def write(self, part: Part, data: bytes) -> None:
        """Add the next bytes of a part, which must not be more than it lacks."""
        with self._lock:
            if self._closed:
                return
            _write_at(self._file, data, part.position)
            part.done += len(data)
            if not part.left:
                os.fsync(self._file)
            if not part.left or part.done - self._noted.get(part.start, 0) >= NOTE_BYTES:
                self._write_note()

    def hash_steps(self) -> Generator[int, None, Digest]:
        """The digest of the content, in short steps that each yield the bytes read so far."""
        digest, size = hashlib.sha256(), 0
        with self.path.open("rb") as file:
            while chunk := file.read(_CHUNK):
                digest.update(chunk)
                size += len(chunk)
                yield size
        return Digest(digest.hexdigest())

    def commit(self, digest: Digest) -> None:
        """Make the content a blob. The caller has compared its digest."""
        os.fsync(self._file)
        # Windows renames no file that is open.
        self._close_file()
        publish(self.path, self._folder / digest.file_name)
        self._settled = True
        self._note.unlink(missing_ok=True)

    def discard(self) -> None:
        """Remove every trace of it."""
        self._settled = True
        self.path.unlink(missing_ok=True)
        self._note.unlink(missing_ok=True)

    def close(self) -> None:
        """Leave it to the next process, unless it became a blob."""
        with self._lock:
            # A thread whose task was cancelled may still be about to write.
            self._closed = True
            try:
                if self.parts and not self._settled:
                    self._write_note()
            finally:
                self._close_file()

    # --- within -----------------------------------------------------------------------------------

    def _known(self) -> list[Part]:
        """The parts that an earlier process noted, when they fit what is wanted now."""
        try:
            with self._note.open("rb") as file:
                note = msgspec.json.decode(file.read(_MAX_NOTE_BYTES), type=_Note)
            length = self.path.stat().st_size
        except (OSError, msgspec.DecodeError, UnicodeDecodeError):
            return []
        fits = (note.size, note.tag, length) == (self.size, self._tag, self.size)
        if not fits or not _covers(note.parts, self.size):
            return []
        self._noted = {part.start: part.done for part in note.parts}
        return note.parts

    def _opened(self) -> int:
        file = os.open(self.path, os.O_RDWR | os.O_CREAT | getattr(os, "O_BINARY", 0), 0o644)
        try:
            os.ftruncate(file, self.size)
        except BaseException:
            os.close(file)
            raise
        return file

    def _close_file(self) -> None:
        file, self._file = self._file, -1
        if file >= 0:
            os.close(file)

    def _write_note(self) -> None:
        content = msgspec.json.encode(_Note(self.size, self._tag, self.parts))
        temporary = self._note.with_suffix(".json-new")
        try:
            temporary.write_bytes(content)
            os.replace(temporary, self._note)
        except BaseException:
            with contextlib.suppress(OSError):
                temporary.unlink(missing_ok=True)
            raise
        self._noted = {part.start: part.done for part in self.parts}


def _content(folder: Path, key: Digest) -> Path:
    return folder / f"{key.file_name}.part"


def _covers(parts: Sequence[Part], size: int) -> bool:
    """Whether the parts follow each other from 0 to `size`."""
    position = 0
    for part in parts:
        if part.start != position or not 0 <= part.done <= part.stop - part.start or part.stop <= part.start:
            return False
        position = part.stop
    return position == size


def _write_at(file: int, data: bytes, position: int) -> None:
    view = memoryview(data)
    while view:
        written = _pwrite(file, view, position)
        view, position = view[written:], position + written


if sys.platform != "win32":
    _pwrite = os.pwrite
else:

    def _pwrite(file: int, data: memoryview, position: int, /) -> int:
        os.lseek(file, position, os.SEEK_SET)
        return os.write(file, data)
