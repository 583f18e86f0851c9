"""`hf.co/USER/REPO[:QUANT]`: GGUF models of Hugging Face's hub.

The hub speaks the registry protocol for models of one file, with template and parameters that it knows. What
it refuses there (shards, above all) is fetched file by file, and shards become one file.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator, Generator, Sequence
from contextlib import aclosing
from functools import partial
from urllib.parse import quote

from anyio import to_thread

from agentkit_server.errors import InvalidGGUF, InvalidModelName, PullFailed, RegistryError
from agentkit_server.models.digest import Digest
from agentkit_server.models.gguf import read_gguf
from agentkit_server.models.manifest import Layer, layer_type
from agentkit_server.models.names import ModelName
from agentkit_server.models.registry.client import RegistryClient
from agentkit_server.models.registry.incoming import Incoming, Wanted
from agentkit_server.models.registry.options import HF_HOSTS, Access, TransferOptions
from agentkit_server.models.registry.origin import Origin
from agentkit_server.models.shards import merge_shards
from agentkit_server.models.sources.hub_files import (
    Choice,
    HubFile,
    Repository,
    choose,
    projector_of,
    read_repository,
)
from agentkit_server.models.sources.registry import kept, store_model
from agentkit_server.models.sources.source import PullProgress
from agentkit_server.models.sources.steps import Steps
from agentkit_server.models.store import Store

MAX_DESCRIPTION_BYTES = 16 << 20
_NOT_THIS_WAY = (400, 404, 405, 406, 415, 422, 501)
"""Answers of the hub that mean: not by the registry protocol."""


class HuggingFace:
    """The source of models of the hub."""

    def __init__(self, options: TransferOptions | None = None) -> None:
        """Raises BadRequest for an HF_ENDPOINT that is no URL."""
        self._options = options or TransferOptions()
        self._origin = Origin.parse(self._options.hf_endpoint, "HF_ENDPOINT")

    def matches(self, reference: str) -> bool:
        try:
            return ModelName.parse(reference).host.lower() in HF_HOSTS
        except InvalidModelName:
            return False

    def name(self, reference: str) -> ModelName:
        return ModelName.parse(reference)

    async def pull(
        self, reference: str, name: ModelName, store: Store, access: Access
    ) -> AsyncGenerator[PullProgress]:
        # For its refusals alone: where the hub is, the settings say.
        Origin.of(reference, insecure=access.insecure)
        yield PullProgress("pulling manifest")
        async with RegistryClient(self._origin, self._options, access) as client:
            manifest = await _manifest(client, name)
            if manifest is None:
                lines = _Files(client, name, store).pull()
            else:
                lines = store_model(client, name, manifest, store)
            async with aclosing(lines):
                async for line in lines:
                    yield line


async def _manifest(client: RegistryClient, name: ModelName) -> bytes | None:
    """None = the hub does not serve this model by the registry protocol."""
    try:
        return await client.manifest(name)
    except RegistryError as error:
        if error.answered in _NOT_THIS_WAY:
            return None
        raise


class _Files:
    """A model that is fetched file by file."""

    def __init__(self, client: RegistryClient, name: ModelName, store: Store) -> None:
        self._client = client
        self._name = name
        self._store = store
        self._id = f"{name.namespace}/{name.model}"

    async def pull(self) -> AsyncGenerator[PullProgress]:
        repository, choice = await self._chosen()
        projector = projector_of(repository)
        files = choice.files if projector is None else (*choice.files, projector)
        source = f"hf.co/{self._id}@{_fingerprint(files)}"
        known = await to_thread.run_sync(self._store.find_source, source)
        if known is not None:
            yield PullProgress("writing manifest")
            # It may be of a model that somebody made of this one.
            layers = [layer for layer in known.layers if layer.source == source]
            await to_thread.run_sync(self._write, layers, repository.license)
            return
        if len(choice.files) > 1:
            await to_thread.run_sync(self._check_room, choice)
        wanted = [self._wanted(repository, file) for file in files]
        async with kept(self._store, wanted):
            async with aclosing(Incoming(self._store, self._client.options, wanted).run()) as lines:
                async for line in lines:
                    yield line
            steps = Steps(self._weights(choice, source))
            async with aclosing(steps.run()) as merging:
                async for done, total in merging:
                    yield PullProgress("merging shards", total=total, completed=done)
            layers = [steps.result, *([] if projector is None else [_layer("projector", projector, source)])]
            yield PullProgress("writing manifest")
            await to_thread.run_sync(self._write, layers, repository.license)
        if len(choice.files) > 1:
            await to_thread.run_sync(self._store.discard, [_layer("model", file) for file in choice.files])

    async def _chosen(self) -> tuple[Repository, Choice]:
        path, what = f"/api/models/{self._id}?blobs=true", f"pull model manifest: asking for {self._id!r}"
        content = await self._client.document(path, what, MAX_DESCRIPTION_BYTES)
        repository = await to_thread.run_sync(read_repository, content, self._id)
        return repository, choose(repository, self._name.tag, f"hf.co/{self._id}")

    def _wanted(self, repository: Repository, file: HubFile) -> Wanted:
        path = f"/{self._id}/resolve/{repository.revision}/{quote(file.path)}"
        what = f"pulling {file.digest.short}"
        return Wanted(file.digest, file.size, partial(self._client.file, path, what))

    def _check_room(self, choice: Choice) -> None:
        """The shards and what they become are on the disk together, for a moment."""
        shards = [file for file in choice.files if not self._store.has_blob(str(file.digest))]
        needed = choice.size + sum(file.size - self._store.partial_bytes(file.digest) for file in shards)
        free = self._store.free_bytes()
        if needed > free:
            raise PullFailed(
                f"the shards of {self._name.short!r} and the file that they become need {needed} bytes, and "
                f"the disk of the store has {free} left; make room and pull again"
            )

    def _weights(self, choice: Choice, source: str) -> Generator[tuple[int, int], None, Layer]:
        """The one file of the model. Blocking, in steps."""
        paths = [self._store.blob_path(str(file.digest)) for file in choice.files]
        if len(paths) == 1:
            return _layer("model", choice.files[0], source)
        try:
            with self._store.blob_writer() as writer:
                yield from merge_shards(paths, writer)
                digest = writer.commit()
        except InvalidGGUF as error:
            raise PullFailed(f"the shards of {self._name.short!r} are no model: {error.message}") from None
        return Layer(media_type=layer_type("model"), digest=str(digest), size=writer.size, source=source)

    def _write(self, layers: Sequence[Layer], license: str | None) -> None:
        try:
            gguf = read_gguf(self._store.blob_path(layers[0].digest))
        except InvalidGGUF as error:
            raise PullFailed(
                f"the model that came is unusable, so it was not stored: {error.message}"
            ) from None
        self._store.add_model(self._name, gguf, tuple(layers), license)


def _layer(kind: str, file: HubFile, source: str | None = None) -> Layer:
    return Layer(media_type=layer_type(kind), digest=str(file.digest), size=file.size, source=source)


def _fingerprint(files: Sequence[HubFile]) -> str:
    """What tells the content of these files from any other."""
    return Digest.of(" ".join(str(file.digest) for file in files).encode()).short
