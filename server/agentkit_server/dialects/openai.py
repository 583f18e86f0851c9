"""The OpenAI dialect: everything under /v1 that this server answers."""

from __future__ import annotations

from fastapi import APIRouter, Request
from starlette.responses import Response

from agentkit_server.dialects import openai_chat, openai_completions, openai_embeddings, openai_models
from agentkit_server.errors import NotBuiltYet

router = APIRouter()
for endpoint in (openai_chat, openai_completions, openai_embeddings, openai_models):
    router.include_router(endpoint.router)


@router.post("/v1/audio/transcriptions")
@router.post("/v1/messages")
@router.post("/v1/responses")
async def not_built_yet(request: Request) -> Response:
    """Documented routes of later versions."""
    raise NotBuiltYet(f"{request.url.path} is not built yet in this version")
