"""POST /api/generate: one prompt, by the model's template, raw, or with a hole to fill."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from fastapi import APIRouter, Request
from starlette.responses import Response

from agentkit_server.dialects._described import described
from agentkit_server.dialects.native_answer import alternatives, answer, load_only, more
from agentkit_server.dialects.native_described import GENERATE
from agentkit_server.dialects.native_options import read_format, read_think, refuse_images, run_options
from agentkit_server.dialects.native_types import GenerateBody, read_as
from agentkit_server.errors import BadRequest, ModelNotFound
from agentkit_server.turn.events import ToolCallEnd
from agentkit_server.turn.options import Options
from agentkit_server.turn.types import Chat, Infill, Prompt, Text, Tokens, Turn

router = APIRouter()


class GenerateShape:
    """Text goes into `response`."""

    def __init__(self, model: str, *, context: bool) -> None:
        self.model = model
        self.context = context

    def body(self, text: str, thinking: str = "", calls: Sequence[ToolCallEnd] = ()) -> dict[str, Any]:
        """The part of a line that carries an answer."""
        return {"response": text, **more(thinking, calls)}


@router.post("/api/generate")
@described(GENERATE, GenerateBody)
async def generate(request: Request) -> Response:
    """Continue a prompt; an empty one loads or unloads the model."""
    body = await read_as(request, GenerateBody)
    if not body.wanted:
        raise ModelNotFound("model '' not found", param="model")
    options = run_options(body)
    shape = GenerateShape(body.wanted, context=not body.raw)
    turn = generate_turn(body, options)
    if not body.prompt and not body.suffix:
        return await load_only(request, shape, options.load, body)
    return await answer(request, turn, shape, stream=body.stream)


def generate_turn(body: GenerateBody, options: Options) -> Turn:
    """The turn that `body` asks for. Raises BadRequest, NotBuiltYet."""
    refuse_images(body.images)
    return Turn(
        model=body.wanted,
        prompt=_prompt(body),
        options=options.runtime,
        load=options.load,
        logprobs=alternatives(body.logprobs, body.top_logprobs),
        response_format=read_format(body),
        think=read_think(body),
        thinking_budget=body.thinking_budget,
        max_seconds=body.max_seconds,
        run_id=body.run_id,
        keep_alive=body.keep_alive,
        truncate=body.truncate,
        shift=body.shift,
        verb="generate",
    )


def _prompt(body: GenerateBody) -> Prompt:
    if body.raw:
        if body.template or body.system or body.context:
            raise BadRequest("raw mode does not support template, system, or context", param="raw")
        return Infill(body.prompt, body.suffix) if body.suffix else Text(body.prompt)
    if body.suffix:
        if body.template or body.system or body.context:
            raise BadRequest("suffix does not go with template, system or context", param="suffix")
        return Infill(body.prompt, body.suffix)
    # An empty `system` is a choice too: it keeps the model's own SYSTEM away.
    system = [] if body.system is None else [{"role": "system", "content": body.system}]
    messages: tuple[dict[str, Any], ...] = (*system, {"role": "user", "content": body.prompt})
    chat = Chat(messages, template=body.template or None)
    return Tokens(tuple(body.context), then=chat) if body.context else chat
