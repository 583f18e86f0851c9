"""POST /api/tokenize, /api/detokenize and /api/apply_template: what the model reads, without an answer.
Extensions; Ollama has no such routes."""

from __future__ import annotations

from typing import Any

from fastapi import APIRouter, Request
from starlette.responses import Response

from agentkit_server.dialects._described import described
from agentkit_server.dialects._shared import backend_of, unless_gone
from agentkit_server.dialects.native_chat import chat_turn
from agentkit_server.dialects.native_lines import native_json
from agentkit_server.dialects.native_options import run_options, warned_options
from agentkit_server.dialects.native_tokens_described import APPLY_TEMPLATE, DETOKENIZE, TOKENIZE
from agentkit_server.dialects.native_types import (
    DetokenizeBody,
    TemplateBody,
    TokenizeBody,
    TokensBody,
    read_as,
)
from agentkit_server.errors import BadRequest
from agentkit_server.turn.tokens import Wanted, detokenize, tokenize, write_prompt
from agentkit_server.turn.types import Chat

router = APIRouter()


@router.post("/api/tokenize")
@described(TOKENIZE, TokenizeBody)
async def tokenize_text(request: Request) -> Response:
    """The token ids of a text."""
    body = await read_as(request, TokenizeBody)
    if body.text is None:
        raise BadRequest("text is required", param="text")
    work = tokenize(
        backend_of(request),
        _wanted(body),
        body.text,
        add_special=body.add_special,
        parse_special=body.parse_special,
    )
    tokens = await unless_gone(request, work)
    return native_json({"model": body.wanted, "tokens": tokens, "count": len(tokens)})


@router.post("/api/detokenize")
@described(DETOKENIZE, DetokenizeBody)
async def detokenize_ids(request: Request) -> Response:
    """The text of token ids."""
    body = await read_as(request, DetokenizeBody)
    if body.tokens is None:
        raise BadRequest("tokens is required", param="tokens")
    work = detokenize(backend_of(request), _wanted(body), body.tokens, special=body.special)
    return native_json({"model": body.wanted, "text": await unless_gone(request, work)})


@router.post("/api/apply_template")
@described(APPLY_TEMPLATE, TemplateBody)
async def apply_template(request: Request) -> Response:
    """The prompt that /api/chat would make of the same body, and how many tokens it has."""
    body = await read_as(request, TemplateBody)
    _check_named(body.wanted)
    turn = chat_turn(body, run_options(body))
    if not body.messages or not isinstance(turn.prompt, Chat):
        raise BadRequest("messages is empty; send at least one message", param="messages")
    written = await unless_gone(request, write_prompt(backend_of(request), turn, turn.prompt))
    answer: dict[str, Any] = {
        "model": body.wanted,
        "prompt": written.text,
        "prompt_eval_count": len(written.tokens),
        "context_length": written.context_length,
    }
    return native_json(answer | ({"tokens": written.tokens} if body.tokens else {}))


def _wanted(body: TokensBody) -> Wanted:
    _check_named(body.wanted)
    return Wanted(
        model=body.wanted,
        load=warned_options(body.options).load,
        keep_alive=body.keep_alive,
        max_seconds=body.max_seconds,
    )


def _check_named(model: str) -> None:
    if not model:
        raise BadRequest("model is required", param="model")
