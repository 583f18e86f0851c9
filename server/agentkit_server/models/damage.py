"""Blobs that `verify` has found damaged, remembered beside the store until they are replaced.

Nothing is removed for it: a damaged blob stays in use, but whoever brings the same content again, by a pull
or an upload, is told that it is not there.
"""

from __future__ import annotations

import logging
from contextlib import suppress
from pathlib import Path

_log = logging.getLogger(__name__)


class Damage:
    """Marks in a folder: one file a blob, which holds what the damaged file was like. A blob that has been
    written anew, by whatever program, thus has no mark."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def known(self, blob: Path) -> bool:
        """Whether the file `blob`, as it is now, was found damaged."""
        try:
            return (self._folder / blob.name).read_text() == _likeness(blob)
        except OSError:
            return False

    def mark(self, blob: Path) -> None:
        """Remember that `blob` is damaged, where the disk lets us."""
        try:
            self._folder.mkdir(parents=True, exist_ok=True)
            (self._folder / blob.name).write_text(_likeness(blob))
        except OSError as error:
            _log.warning("cannot remember that %s is damaged: %s", blob, error)

    def clear(self, blob: Path) -> None:
        """Forget what was said about `blob`."""
        with suppress(OSError):
            (self._folder / blob.name).unlink(missing_ok=True)


def _likeness(blob: Path) -> str:
    stat = blob.stat()
    return f"{stat.st_size} {stat.st_mtime_ns} {stat.st_ino}"
