"""The OpenAI dialect: everything under /v1 that this server answers."""

from __future__ import annotations

from fastapi import APIRouter, Request
from starlette.responses import Response

from agentkit_server.dialects import (
    openai_chat,
    openai_completions,
    openai_embeddings,
    openai_models,
    rerank,
    responses,
    responses_stored,
)
from agentkit_server.dialects._described import described
from agentkit_server.dialects.openai_described import NOT_BUILT_YET
from agentkit_server.errors import NotBuiltYet

router = APIRouter()
for endpoint in (
    openai_chat,
    openai_completions,
    openai_embeddings,
    openai_models,
    rerank,
    responses,
    responses_stored,
):
    router.include_router(endpoint.router)


@router.post("/v1/audio/transcriptions")
@described(NOT_BUILT_YET)
async def not_built_yet(request: Request) -> Response:
    """Documented routes of later versions."""
    raise NotBuiltYet(f"{request.url.path} is not built yet in this version")
