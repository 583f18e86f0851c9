"""What a model is to be made of, as a caller says it, and the checks before any work: names, digests, types.

File names are untrusted. None becomes a path of this machine; they tell shards, folders and scales apart.
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath
from typing import Any

from agentkit_server.create.changes import Changes, changes
from agentkit_server.create.config import config_changes
from agentkit_server.create.quantization import quantization
from agentkit_server.create.sorting import Sorted, sort_adapters, sort_files
from agentkit_server.engine.quantize_job import NEED_IMPORTANCE
from agentkit_server.errors import BadRequest, NotFound
from agentkit_server.models.digest import Digest
from agentkit_server.models.names import ModelName
from agentkit_server.models.store import Store

MAX_FILES = 1024
MAX_SCALE = 1e4
_NO_PATH = re.compile(r"[\\:\x00-\x1f\x7f]")


@dataclass(frozen=True, kw_only=True)
class CreateRequest:
    """The words of `POST /api/create`; "" and empty = not given."""

    model: str
    base: str = ""
    """What it is FROM: the name of a model, or whatever a pull understands."""
    files: Mapping[str, str] | None = None
    """Name -> digest of an uploaded blob."""
    draft_files: Mapping[str, str] | None = None
    adapters: Mapping[str, str] | None = None
    adapter_scales: Mapping[str, float] = field(default_factory=dict[str, float])
    template: str = ""
    system: str = ""
    license: Any = None
    """A text, or a list of them."""
    parameters: Mapping[str, Any] = field(default_factory=dict[str, Any])
    messages: Sequence[Mapping[str, Any]] = ()
    renderer: str = ""
    parser: str = ""
    requires: str = ""
    info: Mapping[str, Any] = field(default_factory=dict[str, Any])
    capabilities: Sequence[str] = ()
    quantize: str = ""
    draft_quantize: str = ""
    imatrix: str = ""
    """Digest of an importance matrix."""
    remote_host: str = ""


@dataclass(frozen=True, kw_only=True)
class Recipe:
    """A request that has been checked."""

    name: ModelName
    base: str
    files: Sorted
    draft: Sorted
    adapters: tuple[tuple[Sorted, float], ...]
    """Each with its scale."""
    changes: Changes
    config: Mapping[str, Any]
    """Fields of the config blob that the caller states."""
    quantize: str
    draft_quantize: str
    importance: tuple[Digest, Path] | None
    digests: tuple[str, ...]
    """Every uploaded blob that it needs."""


def checked(request: CreateRequest, store: Store) -> Recipe:
    """The recipe of `request`. Blocking: reads the headers of uploaded files.

    Raises InvalidModelName, InvalidDigest, NotFound for a blob that is not there, and BadRequest.
    """
    name = ModelName.parse(request.model)
    _check_combinations(request)
    quantize, draft_quantize = _quantization(request), _draft_quantization(request)
    files, drafts = _paths(store, request.files), _paths(store, request.draft_files)
    adapters = _paths(store, request.adapters)
    if request.files is not None and not files and not request.base:
        raise BadRequest("no files provided to convert", param="files")
    matrix = _paths(store, {"imatrix": request.imatrix} if request.imatrix else None)
    uploaded = (*files.values(), *drafts.values(), *adapters.values(), *matrix.values())
    return Recipe(
        name=name,
        base=request.base,
        files=sort_files(files, overlay=bool(request.base)),
        draft=_draft(drafts),
        adapters=_scaled(sort_adapters(adapters), request.adapter_scales),
        changes=changes(
            request.template, request.system, request.license, request.parameters, request.messages
        ),
        config=config_changes(
            request.info,
            request.capabilities,
            renderer=request.renderer,
            parser=request.parser,
            requires=request.requires,
        ),
        quantize=quantize,
        draft_quantize=draft_quantize,
        importance=matrix.get("imatrix"),
        digests=tuple(str(digest) for digest, _ in uploaded),
    )


def _check_combinations(request: CreateRequest) -> None:
    if request.remote_host:
        if request.draft_files:
            raise BadRequest("DRAFT cannot be used with remote models", param="draft_files")
        raise BadRequest(
            f"this server cannot run remote models: leave out remote_host = {request.remote_host[:100]!r}",
            param="remote_host",
        )
    if request.draft_quantize and not request.draft_files:
        raise BadRequest("--draft-quantize requires a DRAFT model", param="draft_quantize")
    if not request.base and request.files is None:
        raise BadRequest("neither 'from' or 'files' was specified", param="from")
    if request.imatrix and not request.quantize:
        raise BadRequest(
            "an imatrix is for quantising: say quantize = a type too, or leave it out", param="imatrix"
        )


def _quantization(request: CreateRequest) -> str:
    wanted = quantization(request.quantize, "quantize")
    if wanted in NEED_IMPORTANCE and not request.imatrix:
        raise BadRequest(
            f"{wanted} needs an importance matrix, or its results are useless: upload one that llama-imatrix "
            f"made and give its digest as imatrix, or take a type of more bits",
            param="imatrix",
        )
    return wanted


def _draft_quantization(request: CreateRequest) -> str:
    wanted = quantization(request.draft_quantize, "draft_quantize")
    if wanted in NEED_IMPORTANCE:
        raise BadRequest(
            f"{wanted} needs an importance matrix, and draft models are quantised without: take a type of "
            f"more bits",
            param="draft_quantize",
        )
    return wanted


def _paths(store: Store, files: Mapping[str, str] | None) -> dict[str, tuple[Digest, Path]]:
    """Digest and blob of each file. Raises BadRequest, InvalidDigest, NotFound."""
    if files is not None and len(files) > MAX_FILES:
        raise BadRequest(f"too many files: {len(files)} exceeds maximum {MAX_FILES}", param="files")
    return {name: _blob(store, name, digest) for name, digest in (files or {}).items()}


def _blob(store: Store, name: str, text: str) -> tuple[Digest, Path]:
    parts = PurePosixPath(name).parts
    if not parts or name.startswith("/") or ".." in parts or _NO_PATH.search(name):
        raise BadRequest(f"file path must be relative: {name[:200]!r}", param="files")
    digest = Digest.parse(text)
    if not store.has_blob(text):
        raise NotFound(f'blob "{digest}" not found: upload {name!r} with POST /api/blobs/{digest} first')
    return digest, store.blob_path(text)


def _draft(files: Mapping[str, tuple[Digest, Path]]) -> Sorted:
    found = sort_files(files)
    if found.projectors:
        name = found.projectors[0].name
        raise BadRequest(f"{name!r} is a projector, which no draft model has", param="draft_files")
    return found


def _scaled(adapters: Mapping[str, Sorted], scales: Mapping[str, float]) -> tuple[tuple[Sorted, float], ...]:
    """Each adapter with its scale, which is named by one of its files, or by their folder."""
    left = dict(scales)
    scaled: list[tuple[Sorted, float]] = []
    for folder, adapter in adapters.items():
        names = {folder, *adapter.names} & left.keys()
        given = {left.pop(name) for name in names}
        if len(given) > 1:
            raise BadRequest(
                f"adapter_scales says two things of the adapter {folder!r}", param="adapter_scales"
            )
        scaled.append((adapter, _scale(folder, given.pop() if given else 1.0)))
    if left:
        raise BadRequest(
            f"adapter_scales names {min(left)!r}, which is none of the adapters ({', '.join(adapters)})",
            param="adapter_scales",
        )
    return tuple(scaled)


def _scale(name: str, scale: float) -> float:
    if not math.isfinite(scale) or abs(scale) > MAX_SCALE:
        raise BadRequest(
            f"the scale of adapter {name!r} must be from {-MAX_SCALE:g} to {MAX_SCALE:g}: {scale!r}",
            param="adapter_scales",
        )
    return float(scale)
