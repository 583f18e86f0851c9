"""`[http(s)://][host/][namespace/]model[:tag]`: models of registries that speak Ollama's protocol.

The last source: every reference that no other one takes is a name in a registry, Ollama's own where it says
no other. A model that is there is asked for again: a pull brings it up to date.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator, Sequence
from contextlib import ExitStack, aclosing, asynccontextmanager
from functools import partial

from anyio import CancelScope, to_thread

from agentkit_server.errors import AgentkitError, InvalidGGUF, PullFailed, RegistryError
from agentkit_server.models.digest import Digest
from agentkit_server.models.gguf import read_gguf
from agentkit_server.models.manifest import Manifest
from agentkit_server.models.names import ModelName
from agentkit_server.models.registry.client import RegistryClient
from agentkit_server.models.registry.incoming import Incoming, Wanted
from agentkit_server.models.registry.options import Access, TransferOptions
from agentkit_server.models.registry.origin import Origin
from agentkit_server.models.registry.received import received
from agentkit_server.models.sources.source import PullProgress
from agentkit_server.models.store import Store


class Registry:
    """The source of names."""

    def __init__(self, options: TransferOptions | None = None) -> None:
        self._options = options or TransferOptions()

    def matches(self, reference: str) -> bool:
        return True

    def name(self, reference: str) -> ModelName:
        return ModelName.parse(reference)

    async def pull(
        self, reference: str, name: ModelName, store: Store, access: Access
    ) -> AsyncGenerator[PullProgress]:
        """Also raises BadRequest for a protocol that is not http or https."""
        origin = Origin.of(reference, insecure=access.insecure)
        yield PullProgress("pulling manifest")
        async with (
            RegistryClient(origin, self._options, access) as client,
            aclosing(store_model(client, name, await _manifest(client, name), store)) as lines,
        ):
            async for line in lines:
                yield line


async def store_model(
    client: RegistryClient, name: ModelName, content: bytes, store: Store
) -> AsyncGenerator[PullProgress]:
    """Bring in the model whose manifest `client` has given."""
    # A long one takes a while to read.
    manifest = await to_thread.run_sync(received, content, client.host)
    wanted = [
        Wanted(digest, layer.size, partial(client.blob, name, digest))
        for layer in manifest.blobs
        for digest in (Digest.parse(layer.digest),)
    ]
    async with kept(store, wanted):
        async with aclosing(Incoming(store, client.options, wanted).run()) as lines:
            async for line in lines:
                yield line
        await to_thread.run_sync(_check, store, manifest)
        yield PullProgress("writing manifest")
        unused = await to_thread.run_sync(_unused, store, name, manifest)
        await to_thread.run_sync(store.write_manifest, name, manifest)
    if unused:
        yield PullProgress("removing unused layers")


@asynccontextmanager
async def kept(store: Store, wanted: Sequence[Wanted]) -> AsyncGenerator[None]:
    """`Store.keeping`, from the event loop."""
    with ExitStack() as held:
        try:
            keeping = store.keeping([str(each.digest) for each in wanted])
            await to_thread.run_sync(held.enter_context, keeping)
            yield
        finally:
            with CancelScope(shield=True):
                await to_thread.run_sync(held.close)


async def _manifest(client: RegistryClient, name: ModelName) -> bytes:
    try:
        return await client.manifest(name)
    except RegistryError as error:
        if error.answered != 404:
            raise
        raise RegistryError(
            f"pull model manifest: file does not exist: {client.host!r} has no model {name.short!r}; check "
            f"the name and the tag",
            answered=404,
        ) from None


def _check(store: Store, manifest: Manifest) -> None:
    """What does not run must not take the place of a model that does."""
    try:
        read_gguf(store.blob_path(manifest.of_kind("model")[0].digest))
    except InvalidGGUF as error:
        raise PullFailed(
            f"the model that was pulled is unusable, and was not stored: {error.message}"
        ) from None


def _unused(store: Store, name: ModelName, manifest: Manifest) -> bool:
    """Whether layers of the model that is there fall out of use."""
    try:
        before = store.manifest(name)
    except AgentkitError:
        return False
    now = {layer.digest for layer in manifest.blobs}
    return any(layer.digest not in now for layer in before.blobs)
