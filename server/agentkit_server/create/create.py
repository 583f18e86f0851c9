"""Creating a model: weights, adapters and texts become layers, a manifest gives them a name.

Layers that a model has in common with another are the same blobs. Who is interrupted leaves nothing behind,
and the name stands for what it stood for before until the very end. Creates of one name wait for each other.
Nothing that a create needs is removed while it runs, and what it alone has kept goes when it ends.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator
from contextlib import ExitStack, aclosing
from typing import Any

import msgspec
from anyio import CancelScope, sleep, to_thread

from agentkit_server.create.in_turn import in_turn
from agentkit_server.create.making import Base, Making
from agentkit_server.create.request import Recipe
from agentkit_server.create.weights import Workshop
from agentkit_server.errors import StoreError
from agentkit_server.models.digest import Digest
from agentkit_server.models.manifest import Layer, Manifest, decode_manifest
from agentkit_server.models.model import Model
from agentkit_server.models.names import ModelName
from agentkit_server.models.pull import LOOK_AGAIN, Pulls
from agentkit_server.models.sources.source import PullProgress
from agentkit_server.models.store import Store

MAX_CONFIG = 1 << 20


async def create(store: Store, pulls: Pulls, recipe: Recipe) -> AsyncGenerator[PullProgress]:
    """Make the model of `recipe`. The last line is `success`; closing the generator stops the work.

    Raises what a pull of its base raises, BadRequest and its kin for parts that do not go together,
    QuantizeFailed, and StoreError, for a full disk among others.
    """
    try:
        async with aclosing(_holding(recipe, store, pulls)) as lines:
            async for line in lines:
                yield line
    except OSError as error:
        raise StoreError(f"the model store failed: {error}; check its disk and permissions") from error
    yield PullProgress("success")


async def _fetched(base: str, store: Store, pulls: Pulls) -> AsyncGenerator[PullProgress]:
    """Pull the base when there is one, and not here."""
    if not base or await to_thread.run_sync(store.has, pulls.name(base)):
        return
    async with aclosing(pulls.pull(base)) as lines:
        async for line in lines:
            if line.status != "success":
                yield line


async def _holding(recipe: Recipe, store: Store, pulls: Pulls) -> AsyncGenerator[PullProgress]:
    """Make the model, with what is held for it until the end."""
    with ExitStack() as held:
        try:
            # Now, for the base may take hours to come.
            await to_thread.run_sync(held.enter_context, store.keeping(recipe.digests))
            work = in_turn(
                lambda: _fetched(recipe.base, store, pulls), lambda: _alone(held, recipe, store, pulls)
            )
            async with aclosing(work) as lines:
                async for line in lines:
                    yield line
        finally:
            with CancelScope(shield=True):
                await to_thread.run_sync(held.close)


async def _alone(held: ExitStack, recipe: Recipe, store: Store, pulls: Pulls) -> AsyncGenerator[PullProgress]:
    """Make the model while nobody else makes or pulls one of this name."""
    if not await to_thread.run_sync(_lock, held, store, recipe.name):
        yield PullProgress(f"waiting for another create of {recipe.name.short}")
        # No event crosses processes, and a thread that waits for the lock could not be cancelled.
        while not await to_thread.run_sync(_lock, held, store, recipe.name):  # noqa: ASYNC110
            await sleep(LOOK_AGAIN)
    folder = await to_thread.run_sync(held.enter_context, store.scratch())
    workshop = Workshop(store, folder)
    held.callback(workshop.discard)
    base = await to_thread.run_sync(_base, recipe, store, pulls) if recipe.base else None
    if base is not None:
        await to_thread.run_sync(_keep, held, workshop, base)
    async with aclosing(Making(recipe, base, workshop).run()) as lines:
        async for line in lines:
            yield line


def _lock(held: ExitStack, store: Store, name: ModelName) -> bool:
    try:
        held.enter_context(store.pulling(name))
    except BlockingIOError:
        return False
    return True


def _base(recipe: Recipe, store: Store, pulls: Pulls) -> Base:
    """What the base is now. Blocking."""
    name = pulls.name(recipe.base)
    model, manifest = _read(store, name)
    origin = name.short if name.key != recipe.name.key else None
    # Without its source: a pull of that would find this model, and take it for what the source gives.
    layers = tuple(
        msgspec.structs.replace(layer, origin=origin or layer.origin, source=None)
        for layer in manifest.layers
    )
    return Base(model, layers, _config(store, manifest.config))


def _read(store: Store, name: ModelName) -> tuple[Model, Manifest]:
    """A model and its manifest. Another may be giving the name to another model just now."""
    while True:
        model = store.resolve(name)
        _, content = store.manifest_file(name)
        if Digest.of(content).hex == model.digest:
            return model, decode_manifest(content)


def _config(store: Store, layer: Layer) -> dict[str, Any]:
    if not layer.digest or layer.size > MAX_CONFIG:
        return {}
    try:
        return msgspec.json.decode(store.blob_path(layer.digest).read_bytes(), type=dict[str, Any])
    except (msgspec.DecodeError, UnicodeDecodeError, OSError):
        # As when it is listed: what hangs on it is not worth losing the model for.
        return {}


def _keep(held: ExitStack, workshop: Workshop, base: Base) -> None:
    """Keep the blobs of the base. Those that fall out of use meanwhile, because the base is deleted or gets
    another content, stay for this create, and go with it. Blocking."""
    blobs = [layer for layer in base.layers if layer.path is None and layer.digest]
    held.enter_context(workshop.store.keeping(layer.digest for layer in blobs))
    if workshop.store.tidy:
        for layer in blobs:
            workshop.note(layer)
