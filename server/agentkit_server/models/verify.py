"""Verification: reads every manifest and every byte that it stands for, and says what is damaged and what to
do about it. Nothing is removed or repaired here.

A blob that is damaged is marked (damage.py), so that pulling its model again brings it anew.
"""

from __future__ import annotations

import hashlib
from collections.abc import Generator, Iterable
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

from agentkit_server.errors import AgentkitError, InvalidDigest
from agentkit_server.models.blobs import Blobs
from agentkit_server.models.damage import Damage
from agentkit_server.models.digest import Digest
from agentkit_server.models.manifest import MAX_MANIFEST_BYTES, Layer, Manifest, decode_manifest
from agentkit_server.models.manifests import Manifests
from agentkit_server.models.names import ModelName

CHUNK = 8 << 20


@dataclass(frozen=True)
class Problem:
    """One file that is not what it should be."""

    path: str
    models: tuple[str, ...]
    """Those that it damages; none for a blob that nothing uses."""
    problem: str
    remedy: str


@dataclass(frozen=True)
class Report:
    """What a verification has found. `size` in bytes of all files read."""

    models: int
    files: int
    size: int
    problems: tuple[Problem, ...]


@dataclass
class _File:
    """A file that manifests name, and what they say of it."""

    path: Path
    digest: Digest
    stated: set[int] = field(default_factory=set[int])
    """Sizes that manifests say it has, in bytes."""
    modified_ns: int | None = None
    """Of a linked file; None = a blob."""
    models: list[ModelName] = field(default_factory=list[ModelName])
    length: int = 0
    """Bytes that it had when the verification began."""
    size: int = 0
    """Bytes that were read of it."""


class Verification:
    """One look at the store whose parts are given. `steps` may be run once."""

    def __init__(self, manifests: Manifests, blobs: Blobs, damage: Damage) -> None:
        self._manifests = manifests
        self._blobs = blobs
        self._damage = damage
        self._files: dict[tuple[Path, str], _File] = {}
        self._problems: list[Problem] = []

    def steps(self, names: Iterable[ModelName] | None) -> Generator[tuple[int, int], None, Report]:
        """Check the models `names` (None = all, and the blobs that none uses): yields (bytes read, bytes in
        all), a step reads at most 8 MiB."""
        chosen = list(self._manifests.names() if names is None else names)
        for name in chosen:
            self._add_model(name)
        if names is None:
            self._add_unused()
        for file in self._files.values():
            file.length = _size(file.path)
        total, done = sum(file.length for file in self._files.values()), 0
        for file in self._files.values():
            for read in self._check(file):
                yield done + min(read, file.length), total
            done += file.length
        return Report(len(chosen), len(self._files), total, tuple(self._problems))

    def _add_model(self, name: ModelName) -> None:
        try:
            manifest = self._manifest(name)
        except (AgentkitError, OSError) as error:
            if isinstance(error, FileNotFoundError):
                return
            message = error.message if isinstance(error, AgentkitError) else str(error)
            remedy = f"pull {name.short!r} again, or remove it with `agentkit rm {name.short}`"
            path = str(self._manifests.path(name))
            self._problems.append(Problem(path, (name.short,), message, remedy))
            return
        for layer in (manifest.config, *manifest.layers):
            # Ollama's remote models have a config without a digest.
            if layer.digest:
                self._add_layer(name, layer)

    def _add_layer(self, name: ModelName, layer: Layer) -> None:
        digest = Digest.parse(layer.digest)
        path = self._blobs.path(digest) if layer.path is None else Path(layer.path)
        file = self._files.setdefault((path, digest.hex), _File(path, digest, modified_ns=layer.modified_ns))
        file.stated.add(layer.size)
        if name not in file.models:
            file.models.append(name)

    def _add_unused(self) -> None:
        for path in sorted(self._blobs.folder.glob("sha256-*")):
            with suppress(InvalidDigest):
                digest = Digest.parse(path.name)
                self._files.setdefault((path, digest.hex), _File(path, digest))

    def _check(self, file: _File) -> Generator[int]:
        """Read one file; yields how many bytes so far."""
        try:
            problem = _changed(file) or (yield from _read(file))
        except FileNotFoundError:
            # Removed while we read other files, and its models with it? Then nothing is wrong.
            if self._named(file):
                self._add_problem(file, "the file is missing")
            return
        except OSError as error:
            problem = f"the file cannot be read: {error.strerror or error}"
        if file.modified_ns is None:
            (self._damage.mark if problem else self._damage.clear)(file.path)
        if problem := problem or _wrong_size(file):
            self._add_problem(file, problem)

    def _add_problem(self, file: _File, problem: str) -> None:
        models = tuple(name.short for name in file.models)
        self._problems.append(Problem(str(file.path), models, problem, _remedy(file)))

    def _named(self, file: _File) -> bool:
        for name in file.models:
            try:
                manifest = self._manifest(name)
            except (AgentkitError, OSError):
                continue
            if any(layer.digest == str(file.digest) for layer in (manifest.config, *manifest.layers)):
                return True
        return False

    def _manifest(self, name: ModelName) -> Manifest:
        with self._manifests.path(name).open("rb") as content:
            return decode_manifest(content.read(MAX_MANIFEST_BYTES + 1))


def _size(path: Path) -> int:
    try:
        return path.stat().st_size
    except OSError:
        return 0


def _changed(file: _File) -> str:
    """What is wrong with a linked file before it is read."""
    if file.modified_ns is None or file.path.stat().st_mtime_ns == file.modified_ns:
        return ""
    return "the file has changed since it was linked"


def _read(file: _File) -> Generator[int, None, str]:
    """Hash the file; returns what is wrong with its content, "" = nothing."""
    hashed, size = hashlib.sha256(), 0
    with file.path.open("rb") as content:
        while chunk := content.read(CHUNK):
            hashed.update(chunk)
            size += len(chunk)
            yield size
    found = Digest(hashed.hexdigest())
    file.size = size
    return "" if found == file.digest else f"the content has the digest {str(found)!r}"


def _wrong_size(file: _File) -> str:
    """What is wrong with what manifests say of a file whose content is right."""
    wrong = file.stated - {file.size}
    return f"a manifest says {min(wrong)} bytes, and the file has {file.size}" if wrong else ""


def _remedy(file: _File) -> str:
    if not file.models:
        return "no model uses it; it goes when a server starts"
    names = [repr(name.short) for name in file.models]
    if file.modified_ns is not None:
        return f"put the file back as it was, or link {' and '.join(names)} again"
    return f"pull {' or '.join(names)} again, or create it anew"
