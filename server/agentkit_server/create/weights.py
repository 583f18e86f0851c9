"""The weights of a new model on their way into the store: converted, merged, quantised. Every step says how
far it is, and leaves its result in the workshop.
"""

from __future__ import annotations

import math
from collections.abc import AsyncGenerator, Generator, Mapping, Sequence
from contextlib import aclosing
from dataclasses import dataclass
from pathlib import Path

from anyio import to_thread
from gguf.constants import GGML_QUANT_SIZES, GGMLQuantizationType

from agentkit_server.create.conversion import Imported, converted
from agentkit_server.create.in_turn import in_turn
from agentkit_server.create.quantization import check_source, file_type
from agentkit_server.create.sorting import GGUFFile
from agentkit_server.engine.quantize_job import FILE_TYPES, QuantizeJob
from agentkit_server.errors import QuantizeFailed, StoreError
from agentkit_server.models.digest import Digest
from agentkit_server.models.gguf import read_gguf
from agentkit_server.models.manifest import Layer, layer_type
from agentkit_server.models.model import GGUFInfo, TensorInfo
from agentkit_server.models.shards import merge_shards
from agentkit_server.models.sources.source import PullProgress
from agentkit_server.models.sources.steps import Steps
from agentkit_server.models.store import Store
from agentkit_server.runner.quantize import quantize

Importance = tuple[Digest, Path]


@dataclass(frozen=True)
class Weights:
    """A model file, or shards of one, and where they are."""

    path: Path
    """The file, or its first shard."""
    gguf: GGUFInfo
    layers: tuple[Layer, ...] = ()
    """In the store; () = a new file in the scratch folder."""
    shards: tuple[Path, ...] = ()
    """All of them, in the scratch folder, where they must still become one file."""


