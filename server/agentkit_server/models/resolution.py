"""From a manifest to a Model: finds the files of its layers, checks that they are whole, reads them.

Raises StoreError when a file is missing or changed, InvalidGGUF when the model file is no usable GGUF.
"""

from __future__ import annotations

import logging
import os
from collections import OrderedDict
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from threading import Lock
from typing import Any, TypeVar

import msgspec

from agentkit_server.errors import StoreError
from agentkit_server.models.blobs import Blobs
from agentkit_server.models.details import capabilities, describe
from agentkit_server.models.digest import Digest
from agentkit_server.models.gguf import read_gguf
from agentkit_server.models.manifest import Config, Layer, Manifest
from agentkit_server.models.model import Adapter, Details, GGUFInfo, Model
from agentkit_server.models.names import ModelName

_log = logging.getLogger(__name__)
_T = TypeVar("_T")

MAX_TEXT_BYTES = 16 << 20
"""Longest template, system, license, parameters or messages layer."""
_REMEMBERED = 256
"""Models that a resolver keeps."""


class GGUFCache:
    """Metadata of the model files seen last, by path, size and modification time. Thread-safe."""

    def __init__(self, capacity: int = 256, read: Callable[[Path], GGUFInfo] = read_gguf) -> None:
        self._capacity = capacity
        self._read = read
        self._lock = Lock()
        self._entries: OrderedDict[tuple[Path, int, int], GGUFInfo] = OrderedDict()

    def read(self, path: Path) -> GGUFInfo:
        """As gguf.read_gguf, but only once for a file that does not change."""
        try:
            stat = path.stat()
        except OSError:
            return self._read(path)
        key = (path, stat.st_mtime_ns, stat.st_size)
        with self._lock:
            if key in self._entries:
                self._entries.move_to_end(key)
                return self._entries[key]
        info = self._read(path)
        with self._lock:
            self._entries[key] = info
            while len(self._entries) > self._capacity:
                self._entries.popitem(last=False)
        return info


@dataclass(frozen=True)
class ManifestFile:
    """Which manifest a model comes from."""

    name: ModelName
    digest: Digest
    """Of the file's content."""
    modified: float
    """When it was written, Unix time."""


Files = Sequence[tuple[str, Path]]
"""Kind and file of each layer."""


