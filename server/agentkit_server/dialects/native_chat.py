"""POST /api/chat: a conversation, answered or continued."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from fastapi import APIRouter, Request
from starlette.responses import Response

from agentkit_server.dialects._calls import read_calls
from agentkit_server.dialects._described import described
from agentkit_server.dialects._tools import read_tool_choice, read_tools
from agentkit_server.dialects.native_answer import alternatives, answer, load_only, more
from agentkit_server.dialects.native_described import CHAT
from agentkit_server.dialects.native_options import read_format, read_think, refuse_images, run_options
from agentkit_server.dialects.native_types import ChatBody, ChatMessage, read_as
from agentkit_server.errors import BadRequest
from agentkit_server.turn.events import ToolCallEnd
from agentkit_server.turn.options import Options
from agentkit_server.turn.types import Chat, Turn

router = APIRouter()


class ChatShape:
    """Everything goes into `message`."""

    context = False

    def __init__(self, model: str) -> None:
        self.model = model

    def body(self, text: str, thinking: str = "", calls: Sequence[ToolCallEnd] = ()) -> dict[str, Any]:
        """The part of a line that carries an answer."""
        return {"message": {"role": "assistant", "content": text, **more(thinking, calls)}}


@router.post("/api/chat")
@described(CHAT, ChatBody)
async def chat(request: Request) -> Response:
    """Answer the messages; none loads or unloads the model."""
    body = await read_as(request, ChatBody)
    if not body.wanted:
        raise BadRequest("model is required", param="model")
    options = run_options(body)
    shape = ChatShape(body.wanted)
    turn = chat_turn(body, options)
    if not body.messages:
        return await load_only(request, shape, options.load, body)
    return await answer(request, turn, shape, stream=body.stream)


def chat_turn(body: ChatBody, options: Options) -> Turn:
    """The turn that `body` asks for. A last message of the assistant is continued. Raises BadRequest,
    NotBuiltYet."""
    messages = tuple(_message(message, f"messages[{at}]") for at, message in enumerate(body.messages))
    continue_last = bool(messages) and messages[-1]["role"] == "assistant"
    return Turn(
        model=body.wanted,
        prompt=Chat(messages, continue_last=continue_last),
        options=options.runtime,
        load=options.load,
        logprobs=alternatives(body.logprobs, body.top_logprobs),
        tools=read_tools(body.tools),
        tool_choice=read_tool_choice(body.tool_choice, body.parallel_tool_calls),
        response_format=read_format(body),
        think=read_think(body),
        thinking_budget=body.thinking_budget,
        max_seconds=body.max_seconds,
        run_id=body.run_id,
        keep_alive=body.keep_alive,
        truncate=body.truncate,
        shift=body.shift,
    )


def _message(message: ChatMessage, where: str) -> dict[str, Any]:
    refuse_images(message.images)
    given: dict[str, Any] = {"role": message.role.lower(), "content": message.content}
    if message.thinking:
        given["thinking"] = message.thinking
    if message.tool_calls:
        given["tool_calls"] = read_calls(message.tool_calls, f"{where}.tool_calls")
    if message.tool_name:
        given["name"] = message.tool_name
    if message.tool_call_id:
        given["tool_call_id"] = message.tool_call_id
    return given
