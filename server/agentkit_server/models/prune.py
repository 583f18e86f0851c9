"""What in a blobs folder is rubbish: blobs that no manifest names, and downloads that nobody goes on with.

Another program may be at work in the same folder without our locks, so age decides: what was written within
the last hour belongs to somebody.
"""

from __future__ import annotations

import re
import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

STALE_SECONDS = 3600.0
"""How long ago a blob, or the newest part of a download, must have been written to count as rubbish."""
_PREFIX = "sha256-"
_BLOB = re.compile(rf"{_PREFIX}[0-9a-f]{{64}}", re.ASCII)


def prune(folder: Path, keep: set[str]) -> int:
    """Remove the rubbish of a blobs folder; returns how many files went. The caller holds the store's lock.

    `keep` are the names of blobs that are used or needed: neither they nor the parts of their downloads go.
    While a download of anybody's is fresh, no whole blob goes: its manifest comes last.
    """
    oldest = time.time() - STALE_SECONDS
    blobs, downloads = _sorted(folder)
    running = {name for name, files in downloads.items() if name in keep or _newest(files) > oldest}
    fresh = any(_newest(downloads[name]) > oldest for name in running)
    gone = [path for name, files in downloads.items() if name not in running for path in files]
    if not fresh:
        gone += [path for path in blobs if path.name not in keep and _newest([path]) <= oldest]
    for path in gone:
        path.unlink(missing_ok=True)
    return len(gone)


def _sorted(folder: Path) -> tuple[list[Path], dict[str, list[Path]]]:
    """The whole blobs, and the files of each download by the name of its blob. What Ollama is still writing,
    under a made-up name, is a download too."""
    blobs: list[Path] = []
    downloads: dict[str, list[Path]] = {}
    for path in _files(folder):
        blob = _BLOB.match(path.name)
        if blob is not None and blob[0] == path.name:
            blobs.append(path)
        else:
            downloads.setdefault(blob[0] if blob else path.name, []).append(path)
    return blobs, downloads


def _files(folder: Path) -> Iterator[Path]:
    return (path for path in folder.iterdir() if path.name.startswith(_PREFIX) and path.is_file())


def _newest(files: list[Path]) -> float:
    """When the last of `files` was written; a file that has just gone does not count."""
    newest = 0.0
    for path in files:
        with suppress(FileNotFoundError):
            newest = max(newest, path.stat().st_mtime)
    return newest