class Resolver:
    """Builds models out of manifests and the blobs they name. Thread-safe."""

    def __init__(self, blobs: Blobs, cache: GGUFCache) -> None:
        self._blobs = blobs
        self._cache = cache
        self._lock = Lock()
        self._models: dict[ManifestFile, Model] = {}

    def model(self, file: ManifestFile, manifest: Manifest) -> Model:
        """The model that `manifest`, read from `file`, describes."""
        files = [(layer.kind, self.layer_path(file.name, layer)) for layer in manifest.layers]
        weights = _of_kind("model", files)
        if not weights:
            raise StoreError(
                f"model {file.name.short!r} has no GGUF file (it is a safetensors or remote model), which "
                f"this version cannot run; pull a GGUF build of it"
            )
        gguf = self._cache.read(weights[0])
        with self._lock:
            known = self._models.get(file)
        # Blobs never change: with the same manifest and model file, the texts are the same too.
        if known is not None and known.gguf is gguf:
            return known
        model = self._build(file, manifest, files, gguf)
        with self._lock:
            if len(self._models) >= _REMEMBERED:
                self._models.clear()
            self._models[file] = model
        return model

    def _build(self, file: ManifestFile, manifest: Manifest, files: Files, gguf: GGUFInfo) -> Model:
        name = file.name
        config = self._json(name, manifest.config, Config) or Config()
        templates = self._texts(name, manifest, "template") or self._texts(name, manifest, "prompt")
        go_template = next(iter(templates), None)
        projectors = _of_kind("projector", files)
        return Model(
            name=name,
            digest=file.digest.hex,
            size=manifest.size,
            modified_at=datetime.fromtimestamp(file.modified, UTC),
            path=_of_kind("model", files)[0],
            gguf=gguf,
            details=_details(gguf, config, manifest),
            capabilities=capabilities(
                gguf, go_template=go_template, projector=bool(projectors), stated=config.capabilities or ()
            ),
            system=next(iter(self._texts(name, manifest, "system")), None),
            go_template=go_template,
            parameters=self._last(name, manifest, "params", dict[str, Any]) or {},
            messages=tuple(self._last(name, manifest, "messages", list[dict[str, str]]) or ()),
            license=self._texts(name, manifest, "license"),
            weights=",".join(layer.digest for layer in manifest.of_kind("model")),
            adapters=_adapters(manifest, files),
            projectors=projectors,
            draft=next(iter(_of_kind("draft", files)), None),
            renderer=config.renderer or None,
            parser=config.parser or None,
            requires=config.requires or None,
        )

    def layer_path(self, name: ModelName, layer: Layer) -> Path:
        """The file of a layer, there and of the right size."""
        if layer.path is not None:
            return _linked(name, layer, Path(layer.path))
        digest = Digest.parse(layer.digest)
        if not self._blobs.has(digest, layer.size):
            raise StoreError(
                f"model {name.short!r} lacks the blob {str(digest)!r} of {layer.size} bytes; pull it again"
            )
        return self._blobs.path(digest)

    def _texts(self, name: ModelName, manifest: Manifest, kind: str) -> tuple[str, ...]:
        layers = manifest.of_kind(kind)
        return tuple(self._bytes(name, layer).decode("utf-8", errors="replace") for layer in layers)

    def _last(self, name: ModelName, manifest: Manifest, kind: str, kind_of: type[_T]) -> _T | None:
        layers = manifest.of_kind(kind)
        return self._json(name, layers[-1], kind_of) if layers else None

    def _json(self, name: ModelName, layer: Layer, kind: type[_T]) -> _T | None:
        """The value in a JSON blob; None, with a warning, when it is missing or malformed: what hangs on
        it is not worth losing the model for."""
        try:
            return msgspec.json.decode(self._bytes(name, layer), type=kind)
        except (StoreError, msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
            _log.warning("ignoring the layer %s of model %s: %s", layer.media_type, name.short, error)
            return None

    def _bytes(self, name: ModelName, layer: Layer) -> bytes:
        if layer.size > MAX_TEXT_BYTES:
            raise StoreError(f"model {name.short!r} has a {layer.kind!r} layer of {layer.size} bytes")
        if not layer.digest:
            raise StoreError(f"model {name.short!r} has a {layer.kind!r} layer without a digest")
        return self.layer_path(name, layer).read_bytes()


def _of_kind(kind: str, files: Files) -> tuple[Path, ...]:
    return tuple(path for each, path in files if each == kind)


def _adapters(manifest: Manifest, files: Files) -> tuple[Adapter, ...]:
    layers = zip(manifest.layers, files, strict=True)
    return tuple(Adapter(path, layer.scale) for layer, (kind, path) in layers if kind == "adapter")


def _details(gguf: GGUFInfo, config: Config, manifest: Manifest) -> Details:
    """What the files say, and above it what the config states in their place."""
    stated = {
        "family": config.model_family,
        "parameter_size": config.model_type,
        "quantization_level": "" if config.file_type == "unknown" else config.file_type,
        "context_length": config.context_length,
        "embedding_length": config.embedding_length,
        "parent_model": manifest.of_kind("model")[0].origin,
    }
    details = describe(gguf, config.model_families or ())
    return replace(details, **{name: value for name, value in stated.items() if value})


def _linked(name: ModelName, layer: Layer, path: Path) -> Path:
    try:
        stat = path.stat()
    except OSError as error:
        raise StoreError(
            f"the file {os.fspath(path)!r} of model {name.short!r} cannot be read "
            f"({error.strerror or error}); put it back, or link the model again"
        ) from None
    if (stat.st_size, stat.st_mtime_ns) != (layer.size, layer.modified_ns):
        raise StoreError(
            f"the file {os.fspath(path)!r} of model {name.short!r} has changed since it was linked; "
            f"link the model again"
        )
    return path
