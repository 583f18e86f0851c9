"""The manifests folder: `manifests/<host>/<namespace>/<model>/<tag>`, found without regard to case.

Writing is atomic. Files that are no manifests are passed over.
"""

from __future__ import annotations

import contextlib
import os
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path

from agentkit_server.errors import InvalidModelName
from agentkit_server.models.blobs import sync_folder
from agentkit_server.models.names import ModelName

_TEMPORARY = ".new-"


class Manifests:
    """The manifest files of a store."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def path(self, name: ModelName) -> Path:
        return self.folder.joinpath(*name.path_parts)

    def find(self, name: ModelName) -> ModelName | None:
        """The stored name that equals `name` but for case; an exact match goes first."""
        if name.path_parts == _exact(self.folder, name.path_parts):
            return name
        return next((found for found in self.names() if found.key == name.key), None)

    def names(self) -> Iterator[ModelName]:
        """Every stored name, in alphabetical order."""
        for path in sorted(self.folder.glob("*/*/*/*")):
            with contextlib.suppress(InvalidModelName):
                name = ModelName(*path.relative_to(self.folder).parts)
                if path.is_file():
                    yield name

    def write(self, name: ModelName, content: bytes) -> None:
        """Replace the manifest of `name` at once. The caller holds the store's lock."""
        target = self.path(name)
        target.parent.mkdir(parents=True, exist_ok=True)
        # At the top, not beside the target: Ollama takes any file down there for a manifest.
        descriptor, temporary = tempfile.mkstemp(prefix=_TEMPORARY, dir=self.folder)
        try:
            with os.fdopen(descriptor, "wb") as file:
                file.write(content)
                file.flush()
                os.fsync(file.fileno())
            Path(temporary).chmod(0o644)
            os.replace(temporary, target)
        except BaseException:
            Path(temporary).unlink(missing_ok=True)
            raise
        for folder in target.parents[: len(name.path_parts)]:
            sync_folder(folder)

    def remove(self, name: ModelName) -> None:
        """Delete the manifest of `name` and the folders that it leaves empty."""
        path = self.path(name)
        path.unlink()
        for folder in path.parents[: len(name.path_parts) - 1]:
            with contextlib.suppress(OSError):
                folder.rmdir()

    def sweep(self) -> None:
        """Remove what a crash in `write` left. The caller holds the store's lock."""
        for path in self.folder.glob(f"{_TEMPORARY}*"):
            path.unlink(missing_ok=True)


def _exact(folder: Path, parts: Sequence[str]) -> tuple[str, ...] | None:
    """`parts` when they lead to a file under just these names; a file system may ignore case."""
    path = folder
    for part in parts:
        if not path.is_dir() or part not in os.listdir(path):
            return None
        path = path / part
    return tuple(parts) if path.is_file() else None
