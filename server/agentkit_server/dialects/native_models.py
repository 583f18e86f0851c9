"""What models there are, and what they are: tags, ps, show, copy, delete."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any, cast

from anyio import to_thread
from fastapi import APIRouter, Request
from starlette.responses import Response

from agentkit_server.dialects._described import described
from agentkit_server.dialects._shared import backend_of
from agentkit_server.dialects.native_described import COPY, DELETE, PS, SHOW, TAGS
from agentkit_server.dialects.native_lines import native_json, rfc3339
from agentkit_server.dialects.native_types import CopyBody, ModelBody, ShowBody, read_as
from agentkit_server.errors import BadRequest, InvalidModelName
from agentkit_server.models.model import Details, Model
from agentkit_server.models.modelfile import render_modelfile, render_parameters
from agentkit_server.models.names import ModelName
from agentkit_server.residency.types import Loaded
from agentkit_server.turn.run import resolve

router = APIRouter()

NEVER = datetime(9999, 12, 31, 23, 59, 59, tzinfo=UTC)
"""`expires_at` of a model that stays loaded: the field has no other way to say so."""
LONG_ARRAY = 16
"""Metadata arrays longer than this are blanked in `show` unless it is verbose."""


@router.api_route("/api/tags", methods=["GET", "HEAD"])
@described(TAGS)
async def tags(request: Request) -> Response:
    """Every usable model in the store, the newest first."""
    models = await to_thread.run_sync(backend_of(request).store.list)
    return native_json({"models": [_row(model) for model in models]})


@router.get("/api/ps")
@described(PS)
async def ps(request: Request) -> Response:
    """Every model that is loaded or loading, the one used last first."""
    return native_json({"models": [_loaded(row) for row in backend_of(request).residency.loaded()]})


@router.post("/api/show")
@described(SHOW, ShowBody)
async def show(request: Request) -> Response:
    """Everything known about one model."""
    body = await read_as(request, ShowBody)
    if not body.wanted:
        raise BadRequest("model is required", param="model")
    model = await resolve(backend_of(request), body.wanted)
    return native_json(await to_thread.run_sync(_shown, model, body))


@router.post("/api/copy")
@described(COPY, CopyBody)
async def copy(request: Request) -> Response:
    """Give a model a second name."""
    body = await read_as(request, CopyBody)
    store = backend_of(request).store
    _check_name(body.source, f'source "{body.source}" is invalid', "source")
    _check_name(body.destination, f'destination "{body.destination}" is invalid', "destination")
    await to_thread.run_sync(store.copy, body.source, body.destination)
    return Response(status_code=200)


@router.delete("/api/delete")
@described(DELETE, ModelBody)
async def delete(request: Request) -> Response:
    """Forget a model, and unload it."""
    body = await read_as(request, ModelBody)
    backend = backend_of(request)
    _check_name(body.wanted, f'name "{body.wanted}" is invalid', "model")
    loaded = [row.model for row in backend.residency.loaded()]
    await to_thread.run_sync(backend.store.delete, body.wanted)
    key = ModelName.parse(body.wanted).key
    for model in loaded:
        if model.name.key == key:
            await backend.residency.unload(model)
    return Response(status_code=200)


def details_of(details: Details) -> dict[str, Any]:
    """The `details` object."""
    return {
        "parent_model": details.parent_model,
        "format": details.format,
        "family": details.family,
        "families": details.families,
        "parameter_size": details.parameter_size,
        "quantization_level": details.quantization_level,
        "context_length": details.context_length,
        "embedding_length": details.embedding_length,
    }


def _check_name(name: str, message: str, param: str) -> None:
    try:
        ModelName.parse(name)
    except InvalidModelName:
        raise InvalidModelName(message, param=param) from None


def _row(model: Model) -> dict[str, Any]:
    return {
        "name": model.name.short,
        "model": model.name.short,
        "modified_at": rfc3339(model.modified_at),
        "size": model.size,
        "digest": model.digest,
        "details": details_of(model.details),
        "capabilities": model.capabilities,
    }


def _loaded(row: Loaded) -> dict[str, Any]:
    return {
        "name": row.model.name.short,
        "model": row.model.name.short,
        "size": row.size,
        "size_vram": row.size_vram,
        "digest": row.model.digest,
        "details": details_of(row.model.details),
        "expires_at": rfc3339(row.expires_at or NEVER),
        "context_length": row.context_length,
        **({} if row.loading is None else {"loading": row.loading}),
        **({"stopping": True} if row.stopping else {}),
        **({"note": row.note} if row.note else {}),
    }


def _shown(model: Model, body: ShowBody) -> dict[str, Any]:
    return {
        "license": "\n".join(model.license),
        "modelfile": render_modelfile(model),
        "parameters": render_parameters(model.parameters),
        "template": body.template or model.go_template or model.gguf.chat_template or "",
        "system": body.system or model.system or "",
        "details": details_of(model.details),
        "messages": model.messages,
        "model_info": _model_info(model, verbose=body.verbose),
        "projector_info": {},
        "tensors": [
            {"name": tensor.name, "type": tensor.type, "shape": tensor.shape} for tensor in model.gguf.tensors
        ],
        "capabilities": model.capabilities,
        "modified_at": rfc3339(model.modified_at),
        **({"requires": model.requires} if model.requires else {}),
    }


def _model_info(model: Model, *, verbose: bool) -> dict[str, Any]:
    info = {**model.gguf.metadata, "general.parameter_count": model.gguf.parameter_count}
    info.pop("tokenizer.chat_template", None)
    return {key: _listed(value, verbose=verbose) for key, value in info.items()}


def _listed(value: Any, *, verbose: bool) -> Any:
    """An array as a list, a long one as None unless `verbose`: it is read from the model file only now."""
    if isinstance(value, str) or not isinstance(value, Sequence):
        return value
    array = cast("Sequence[Any]", value)
    return list(array) if verbose or len(array) <= LONG_ARRAY else None
