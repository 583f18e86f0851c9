"""GET /v1/models and /v1/models/{model}: the store's models as OpenAI lists them."""

from __future__ import annotations

from functools import partial
from typing import Any

from anyio import to_thread
from fastapi import APIRouter, Request
from starlette.responses import Response

from agentkit_server.dialects._described import described
from agentkit_server.dialects._shared import backend_of
from agentkit_server.dialects.anthropic_errors import speaks as speaks_anthropic
from agentkit_server.dialects.anthropic_models import models_page, one_model
from agentkit_server.dialects.openai_described import MODEL, MODELS
from agentkit_server.dialects.openai_wire import json_response
from agentkit_server.models.model import Model
from agentkit_server.turn.backend import context_length, resolve

router = APIRouter()


@router.get("/v1/models")
@described(MODELS)
async def models(request: Request) -> Response:
    """Every model of the store, the newest first."""
    backend = backend_of(request)
    found = await to_thread.run_sync(backend.store.list)
    if speaks_anthropic(request):
        return models_page(request, found, partial(context_length, backend))
    listed = [model_object(model, context_length(backend, model)) for model in found]
    return json_response({"object": "list", "data": listed})


@router.get("/v1/models/{name:path}")
@described(MODEL)
async def model(request: Request, name: str) -> Response:
    """One model; its name may contain slashes. Raises ModelNotFound, InvalidModelName."""
    backend = backend_of(request)
    found = await resolve(backend, name)
    if speaks_anthropic(request):
        return one_model(found, context_length(backend, found))
    return json_response(model_object(found, context_length(backend, found)))


def model_object(model: Model, context: int) -> dict[str, Any]:
    """The `model` object. OpenAI has no place for a context length: `context` stands where OpenRouter and
    vLLM have it, what the model was trained for where LM Studio and Mistral do, capabilities in Ollama's
    words."""
    return {
        "id": model.name.short,
        "object": "model",
        "created": int(model.modified_at.timestamp()),
        "owned_by": model.name.namespace,
        "context_length": context,
        "max_model_len": context,
        "max_context_length": model.gguf.context_length or None,
        "capabilities": model.capabilities,
    }
