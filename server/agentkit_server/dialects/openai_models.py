"""GET /v1/models and /v1/models/{model}: the store's models as OpenAI lists them."""

from __future__ import annotations

from typing import Any

from anyio import to_thread
from fastapi import APIRouter, Request
from starlette.responses import Response

from agentkit_server.dialects._shared import backend_of
from agentkit_server.dialects.openai_wire import json_response
from agentkit_server.models.model import Model
from agentkit_server.turn.run import resolve

router = APIRouter()


@router.get("/v1/models")
async def models(request: Request) -> Response:
    """Every model of the store, the newest first."""
    found = await to_thread.run_sync(backend_of(request).store.list)
    return json_response({"object": "list", "data": [model_object(model) for model in found]})


@router.get("/v1/models/{name:path}")
async def model(request: Request, name: str) -> Response:
    """One model; its name may contain slashes. Raises ModelNotFound, InvalidModelName."""
    return json_response(model_object(await resolve(backend_of(request), name)))


def model_object(model: Model) -> dict[str, Any]:
    """The `model` object."""
    return {
        "id": model.name.short,
        "object": "model",
        "created": int(model.modified_at.timestamp()),
        "owned_by": model.name.namespace,
    }
