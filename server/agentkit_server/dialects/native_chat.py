"""POST /api/chat: a conversation, answered or continued."""

from __future__ import annotations

from typing import Any

from fastapi import APIRouter, Request
from starlette.responses import Response

from agentkit_server.dialects.native_answer import alternatives, answer, load_only
from agentkit_server.dialects.native_options import refuse_images, run_options
from agentkit_server.dialects.native_types import ChatBody, ChatMessage, read_as
from agentkit_server.errors import BadRequest, NotBuiltYet
from agentkit_server.turn.options import Options
from agentkit_server.turn.types import Chat, Turn

router = APIRouter()


class ChatShape:
    """Text goes into `message.content`."""

    context = False

    def __init__(self, model: str) -> None:
        self.model = model

    def body(self, text: str, thinking: str = "") -> dict[str, Any]:
        """The part of a line that carries text."""
        message = {"role": "assistant", "content": text}
        return {"message": {**message, "thinking": thinking} if thinking else message}


@router.post("/api/chat")
async def chat(request: Request) -> Response:
    """Answer the messages; none loads or unloads the model."""
    body = await read_as(request, ChatBody)
    if not body.wanted:
        raise BadRequest("model is required", param="model")
    options = run_options(body)
    shape = ChatShape(body.wanted)
    turn = chat_turn(body, options)
    if not body.messages:
        return await load_only(request, shape, options.load, body.keep_alive)
    return await answer(request, turn, shape, stream=body.stream)


def chat_turn(body: ChatBody, options: Options) -> Turn:
    """The turn that `body` asks for. A last message of the assistant is continued. Raises BadRequest,
    NotBuiltYet."""
    if body.tools:
        raise NotBuiltYet("tools are not built yet in this version; leave them out", param="tools")
    messages = tuple(_message(message) for message in body.messages)
    continue_last = bool(messages) and messages[-1]["role"] == "assistant"
    return Turn(
        model=body.wanted,
        prompt=Chat(messages, continue_last=continue_last),
        options=options.runtime,
        load=options.load,
        logprobs=alternatives(body.logprobs, body.top_logprobs),
        keep_alive=body.keep_alive,
        truncate=body.truncate,
        shift=body.shift,
    )


def _message(message: ChatMessage) -> dict[str, Any]:
    refuse_images(message.images)
    if message.tool_calls:
        raise NotBuiltYet("tool calls are not built yet in this version", param="messages.tool_calls")
    given = {"role": message.role.lower(), "content": message.content}
    if message.thinking:
        # Templates know the text of earlier thinking by either name.
        given |= {"thinking": message.thinking, "reasoning_content": message.thinking}
    if message.tool_name:
        given |= {"tool_name": message.tool_name, "name": message.tool_name}
    if message.tool_call_id:
        given["tool_call_id"] = message.tool_call_id
    return given
