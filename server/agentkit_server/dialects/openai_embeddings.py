"""POST /v1/embeddings: inputs as text or token ids -> vectors as numbers or as base64 of little-endian
float32, which is what OpenAI's own client asks for."""

from __future__ import annotations

import base64
import struct
from typing import Any, Literal

import msgspec
from fastapi import APIRouter, Request
from starlette.responses import Response

from agentkit_server.dialects._described import described
from agentkit_server.dialects._shared import backend_of, read_json, unless_gone
from agentkit_server.dialects.openai_described import EMBEDDINGS
from agentkit_server.dialects.openai_parameters import Count, RunId, Seconds, parse, texts_or_tokens
from agentkit_server.dialects.openai_wire import json_response
from agentkit_server.residency.types import LoadOptions
from agentkit_server.turn.embed import EmbedRequest, embed

router = APIRouter()


class EmbeddingBody(msgspec.Struct, kw_only=True):
    """The parameters that embeddings honours. None = not given."""

    model: str = ""
    input: str | list[Any] = msgspec.field(default_factory=list[Any])
    dimensions: Count | None = None
    encoding_format: Literal["float", "base64"] = "float"
    # Extensions, under their native names.
    num_ctx: Count | None = None
    keep_alive: str | float | None = None
    truncate: bool | None = None
    max_seconds: Seconds | None = None
    run_id: RunId | None = None
    """Accepted: an input leaves no prefix that could be pinned."""


@router.post("/v1/embeddings")
@described(EMBEDDINGS, EmbeddingBody)
async def embeddings(request: Request) -> Response:
    """One vector of length 1 for each input. An input that does not fit is an error unless `truncate`."""
    body = parse(await read_json(request), EmbeddingBody)
    inputs = texts_or_tokens(body.input, "input")
    wanted = EmbedRequest(
        model=body.model,
        inputs=tuple(each if isinstance(each, str) else tuple(each) for each in inputs),
        truncate=bool(body.truncate),
        dimensions=body.dimensions,
        load=LoadOptions(num_ctx=body.num_ctx),
        keep_alive=body.keep_alive,
        max_seconds=body.max_seconds,
    )
    found = await unless_gone(request, embed(backend_of(request), wanted))
    encode = _base64 if body.encoding_format == "base64" else _numbers
    data = [
        {"object": "embedding", "index": index, "embedding": encode(vector)}
        for index, vector in enumerate(found.vectors)
    ]
    usage = {"prompt_tokens": found.prompt_tokens, "total_tokens": found.prompt_tokens}
    cut = {"truncated": {"tokens": found.truncated_tokens}} if found.truncated_tokens else {}
    return json_response({"object": "list", "data": data, "model": body.model, "usage": usage, **cut})


def _numbers(vector: list[float]) -> list[float]:
    return vector


def _base64(vector: list[float]) -> str:
    return base64.b64encode(struct.pack(f"<{len(vector)}f", *vector)).decode("ascii")
