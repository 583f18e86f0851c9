"""Which uploaded files are what: a GGUF model, shards of one, a projector, an adapter, a safetensors folder.

Content decides, names only where content says nothing. Raises BadRequest and InvalidGGUF.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path, PurePosixPath
from typing import Literal

from agentkit_server.create.conversion import folder
from agentkit_server.errors import BadRequest, InvalidGGUF
from agentkit_server.models.convert.convert import is_adapter, is_safetensors
from agentkit_server.models.convert.safetensors import SUFFIX
from agentkit_server.models.digest import Digest
from agentkit_server.models.gguf import gguf_of
from agentkit_server.models.gguf_header import Header, read_header
from agentkit_server.models.manifest import Layer, layer_type
from agentkit_server.models.model import GGUFInfo

Files = Mapping[str, tuple[Digest, Path]]
"""Name -> digest and blob."""
Kind = Literal["model", "projector", "adapter"]

_MAGIC = b"GGUF"
_PROJECTORS = ("mmproj", "projector")


@dataclass(frozen=True)
class GGUFFile:
    """An uploaded GGUF file."""

    name: str
    digest: Digest
    path: Path
    header: Header
    gguf: GGUFInfo | None
    """None for a shard behind the first, which says nothing of the model."""

    @property
    def kind(self) -> Kind:
        return "model" if self.gguf is None else kind_of(self.gguf)

    def layer(self, kind: str) -> Layer:
        """This file as a part of a model."""
        size = self.header.file_size
        return Layer(media_type=layer_type(kind), digest=str(self.digest), size=size)


@dataclass(frozen=True)
class Sorted:
    """The files of one model or adapter; at most one of `weights` and `folder` has any."""

    weights: tuple[GGUFFile, ...] = ()
    """One file, or all shards in their order."""
    projectors: tuple[GGUFFile, ...] = ()
    folder: Mapping[str, Path] = field(default_factory=dict[str, Path])
    """Files to convert, by their names in the folder."""
    uploaded: frozenset[str] = frozenset()
    """Names that those of `folder` were uploaded under."""

    @property
    def names(self) -> frozenset[str]:
        """What the uploader calls the files."""
        return self.uploaded | {file.name for file in (*self.weights, *self.projectors)}


def sort_files(files: Files, *, overlay: bool = False) -> Sorted:
    """The files of a model. As an `overlay` of another model they may be projectors only."""
    if not files:
        return Sorted()
    ggufs = {name: file for name, file in files.items() if _begins(file[1], _MAGIC)}
    paths = {name: path for name, (_, path) in files.items()}
    if not ggufs:
        if not is_safetensors(paths):
            raise BadRequest(
                f"unknown type: {_listed(files)} is neither a GGUF file nor a safetensors folder",
                param="files",
            )
        if overlay:
            raise _two_models()
        inside = folder(paths)
        if is_adapter(inside):
            raise _adapter_as_model(_listed(files))
        _check_all_inside(paths, inside)
        return Sorted(folder=inside, uploaded=frozenset(paths))
    if other := [name for name in files if name not in ggufs]:
        raise BadRequest(f"supplied file was not in GGUF format: {other[0]!r}", param="files")
    return _sorted_ggufs([_read(name, *file) for name, file in ggufs.items()], overlay=overlay)


def sort_adapters(files: Files) -> dict[str, Sorted]:
    """The adapters among `files`: each GGUF file is one, and so is each folder with safetensors. By the name
    of the file or the folder."""
    adapters: dict[str, Sorted] = {}
    folders: dict[str, dict[str, Path]] = {}
    for name, (digest, path) in files.items():
        if _begins(path, _MAGIC):
            file = _read(name, digest, path)
            if file.kind != "adapter":
                raise BadRequest(f"{name!r} is a {file.kind}, and no adapter", param="adapters")
            adapters[name] = Sorted(weights=(file,))
        else:
            folders.setdefault(str(PurePosixPath(name).parent), {})[name] = path
    for parent, paths in folders.items():
        inside = {PurePosixPath(name).name: path for name, path in paths.items()}
        if not (is_safetensors(inside) and is_adapter(inside)):
            raise BadRequest(
                f"unknown type: {_listed(paths)} is neither an adapter in GGUF nor a folder with one in "
                f"safetensors",
                param="adapters",
            )
        adapters[parent] = Sorted(folder=inside, uploaded=frozenset(paths))
    _check_all_different(adapters)
    return adapters


def _check_all_inside(paths: Mapping[str, Path], inside: Mapping[str, Path]) -> None:
    """No weights may lie outside of the folder that is converted."""
    converted = {*inside.values()}
    outside = [name for name, path in paths.items() if path not in converted and name.endswith(SUFFIX)]
    if outside:
        raise BadRequest(f"{_listed(outside)} is not in the folder of config.json", param="files")


def _check_all_different(adapters: Mapping[str, Sorted]) -> None:
    """A model has an adapter once, with one scale."""
    seen: dict[frozenset[Path], str] = {}
    for name, adapter in adapters.items():
        content = frozenset([*adapter.folder.values(), *(file.path for file in adapter.weights)])
        other = seen.setdefault(content, name)
        if other != name:
            raise BadRequest(
                f"{other!r} and {name!r} are the same adapter: give it once, with its scale",
                param="adapters",
            )


def kind_of(gguf: GGUFInfo) -> Kind:
    """What a GGUF file is for."""
    stated = gguf.metadata.get("general.type")
    if stated == "adapter":
        return "adapter"
    vision_only = not gguf.block_count and bool(gguf.metadata.get(f"{gguf.architecture}.vision.block_count"))
    return "projector" if stated in _PROJECTORS or gguf.architecture == "clip" or vision_only else "model"


def _sorted_ggufs(files: list[GGUFFile], *, overlay: bool) -> Sorted:
    models = [file for file in files if file.kind == "model"]
    projectors = tuple({file.digest: file for file in files if file.kind == "projector"}.values())
    if adapter := next((file for file in files if file.kind == "adapter"), None):
        raise _adapter_as_model(repr(adapter.name))
    if overlay and models:
        raise _two_models()
    if not overlay and not models:
        listed = _listed(file.name for file in files)
        raise BadRequest(f"{listed}: there is no model, only a projector", param="files")
    return Sorted(weights=_in_order(models) if models else (), projectors=projectors)


def _in_order(models: list[GGUFFile]) -> tuple[GGUFFile, ...]:
    """One model, or all of its shards by their numbers."""
    listed = _listed(file.name for file in models)
    shards = {_number(file, "split.no", 0): file for file in models}
    counts = {_number(file, "split.count", 1) or 1 for file in models}
    if len(counts) > 1 or len(shards) < len(models):
        raise BadRequest(f"more than one model: {listed}; one model, or all shards of one", param="files")
    count = counts.pop()
    missing = next((number for number in range(count) if number not in shards), None)
    if missing is not None:
        lacks = f"shard {missing + 1} of {count} is missing"
        raise BadRequest(f"invalid split GGUF: {lacks} among {listed}", param="files")
    if len(shards) > count:
        raise BadRequest(f"invalid split GGUF: there are to be {count} shards, not {listed}", param="files")
    return tuple(shards[number] for number in range(count))


def _number(file: GGUFFile, key: str, default: int) -> int:
    value = file.header.metadata.get(key, default)
    if not isinstance(value, int) or value < 0:
        raise InvalidGGUF(f"{file.name!r} has {key} = {value!r:.80} where a number belongs", param="files")
    return value


def _read(name: str, digest: Digest, path: Path) -> GGUFFile:
    try:
        header = read_header(path)
        gguf = None if header.metadata.get("split.no") else gguf_of(path, [header])
    except InvalidGGUF as error:
        raise InvalidGGUF(error.message.replace(str(path), name), param="files") from None
    return GGUFFile(name, digest, path, header, gguf)


def _begins(path: Path, magic: bytes) -> bool:
    with path.open("rb") as file:
        return file.read(len(magic)) == magic


def _listed(names: Iterable[str]) -> str:
    return ", ".join(repr(name[:100]) for name in islice(names, 5))


def _adapter_as_model(listed: str) -> BadRequest:
    return BadRequest(f"{listed} is a LoRA adapter: give it as one of 'adapters'", param="files")


def _two_models() -> BadRequest:
    return BadRequest("'from' and 'files' both give a model: leave one of them out", param="files")
