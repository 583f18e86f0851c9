"""Pushes: a stored model goes to the registry that its name begins with.

What the registry has is not sent again, several blobs go at once, and one that breaks goes on where the
registry says that it ended. The manifest comes last, so nobody sees half a model. Paths of this machine never
leave it.
"""

from __future__ import annotations

import logging
from collections.abc import AsyncGenerator
from contextlib import ExitStack, aclosing
from dataclasses import dataclass
from pathlib import Path

import msgspec
from anyio import CancelScope, to_thread

from agentkit_server.errors import AgentkitError, StoreError
from agentkit_server.models.digest import Digest
from agentkit_server.models.manifest import Layer, decode_manifest, encode
from agentkit_server.models.names import ModelName
from agentkit_server.models.registry.client import RegistryClient
from agentkit_server.models.registry.options import Access, TransferOptions
from agentkit_server.models.registry.origin import Origin
from agentkit_server.models.registry.received import model_or_none
from agentkit_server.models.registry.uploads import Outgoing, Uploads
from agentkit_server.models.sources.source import PullProgress
from agentkit_server.models.store import Store

_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class _Shipment:
    """All that goes to the registry for one model."""

    name: ModelName
    manifest: bytes
    blobs: tuple[Outgoing, ...]


async def push(
    store: Store, reference: str, options: TransferOptions, access: Access
) -> AsyncGenerator[PullProgress]:
    """Send the model of `reference`. Ends with the status `success`, or raises InvalidModelName,
    ModelNotFound, BadRequest (a protocol that is not http or https), RegistryError and StoreError."""
    origin = Origin.of(reference, insecure=access.insecure)
    shipment = await to_thread.run_sync(_shipment, store, reference)
    yield PullProgress("retrieving manifest")
    async with RegistryClient(origin, options, access) as client:
        async with aclosing(_sent(store, client, shipment)) as lines:
            async for line in lines:
                yield line
        yield PullProgress("pushing manifest")
        await client.put_manifest(shipment.name, shipment.manifest)
    yield PullProgress("success")


async def _sent(store: Store, client: RegistryClient, shipment: _Shipment) -> AsyncGenerator[PullProgress]:
    """All blobs, which nobody removes meanwhile."""
    with ExitStack() as kept:
        try:
            await to_thread.run_sync(_keep, kept, store, shipment)
            async with aclosing(Uploads(client, shipment.name, shipment.blobs).run()) as lines:
                async for line in lines:
                    yield line
        finally:
            with CancelScope(shield=True):
                await to_thread.run_sync(kept.close)


def _keep(kept: ExitStack, store: Store, shipment: _Shipment) -> None:
    try:
        kept.enter_context(store.keeping([str(blob.digest) for blob in shipment.blobs]))
    except StoreError as error:
        # From a disk that can only be read nobody removes anything.
        _log.warning("pushing %s without keeping its blobs: %s", shipment.name.short, error.message)


def _shipment(store: Store, reference: str) -> _Shipment:
    stored, content = store.manifest_file(reference)
    files = {layer.digest: (layer, path) for layer, path in store.files(stored)}
    blobs = tuple(_outgoing(stored, layer, path) for layer, path in files.values())
    return _Shipment(stored, _public(content), blobs)


def _outgoing(name: ModelName, layer: Layer, path: Path) -> Outgoing:
    return Outgoing(Digest.parse(layer.digest), layer.size, path, _elsewhere(name, layer))


def _elsewhere(name: ModelName, layer: Layer) -> ModelName | None:
    """Another model of the same registry that has the layer too."""
    try:
        other = ModelName.parse(layer.origin or "")
    except AgentkitError:
        return None
    same = (other.namespace, other.model) == (name.namespace, name.model)
    return None if same or other.host.lower() != name.host.lower() else other


def _public(content: bytes) -> bytes:
    """The manifest without what concerns this machine alone; as it stands, with its digest, where there
    is nothing of that."""
    manifest = decode_manifest(content)
    private: dict[str, None] = dict.fromkeys(("path", "modified_ns", "source"))
    layers = tuple(
        msgspec.structs.replace(layer, origin=model_or_none(layer.origin), **private)
        for layer in manifest.layers
    )
    if layers == manifest.layers:
        return content
    return encode(msgspec.structs.replace(manifest, layers=layers))
