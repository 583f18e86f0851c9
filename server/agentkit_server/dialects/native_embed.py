"""POST /api/embed and its older sister /api/embeddings."""

from __future__ import annotations

from typing import Any, cast

from fastapi import APIRouter, Request
from starlette.responses import Response

from agentkit_server.dialects._described import described
from agentkit_server.dialects._shared import backend_of, unless_gone
from agentkit_server.dialects.native_described import EMBED, EMBEDDINGS
from agentkit_server.dialects.native_lines import native_json
from agentkit_server.dialects.native_options import warned_options
from agentkit_server.dialects.native_types import EmbedBody, EmbeddingsBody, read_as
from agentkit_server.errors import BadRequest, ModelNotFound
from agentkit_server.turn.run import EmbedRequest, embed

router = APIRouter()


@router.post("/api/embed")
@described(EMBED, EmbedBody)
async def embed_inputs(request: Request) -> Response:
    """One vector of length 1 for each input. What was cut to fit is counted in `truncated_tokens`."""
    body = await read_as(request, EmbedBody)
    result = await unless_gone(request, embed(backend_of(request), embed_request(body)))
    answer: dict[str, Any] = {
        "model": body.wanted,
        "embeddings": result.vectors,
        "total_duration": result.total_ns,
        "load_duration": result.load_ns,
        "prompt_eval_count": result.prompt_tokens,
    }
    if result.truncated_tokens:
        answer["truncated_tokens"] = result.truncated_tokens
    return native_json(answer)


@router.post("/api/embeddings")
@described(EMBEDDINGS, EmbeddingsBody)
async def embed_prompt(request: Request) -> Response:
    """One vector as the model gives it, of whatever length; an empty prompt only loads the model."""
    body = await read_as(request, EmbeddingsBody)
    embed_one = EmbedRequest(
        model=_named(body.wanted),
        inputs=(body.prompt,) if body.prompt else (),
        normalise=False,
        load=warned_options(body.options).load,
        keep_alive=body.keep_alive,
    )
    result = await unless_gone(request, embed(backend_of(request), embed_one))
    answer: dict[str, Any] = {"embedding": result.vectors[0] if result.vectors else []}
    if result.truncated_tokens:
        answer["truncated_tokens"] = result.truncated_tokens
    return native_json(answer)


def embed_request(body: EmbedBody) -> EmbedRequest:
    """What /api/embed asks for. Raises BadRequest for an input that is neither text nor texts."""
    return EmbedRequest(
        model=_named(body.wanted),
        inputs=_inputs(body.input),
        truncate=body.truncate,
        dimensions=body.dimensions or None,
        load=warned_options(body.options).load,
        keep_alive=body.keep_alive,
    )


def _inputs(given: Any) -> tuple[str, ...]:
    if given is None or isinstance(given, str):
        return (given,) if given else ()
    if isinstance(given, list):
        texts = cast("list[Any]", given)
        if all(isinstance(text, str) for text in texts):
            return tuple(texts)
    raise BadRequest("invalid input type: send a string or a list of strings", param="input")


def _named(model: str) -> str:
    if not model:
        raise ModelNotFound("model '' not found", param="model")
    return model
