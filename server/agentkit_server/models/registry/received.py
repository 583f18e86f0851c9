"""Manifests from elsewhere: read with bounds and written anew, so that nothing of a stranger's is stored as
it came.

A key of ours in it (`agentkit.path` would point at a file of this machine) is dropped, but for an adapter's
scale.
"""

from __future__ import annotations

import math

from agentkit_server.errors import AgentkitError, InvalidModelName, RegistryError
from agentkit_server.models.digest import Digest
from agentkit_server.models.manifest import Layer, Manifest, decode_manifest
from agentkit_server.models.names import ModelName
from agentkit_server.models.resolution import MAX_TEXT_BYTES

MAX_LAYERS = 512
MAX_LAYER_BYTES = 1 << 50
MAX_TEXTS_BYTES = 4 * MAX_TEXT_BYTES
_FILES = frozenset({"model", "adapter", "projector", "draft"})
"""Kinds of layers that may be long; all others are read into memory."""


def received(content: bytes, host: str) -> Manifest:
    """The manifest in `content`, which `host` gave. Raises RegistryError for what is none, or none of a model
    that can run here."""
    try:
        manifest = decode_manifest(content)
        layers = tuple(_layer(layer) for layer in manifest.layers)
        config = _layer(manifest.config)
    except AgentkitError as error:
        raise _bad(host, error.message) from None
    if len(layers) > MAX_LAYERS:
        raise _bad(host, f"it has {len(layers)} layers, more than {MAX_LAYERS}")
    for layer in (config, *layers):
        if not layer.media_type.isprintable():
            raise _bad(host, f"its media type {layer.media_type!r:.100} is none")
        limit = MAX_LAYER_BYTES if layer.kind in _FILES else MAX_TEXT_BYTES
        if layer.size > limit and layer.kind != "tensor":
            raise _bad(host, f"its {layer.kind!r} layer has {layer.size} bytes, more than {limit}")
    # Each is read as often as it is named, also one that was fetched once.
    texts = sum(layer.size for layer in (config, *layers) if layer.kind not in (*_FILES, "tensor"))
    if texts > MAX_TEXTS_BYTES:
        raise _bad(host, f"its texts have {texts} bytes together, more than {MAX_TEXTS_BYTES}")
    rebuilt = Manifest(config=config, layers=layers)
    if not rebuilt.of_kind("model"):
        raise RegistryError(
            "pull model manifest: the model has no GGUF file (it is a safetensors or remote model), which "
            "cannot run here; pull a GGUF build of it"
        )
    if not all(layer.digest for layer in (config, *layers)):
        raise _bad(host, "it has a layer without a digest")
    if len(set(sizes := [(layer.digest, layer.size) for layer in (config, *layers)])) > len(dict(sizes)):
        raise _bad(host, "it gives two sizes to one blob")
    return rebuilt


def model_or_none(origin: str | None) -> str | None:
    """`Layer.origin` where it is the name of a model: old versions of Ollama write the path of a file."""
    try:
        ModelName.parse(origin or "")
    except InvalidModelName:
        return None
    return origin


def _layer(layer: Layer) -> Layer:
    scaled = layer.kind == "adapter" and math.isfinite(layer.scale)
    return Layer(
        media_type=layer.media_type,
        digest=str(Digest.parse(layer.digest)) if layer.digest else "",
        size=layer.size,
        origin=model_or_none(layer.origin),
        name=layer.name,
        scale=layer.scale if scaled else 1.0,
    )


def _bad(host: str, why: str) -> RegistryError:
    return RegistryError(f"pull model manifest: what {host!r} gave cannot be used: {why}; is it a model's?")
