"""The OpenAI dialect: everything under /v1 that this server answers."""

from __future__ import annotations

from fastapi import APIRouter

from agentkit_server.dialects import openai_chat, openai_completions, openai_embeddings, openai_models

router = APIRouter()
for endpoint in (openai_chat, openai_completions, openai_embeddings, openai_models):
    router.include_router(endpoint.router)
