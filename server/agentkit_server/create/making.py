"""One model being made: part after part becomes layers, and at the end a manifest."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Mapping
from contextlib import aclosing
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import msgspec
from anyio import to_thread

from agentkit_server.create.config import config_json
from agentkit_server.create.conversion import Imported
from agentkit_server.create.in_turn import in_turn
from agentkit_server.create.quantization import file_type
from agentkit_server.create.request import Recipe
from agentkit_server.create.sorting import Sorted
from agentkit_server.create.weights import Weights, Workshop
from agentkit_server.errors import BadRequest, InvalidGGUF
from agentkit_server.models.adapters import check_adapter
from agentkit_server.models.manifest import CONFIG_TYPE, MAX_MANIFEST_BYTES, Layer, Manifest, encode
from agentkit_server.models.model import GGUFInfo, Model
from agentkit_server.models.sources.source import PullProgress

_BUILT = frozenset({"model", "projector", "adapter", "draft"})
"""Kinds of layers that are not taken over from a base with the rest."""


@dataclass(frozen=True)
class Base:
    """The model that a new one is made from."""

    model: Model
    layers: tuple[Layer, ...]
    config: Mapping[str, Any]

    def of_kind(self, kind: str) -> tuple[Layer, ...]:
        return tuple(layer for layer in self.layers if layer.kind == kind)


class Making:
    """Makes the model of `recipe`, from `base` where it has one."""

    def __init__(self, recipe: Recipe, base: Base | None, workshop: Workshop) -> None:
        self._recipe = recipe
        self._base = base
        self._workshop = workshop
        self._layers: list[Layer] = []
        self._gguf: GGUFInfo
        self._imported: Imported
        self._requantized = False
        self._draft = ""

    def run(self) -> AsyncGenerator[PullProgress]:
        """The model is there once this ends."""
        return in_turn(self._weights, self._projectors, self._adapters, self._drafts, self._rest)

    async def _weights(self) -> AsyncGenerator[PullProgress]:
        recipe, workshop = self._recipe, self._workshop

        def gathered() -> AsyncGenerator[PullProgress]:
            return self._from_base(self._base) if self._base else self._gathered(recipe.files, "model")

        def finished() -> AsyncGenerator[PullProgress]:
            self._requantized = file_type(recipe.quantize) not in ("", workshop.weights.gguf.quantization)
            return workshop.finish("model", recipe.quantize, recipe.importance)

        async with aclosing(in_turn(gathered, finished)) as lines:
            async for line in lines:
                yield line
        self._gguf, self._imported = workshop.weights.gguf, workshop.imported
        self._layers += workshop.weights.layers

    async def _from_base(self, base: Base) -> AsyncGenerator[PullProgress]:
        self._workshop.weights = Weights(base.model.path, base.model.gguf, base.of_kind("model"))
        return
        yield

    async def _gathered(
        self, files: Sorted, kind: str, base: GGUFInfo | None = None
    ) -> AsyncGenerator[PullProgress]:
        """Uploaded files become the weights; with `base`, a folder is an adapter of that model."""
        if files.folder:
            async with aclosing(self._workshop.convert(files.folder, base)) as lines:
                async for line in lines:
                    yield line
        else:
            yield PullProgress("parsing GGUF")
            await to_thread.run_sync(self._workshop.take, files.weights, kind)

    async def _projectors(self) -> AsyncGenerator[PullProgress]:
        """Those that are given take the place of the base's."""
        given = [file.layer("projector") for file in self._recipe.files.projectors]
        for layer in given:
            yield PullProgress(f"using existing layer {layer.digest}")
        self._layers += given or (self._base.of_kind("projector") if self._base else ())

    async def _adapters(self) -> AsyncGenerator[PullProgress]:
        """Those that are given come behind the base's; one that was there already has its new scale."""
        adapters = {layer.digest: layer for layer in (self._base.of_kind("adapter") if self._base else ())}
        count = len(self._recipe.adapters)
        for number, (adapter, scale) in enumerate(self._recipe.adapters, 1):
            self._workshop.subject = "adapter" if count == 1 else f"adapter {number} of {count}"
            async with aclosing(self._adapter(adapter)) as lines:
                async for line in lines:
                    yield line
            (layer,) = self._workshop.weights.layers
            adapters[layer.digest] = msgspec.structs.replace(layer, scale=scale)
        self._layers += adapters.values()

    async def _adapter(self, adapter: Sorted) -> AsyncGenerator[PullProgress]:
        workshop, base = self._workshop, self._gguf
        async with aclosing(self._gathered(adapter, "adapter", base)) as lines:
            async for line in lines:
                yield line
        note = await to_thread.run_sync(_check, min(adapter.names), workshop.weights.path, base)
        if note:
            yield PullProgress(f"note: {note}")
        async with aclosing(workshop.finish("adapter", "")) as lines:
            async for line in lines:
                yield line

    async def _drafts(self) -> AsyncGenerator[PullProgress]:
        recipe, workshop = self._recipe, self._workshop
        if not (recipe.draft.folder or recipe.draft.weights):
            self._layers += self._base.of_kind("draft") if self._base else ()
            return
        workshop.subject = "draft model"
        parts = in_turn(
            lambda: self._gathered(recipe.draft, "draft"),
            lambda: workshop.finish("draft", recipe.draft_quantize),
        )
        async with aclosing(parts) as lines:
            async for line in lines:
                yield line
        self._draft = workshop.weights.gguf.architecture
        self._layers += workshop.weights.layers
        yield PullProgress("the draft model is kept, and this version does not generate with it yet")

    async def _rest(self) -> AsyncGenerator[PullProgress]:
        layers = await to_thread.run_sync(self._texts)
        for layer in layers:
            yield PullProgress(f"creating new layer {layer.digest}")
        yield PullProgress("writing manifest")
        await to_thread.run_sync(self._write)

    def _texts(self) -> list[Layer]:
        """Texts of the base that stay, and the new ones. Blocking."""
        base, imported, given = self._base, self._imported, self._recipe.changes
        changes = replace(
            given,
            parameters={**imported.parameters, **given.parameters},
            licenses=given.licenses or ((imported.license,) if imported.license else ()),
        )
        gone = changes.replaced() | _BUILT
        kept = [layer for layer in base.layers if layer.kind not in gone] if base else []
        parameters = base.model.parameters if base else {}
        new = [self._workshop.add(kind, content) for kind, content in changes.layers(parameters)]
        known = {(layer.kind, layer.digest) for layer in kept}
        self._layers += [*kept, *(layer for layer in new if (layer.kind, layer.digest) not in known)]
        return new

    def _write(self) -> None:
        """The manifest makes the model visible, all at once. Blocking."""
        inherited: Mapping[str, Any] = self._base.config if self._base else {}
        outdated = {"file_type": self._requantized, "model_families": bool(self._recipe.files.projectors)}
        base = {name: value for name, value in inherited.items() if not outdated.get(name)}
        config = config_json(base, self._recipe.config, self._gguf, self._layers, self._draft)
        workshop = self._workshop
        layer = workshop.note(workshop.store.add_layer(CONFIG_TYPE, config))
        manifest = Manifest(config=layer, layers=tuple(self._layers))
        _check_size(manifest)
        workshop.store.write_manifest(self._recipe.name, manifest)


def _check_size(manifest: Manifest) -> None:
    """Raises BadRequest for a manifest that could not be read again."""
    size = len(encode(manifest))
    if size > MAX_MANIFEST_BYTES:
        raise BadRequest(
            f"the model would have {len(manifest.layers)} licences, adapters and other parts, and a manifest "
            f"of {size} bytes, more than {MAX_MANIFEST_BYTES}"
        )


def _check(name: str, path: Path, base: GGUFInfo) -> str:
    """What of the adapter `name` is not applied. Blocking; raises InvalidGGUF when it does not fit."""
    try:
        return check_adapter(path, base).replace(str(path), name)
    except InvalidGGUF as error:
        raise InvalidGGUF(error.message.replace(str(path), name), param="adapters") from None
