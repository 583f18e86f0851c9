"""How Ollama looks at a store that it shares: which files it takes for what, and what it expects in them.

Written from its documented layout: manifests are all files four levels deep, blobs are named by digest, and
JSON is decoded into fixed types, where an unknown key is skipped and a wrong type is an error.
"""

from __future__ import annotations

import json
import os
import re
import stat
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import msgspec

_DIGEST = re.compile(r"sha256[:-][0-9a-fA-F]{64}")
_PART = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.-]*")
_HOST = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.:-]*")
_OURS = re.compile(r"agentkit\.[a-z]+")


class Layer(msgspec.Struct, kw_only=True):
    mediaType: str
    digest: str
    size: int
    origin: str = msgspec.field(default="", name="from")
    name: str = ""


class Manifest(msgspec.Struct, kw_only=True):
    schemaVersion: int
    mediaType: str
    config: Layer
    layers: list[Layer] | None


class RootFS(msgspec.Struct, kw_only=True):
    type: str = ""
    diff_ids: list[str] | None = None


class Config(msgspec.Struct, kw_only=True):
    model_format: str = ""
    model_family: str = ""
    model_families: list[str] | None = None
    model_type: str = ""
    file_type: str = ""
    renderer: str = ""
    parser: str = ""
    requires: str = ""
    remote_host: str = ""
    remote_model: str = ""
    capabilities: list[str] | None = None
    context_length: int = 0
    embedding_length: int = 0
    base_name: str = ""
    draft: dict[str, Any] | None = None
    architecture: str = ""
    os: str = ""
    rootfs: RootFS = msgspec.field(default_factory=RootFS)


class Message(msgspec.Struct, kw_only=True):
    role: str
    content: str


def manifests(root: Path) -> dict[str, Path]:
    """Every file that counts as a manifest, by the name it gives its model; others are passed over."""
    folder = root / "manifests"
    files = [path for path in sorted(folder.glob("*/*/*/*")) if not path.is_dir()]
    return {"/".join(_parts(folder, path)): path for path in files if _is_name(*_parts(folder, path))}


def complaints(root: Path) -> list[str]:
    """What in the store Ollama could not read as its own."""
    return [said for name, path in manifests(root).items() for said in _of_manifest(root, name, path)]


def odd_blobs(root: Path) -> list[str]:
    """Entries of the blobs folder that are no blobs: what Ollama tries to remove when it starts."""
    return sorted(name for name in os.listdir(root / "blobs") if not _DIGEST.fullmatch(name))


def prune(root: Path) -> None:
    """What Ollama's start does: remove what no manifest names, and what is no blob, where that can be done;
    and folders of manifests that are empty."""
    used = set[str]()
    for path in manifests(root).values():
        manifest = msgspec.json.decode(path.read_bytes(), type=Manifest)
        used |= {each.digest.replace(":", "-") for each in (manifest.config, *(manifest.layers or ()))}
    for path in list((root / "blobs").iterdir()):
        if path.name not in used:
            try:
                path.rmdir() if path.is_dir() else path.unlink()
            except OSError:
                continue
    for folder, *_ in os.walk(root / "manifests", topdown=False):
        if not os.listdir(folder) and Path(folder) != root / "manifests":
            os.rmdir(folder)


def _parts(folder: Path, path: Path) -> tuple[str, ...]:
    return path.relative_to(folder).parts


def _is_name(host: str, *parts: str) -> bool:
    return _HOST.fullmatch(host) is not None and all(map(_PART.fullmatch, parts))


def _of_manifest(root: Path, name: str, path: Path) -> Iterator[str]:
    yield from (f"{name}: {said}" for said in _mode(path))
    content = path.read_bytes()
    try:
        manifest = msgspec.json.decode(content, type=Manifest)
    except msgspec.DecodeError as error:
        yield f"{name}: {error}"
        return
    written = json.loads(content)
    yield from _keys(name, written, Manifest)
    for layer, keys in zip(
        (manifest.config, *(manifest.layers or ())),
        (written["config"], *(written["layers"] or ())),
        strict=True,
    ):
        yield from _keys(name, keys, Layer)
        if layer.digest and "agentkit.path" not in keys:
            yield from (f"{name}: {said}" for said in _of_blob(root, layer))


def _keys(name: str, written: dict[str, Any], shape: type[msgspec.Struct]) -> Iterator[str]:
    known = set(shape.__struct_encode_fields__)
    yield from (
        f"{name}: the key {key!r}" for key in written if key not in known and not _OURS.fullmatch(key)
    )


def _of_blob(root: Path, layer: Layer) -> Iterator[str]:
    if not _DIGEST.fullmatch(layer.digest):
        yield f"the digest {layer.digest!r}"
        return
    path = root / "blobs" / layer.digest.replace(":", "-")
    if not path.is_file() or path.stat().st_size != layer.size:
        yield f"no blob {layer.digest} of {layer.size} bytes"
        return
    yield from _mode(path)
    kinds = {"container": Config, "params": dict[str, Any], "messages": list[Message]}
    shape = next((kind for word, kind in kinds.items() if word in layer.mediaType), None)
    if shape is not None:
        try:
            msgspec.json.decode(path.read_bytes(), type=shape)
        except msgspec.DecodeError as error:
            yield f"{layer.mediaType}: {error}"


def _mode(path: Path) -> Iterator[str]:
    mode = stat.S_IMODE(path.stat().st_mode)
    if mode != 0o644:
        yield f"{path.name} has the mode {mode:o}"
