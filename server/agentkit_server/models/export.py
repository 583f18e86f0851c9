"""Export: a stored model as plain files in a folder, a GGUF and what goes with it beside a Modelfile.

The files are the person's own: clones where the file system can, else copies, and hard links only on request.
Each appears under its name when it is whole, the Modelfile last.
"""

from __future__ import annotations

import os
import shutil
import sys
import tempfile
from collections.abc import Generator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace
from pathlib import Path

from agentkit_server.errors import BadRequest, StoreError
from agentkit_server.models.blobs import sync_folder
from agentkit_server.models.manifest import Layer
from agentkit_server.models.model import Model
from agentkit_server.models.modelfile import AdapterLine, modelfile_of, render_modelfile
from agentkit_server.models.names import ModelName
from agentkit_server.models.store import Store

MODELFILE = "Modelfile"
CHUNK = 8 << 20
_STAGE = ".agentkit-export-"
_FILES = {"model": "model", "projector": "projector", "adapter": "adapter", "draft": "draft"}
"""Kinds of layers that become a file, and what it is called."""
_CLONE = 0x40049409
"""Linux' ioctl FICLONE."""


@dataclass(frozen=True)
class Exported:
    """What an export has written, the Modelfile last. Bytes without it."""

    folder: Path
    files: tuple[str, ...]
    size: int


@dataclass(frozen=True)
class Wish:
    """What the person allows: that files of the same names are replaced, and that weights are hard links,
    which take no space and are damaged for both when one is written to."""

    force: bool = False
    link: bool = False


def export_steps(
    store: Store, name: str | ModelName, folder: Path, wish: Wish | None = None
) -> Generator[tuple[int, int], None, Exported]:
    """Write the model into `folder`, which is made when it is not there, in short blocking steps: yields
    (bytes done, bytes in all).

    Raises ModelNotFound, BadRequest (a file is in the way, and `force` is off) and StoreError.
    """
    wish = wish or Wish()
    model = store.resolve(name)
    files = [(layer, path) for layer, path in store.files(model.name) if layer.kind in _FILES]
    names = _names([layer for layer, _ in files])
    folder = folder.expanduser().absolute()
    if not wish.force:
        _check_free(folder, (*names, MODELFILE))
    total, done = sum(layer.size for layer, _ in files), 0
    with _staged(folder) as stage:
        for (layer, path), target in zip(files, names, strict=True):
            for copied in _brought(path, stage / target, link=wish.link):
                yield done + min(copied, layer.size), total
            # A file that takes the place of a linked one is to count as unchanged.
            os.utime(stage / target, ns=(path.stat().st_atime_ns, path.stat().st_mtime_ns))
            done += layer.size
        (stage / MODELFILE).write_text(_modelfile(model, files, names), encoding="utf-8", newline="")
        (folder / MODELFILE).unlink(missing_ok=True)
        for target in (*names, MODELFILE):
            (stage / target).replace(folder / target)
    return Exported(folder, (*names, MODELFILE), total)


def _names(layers: Sequence[Layer]) -> tuple[str, ...]:
    """A file name for each layer: `model.gguf`, or llama.cpp's names for shards; others are numbered."""
    kinds = [layer.kind for layer in layers]
    names: list[str] = []
    for place, kind in enumerate(kinds):
        number, count = kinds[: place + 1].count(kind), kinds.count(kind)
        shard = f"-{number:05}-of-{count:05}" if kind == "model" and count > 1 else ""
        counted = f"-{number}" if kind != "model" and count > 1 else ""
        names.append(f"{_FILES[kind]}{shard}{counted}.gguf")
    return tuple(names)


def _modelfile(model: Model, files: Sequence[tuple[Layer, Path]], names: Sequence[str]) -> str:
    def of_kind(kind: str) -> tuple[str, ...]:
        return tuple(f"./{name}" for (layer, _), name in zip(files, names, strict=True) if layer.kind == kind)

    written = modelfile_of(model)
    scales = [line.scale for line in written.adapters]
    written = replace(
        written,
        from_=(*of_kind("model"), *of_kind("projector")),
        adapters=tuple(map(AdapterLine, of_kind("adapter"), scales)),
        draft=next(iter(of_kind("draft")), None),
    )
    head = f"# Exported from {model.name.short}. To make a model of it: agentkit import FOLDER"
    return render_modelfile(model, written, [head])


def _check_free(folder: Path, names: Sequence[str]) -> None:
    taken = [name for name in names if os.path.lexists(folder / name)]
    if taken:
        raise BadRequest(
            f"{os.fspath(folder)!r} has {', '.join(map(repr, taken))} already; give another folder, or "
            f"replace them with --force"
        )


@contextmanager
def _staged(folder: Path) -> Generator[Path]:
    """A folder inside of `folder`, gone at the end with what is still in it; and `folder` too, if it was
    made for this and nothing has come into it."""
    made = not folder.exists()
    try:
        folder.mkdir(parents=True, exist_ok=True)
        stage = Path(tempfile.mkdtemp(prefix=_STAGE, dir=folder))
        try:
            yield stage
            sync_folder(folder)
        finally:
            shutil.rmtree(stage, ignore_errors=True)
            if made:
                with suppress(OSError):
                    folder.rmdir()
    except OSError as error:
        raise StoreError(
            f"the export to {os.fspath(folder)!r} failed: {error}; check its disk and permissions"
        ) from error


def _brought(source: Path, target: Path, *, link: bool) -> Generator[int]:
    """Make `target` have the content of `source`; yields how many bytes so far."""
    try:
        (os.link if link else _clone)(source, target)
    except OSError:
        # Another file system, or one that cannot do it.
        target.unlink(missing_ok=True)
    else:
        yield source.stat().st_size
        return
    yield from _copied(source, target)


def _copied(source: Path, target: Path) -> Generator[int]:
    done = 0
    with source.open("rb") as origin, target.open("wb") as copy:
        while chunk := origin.read(CHUNK):
            copy.write(chunk)
            done += len(chunk)
            yield done
        copy.flush()
        os.fsync(copy.fileno())


def _clone(source: Path, target: Path) -> None:
    """A second file that shares its blocks until one is written to. Raises OSError where that cannot be."""
    if sys.platform != "linux":
        raise OSError("no clones here")
    import fcntl

    with source.open("rb") as origin, target.open("wb") as copy:
        fcntl.ioctl(copy.fileno(), _CLONE, origin.fileno())
