"""The Anthropic dialect: POST /v1/messages and /v1/messages/count_tokens, from a body to a Turn."""

from __future__ import annotations

import re
from collections.abc import AsyncGenerator
from contextlib import aclosing
from typing import Any

from fastapi import APIRouter, Request
from starlette.responses import Response

from agentkit_server.dialects._described import described
from agentkit_server.dialects._shared import backend_of, constraint_header, read_json, unless_gone
from agentkit_server.dialects.anthropic_answer import MessageAnswer
from agentkit_server.dialects.anthropic_described import COUNT, MESSAGES
from agentkit_server.dialects.anthropic_errors import VERSION_HEADER, error_body, new_request_id
from agentkit_server.dialects.anthropic_messages import conversation
from agentkit_server.dialects.anthropic_parameters import MessagesBody, answer_schema, parse
from agentkit_server.dialects.anthropic_thinking import Adaptive, Shown, read_budget, read_think
from agentkit_server.dialects.anthropic_tools import Tools, read_tool_choice, read_tools
from agentkit_server.dialects.anthropic_wire import PingingStream, sse
from agentkit_server.dialects.openai_parameters import DEFAULTS
from agentkit_server.dialects.openai_wire import json_response
from agentkit_server.errors import AgentkitError, BadRequest
from agentkit_server.residency.types import LoadOptions
from agentkit_server.turn.events import Event, Started
from agentkit_server.turn.run import run_turn
from agentkit_server.turn.tokens import write_prompt
from agentkit_server.turn.types import Chat, ResponseFormat, Turn

OLDEST = "2023-06-01"
"""The version of the protocol since which streams are what they are. Those after it only refuse more, and are
answered like it."""
_DATE = re.compile(r"[0-9]{4}-[0-9]{2}-[0-9]{2}")
_TOOL = re.compile(r"tools\[(\d+)\](?:\.function\.parameters)?")

router = APIRouter()


@router.post("/v1/messages")
@described(MESSAGES, MessagesBody)
async def messages(request: Request) -> Response:
    """One answer to a conversation."""
    body = await _read(request)
    if body.max_tokens is None:
        raise BadRequest(
            "max_tokens is required; say how many tokens the answer may have at most", param="max_tokens"
        )
    tools = read_tools(body.tools or (), body.messages)
    turn = message_turn(body, tools)
    shape = MessageAnswer(
        model=body.model,
        max_tokens=body.max_tokens,
        shows_thoughts=_shows_thoughts(body),
        manages_context=body.context_management is not None,
    )
    request_id = new_request_id()
    events = run_turn(backend_of(request), turn)
    headers = {"request-id": request_id}
    try:
        if not body.stream:
            return await unless_gone(request, _collected(shape, events, headers))
        started = await unless_gone(request, anext(events))
    except BadRequest as error:
        raise _renamed(error, body, tools) from None
    assert isinstance(started, Started)

    def error_chunk(error: AgentkitError) -> bytes:
        return sse(error_body(error, request_id))

    chunks = shape.stream(started, events)
    headers |= constraint_header(started)
    return PingingStream(request, chunks, "text/event-stream", error_chunk, headers)


@router.post("/v1/messages/count_tokens")
@described(COUNT, MessagesBody)
async def count(request: Request) -> Response:
    """How many tokens the prompt of a request has, whether they fit or not."""
    body = await _read(request)
    tools = read_tools(body.tools or (), body.messages)
    turn = message_turn(body, tools)
    try:
        assert isinstance(turn.prompt, Chat)
        written = await unless_gone(request, write_prompt(backend_of(request), turn, turn.prompt))
    except BadRequest as error:
        raise _renamed(error, body, tools) from None
    counted = len(written.tokens)
    told: dict[str, Any] = {"input_tokens": counted}
    if body.context_management is not None:
        told["context_management"] = {"original_input_tokens": counted}
    return json_response(told, {"request-id": new_request_id()})


def message_turn(body: MessagesBody, tools: Tools) -> Turn:
    """The turn that `body` asks for. Raises BadRequest for parameters that contradict each other."""
    demand = answer_schema(body)
    continues = body.messages[-1].role == "assistant"
    if continues and demand is not None:
        raise BadRequest(
            f"{demand[0]} binds a whole answer, and the last message begins one; leave one of them out",
            param=demand[0],
        )
    return Turn(
        model=body.model,
        prompt=Chat(conversation(body.system, body.messages, tools.reference), continue_last=continues),
        options=_options(body),
        load=LoadOptions(num_ctx=body.num_ctx),
        tools=tools.tools,
        tool_choice=read_tool_choice(body.tool_choice),
        response_format=demand and ResponseFormat(kind="json_schema", value=demand[1].schema),
        think=read_think(body.thinking, body.effort),
        think_if_able=isinstance(body.thinking, Adaptive),
        thinking_budget=read_budget(body.thinking, body.max_tokens),
        keep_alive=body.keep_alive,
        max_seconds=body.max_seconds,
        run_id=body.run_id or "",
        truncate=bool(body.truncate),
        defaults=DEFAULTS,
    )


async def _read(request: Request) -> MessagesBody:
    version = request.headers.get(VERSION_HEADER, OLDEST)
    if not _DATE.fullmatch(version) or version < OLDEST:
        raise BadRequest(
            f"{VERSION_HEADER} is {version[:100]!r}; it must be a date from {OLDEST!r} on",
            param=VERSION_HEADER,
        )
    return parse(await read_json(request))


async def _collected(
    shape: MessageAnswer, events: AsyncGenerator[Event], headers: dict[str, str]
) -> Response:
    async with aclosing(events):
        started = await anext(events)
        assert isinstance(started, Started)
        message = await shape.collect(started, events)
    return json_response(message, headers | constraint_header(started))


def _options(body: MessagesBody) -> dict[str, Any]:
    """The native options that `body` gives, under their native names."""
    given = {
        "num_predict": body.max_tokens,
        "stop": body.stop_sequences,
        "temperature": body.temperature,
        "top_p": body.top_p,
        "top_k": body.top_k,
    }
    return {name: value for name, value in given.items() if value is not None}


def _shows_thoughts(body: MessagesBody) -> bool:
    return not (isinstance(body.thinking, Shown) and body.thinking.display == "omitted")


def _renamed(error: BadRequest, body: MessagesBody, tools: Tools) -> BadRequest:
    """`error` with the names that Anthropic's requests have for the parameters of a turn."""
    demand = answer_schema(body)
    names = {"prompt": "messages", "think": "thinking", "response_format": demand and demand[0]}
    param = error.param or ""
    if match := _TOOL.fullmatch(param):
        error.param = f"tools[{tools.places[int(match[1])]}].input_schema"
    else:
        error.param = names.get(param) or error.param
    return error