class Workshop:
    """The scratch folder of one create, and the blobs that it made or kept."""

    def __init__(self, store: Store, folder: Path) -> None:
        self._noted: list[Layer] = []
        self.store = store
        self.imported = Imported()
        self.subject = "model"
        """What is being worked on, in the words of the progress: a status that comes again is of the same
        thing, so that it never goes backwards."""
        self._folder = folder
        self._files = 0

    def add(self, kind: str, content: bytes) -> Layer:
        """Store the content of a text layer. Blocking."""
        return self.note(self.store.add_layer(layer_type(kind), content))

    def note(self, layer: Layer) -> Layer:
        """Remember a blob, for when no model names it in the end."""
        self._noted.append(layer)
        return layer

    def discard(self) -> None:
        """Remove what no model names. Blocking."""
        if self._noted:
            self.store.discard(self._noted)

    def path(self) -> Path:
        """Of a new file in the scratch folder."""
        self._files += 1
        return self._folder / f"file-{self._files}"

    async def convert(
        self, files: Mapping[str, Path], base: GGUFInfo | None = None
    ) -> AsyncGenerator[PullProgress]:
        """A safetensors folder becomes a new file; with `base`, it is an adapter of that model."""
        status = f"converting {self.subject}"
        yield PullProgress(status)
        target = self.path()
        steps = Steps(converted(files, target, base))
        async with aclosing(steps.run()) as progress:
            async for done, total in progress:
                yield PullProgress(status, total=total, completed=done)
        self.imported = steps.result
        for note in self.imported.notes:
            yield PullProgress(f"note: {note}")
        self.weights = Weights(target, await to_thread.run_sync(read_gguf, target))

    def take(self, files: Sequence[GGUFFile], kind: str) -> None:
        """Uploaded files become the weights: one, or all shards of one. Blocking."""
        if len(files) > 1:
            self._link(files)
        else:
            (file,) = files
            assert file.gguf is not None, "a shard alone is refused when files are sorted"
            self.weights = Weights(file.path, file.gguf, (file.layer(kind),))

    def finish(
        self, kind: str, wanted: str, importance: Importance | None = None
    ) -> AsyncGenerator[PullProgress]:
        """The weights, in the type `wanted` ("" = as they are), become blobs."""
        return in_turn(lambda: self._quantize(wanted, importance), self._merge, lambda: self._keep(kind))

    @property
    def _of(self) -> str:
        return "" if self.subject == "model" else f" of {self.subject}"

    def _link(self, shards: Sequence[GGUFFile]) -> None:
        """llama.cpp finds shards by their names, which blobs have not."""
        folder = self.path()
        folder.mkdir()
        links = [folder / f"model-{n:05}-of-{len(shards):05}.gguf" for n in range(1, len(shards) + 1)]
        for link, shard in zip(links, shards, strict=True):
            link.symlink_to(shard.path)
        self.weights = Weights(links[0], read_gguf(links[0]), shards=tuple(links))

    async def _merge(self) -> AsyncGenerator[PullProgress]:
        if not self.weights.shards:
            return
        target = self.path()
        steps = Steps(_merged(self.weights.shards, target))
        async with aclosing(steps.run()) as progress:
            async for done, total in progress:
                yield PullProgress(f"merging shards{self._of}", total=total, completed=done)
        self.weights = Weights(target, await to_thread.run_sync(read_gguf, target))

    async def _quantize(self, wanted: str, importance: Importance | None) -> AsyncGenerator[PullProgress]:
        have = self.weights.gguf.quantization
        if not wanted or have == file_type(wanted):
            return
        check_source(have, self.subject)
        status = f"quantizing {have} {self.subject} to {wanted}"
        async with aclosing(self._written(status, wanted, importance)) as progress:
            async for line in progress:
                yield line

    async def _keep(self, kind: str) -> AsyncGenerator[PullProgress]:
        if self.weights.layers:
            for layer in self.weights.layers:
                yield PullProgress(f"using existing layer {layer.digest}")
            return
        steps = Steps(self.store.adopt_steps(self.weights.path))
        async with aclosing(steps.run()) as progress:
            async for done, total in progress:
                yield PullProgress(f"computing sha256 digest{self._of}", total=total, completed=done)
        digest = steps.result
        size = self.weights.gguf.file_size
        layer = self.note(Layer(media_type=layer_type(kind), digest=str(digest), size=size))
        self.weights = Weights(self.store.blob_path(str(digest)), self.weights.gguf, (layer,))
        yield PullProgress(f"creating new layer {digest}")

    async def _written(
        self, status: str, wanted: str, importance: Importance | None
    ) -> AsyncGenerator[PullProgress]:
        """llama.cpp writes the weights anew. Progress is in bytes of the tensors that it read."""
        sizes = {tensor.name: tensor_bytes(tensor) for tensor in self.weights.gguf.tensors}
        total, done, before = sum(sizes.values()), 0, 0
        target = self.path()
        job = QuantizeJob(
            source=str(self.weights.path),
            target=str(target),
            file_type=FILE_TYPES[wanted],
            importance=str(importance[1]) if importance else "",
            importance_name=str(importance[0]) if importance else "",
        )
        # Without the digest of the source: a pull of that may have come just before, and been at its end.
        yield PullProgress(status, total=total, completed=0)
        try:
            async with aclosing(quantize(job)) as replies:
                async for at in replies:
                    done, before = done + before, sizes.get(at.name, 0)
                    yield PullProgress(status, total=total, completed=done)
        except QuantizeFailed as error:
            raise await to_thread.run_sync(self._explained, error) from None
        yield PullProgress(status, total=total, completed=total)
        self.weights = Weights(target, await to_thread.run_sync(read_gguf, target))

    def _explained(self, error: QuantizeFailed) -> QuantizeFailed | StoreError:
        """llama.cpp says of a full disk only that writing failed."""
        if "iostream" not in error.message:
            return error
        free = self.store.free_bytes()
        return StoreError(
            f"the new model could not be written: the disk of the model store has {free} bytes left; make "
            f"room and create the model again"
        )


def _merged(shards: Sequence[Path], target: Path) -> Generator[tuple[int, int]]:
    with target.open("wb") as file:
        yield from merge_shards(shards, file)


def tensor_bytes(tensor: TensorInfo) -> int:
    """How long the data of a tensor is."""
    block, size = GGML_QUANT_SIZES[GGMLQuantizationType[tensor.type]]
    return math.prod(tensor.shape) // block * size
