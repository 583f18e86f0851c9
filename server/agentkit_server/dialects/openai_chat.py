"""POST /v1/chat/completions: from a body to a Turn."""

from __future__ import annotations

from typing import Annotated, Any, Literal

import msgspec
from fastapi import APIRouter, Request
from msgspec import Meta
from starlette.responses import Response

from agentkit_server.dialects._described import described
from agentkit_server.dialects._shared import read_json, shown
from agentkit_server.dialects._tools import read_functions, read_tool_choice, read_tools
from agentkit_server.dialects.openai_answer import answer
from agentkit_server.dialects.openai_chat_answer import ChatAnswer
from agentkit_server.dialects.openai_described import CHAT
from agentkit_server.dialects.openai_formats import read_format
from agentkit_server.dialects.openai_messages import chat_messages
from agentkit_server.dialects.openai_parameters import (
    DEFAULTS,
    Count,
    load_options,
    logit_bias,
    parse,
    sampling_options,
)
from agentkit_server.dialects.openai_thinking import ThinkingBody, read_think, template_kwargs, think_param
from agentkit_server.errors import BadRequest
from agentkit_server.turn.types import Chat, Tool, ToolChoice, Turn

router = APIRouter()


class ChatBody(ThinkingBody, kw_only=True):
    """The parameters that chat/completions honours."""

    messages: list[dict[str, Any]] = msgspec.field(default_factory=list[dict[str, Any]])
    max_completion_tokens: Count | None = None
    logprobs: bool | None = None
    top_logprobs: Annotated[int, Meta(ge=0, le=20)] | None = None
    tools: list[Any] | None = None
    tool_choice: str | dict[str, Any] | None = None
    parallel_tool_calls: bool | None = None
    # OpenAI's older form of the same.
    functions: list[Any] | None = None
    function_call: str | dict[str, Any] | None = None
    service_tier: Literal["auto", "default", "flex", "scale", "priority", "fast"] | None = None
    # Extensions.
    continue_final_message: bool | None = None
    add_generation_prompt: bool | None = None

    @property
    def legacy(self) -> bool:
        """Functions came in the older form, and calls are answered in it."""
        return bool(self.functions)


@router.post("/v1/chat/completions")
@described(CHAT, ChatBody)
async def chat_completions(request: Request) -> Response:
    """One answer of `n` choices to a conversation."""
    body = parse(await read_json(request), ChatBody)
    return await answer(request, [chat_turn(body)], _answer(body), stream=bool(body.stream))


def _answer(body: ChatBody) -> ChatAnswer:
    demand = read_format(body)
    names = {"prompt": "messages", "think": think_param(body)}
    return ChatAnswer(
        n=body.n or 1,
        include_usage=body.include_usage,
        obfuscates=body.obfuscates,
        logprobs=bool(body.logprobs),
        names=names | ({"response_format": demand.param} if demand else {}),
        legacy=body.legacy,
        # There is one tier, and this is its name.
        extras={"service_tier": "default"} if body.service_tier else {},
    )


def chat_turn(body: ChatBody) -> Turn:
    """The turn that `body` asks for. Raises BadRequest for parameters that contradict each other, and
    NotBuiltYet."""
    messages = chat_messages(body.messages)
    continue_last = _continues(body, messages[-1]["role"])
    demand = read_format(body)
    return Turn(
        model=body.model,
        prompt=Chat(messages, continue_last=continue_last, template_kwargs=template_kwargs(body)),
        options=sampling_options(body, _max_tokens(body)),
        load=load_options(body),
        logit_bias=logit_bias(body),
        n=body.n or 1,
        logprobs=_alternatives(body),
        tools=_tools(body),
        tool_choice=_tool_choice(body),
        response_format=demand and demand.format,
        think=read_think(body),
        thinking_budget=body.thinking_budget,
        keep_alive=body.keep_alive,
        max_seconds=body.max_seconds,
        run_id=body.pin,
        truncate=bool(body.truncate),
        defaults=DEFAULTS,
    )


def _tools(body: ChatBody) -> tuple[Tool, ...]:
    if body.legacy and body.tools:
        raise BadRequest("functions is the older form of tools; send one of them", param="functions")
    return read_functions(body.functions) if body.functions else read_tools(body.tools or (), custom=True)


def _tool_choice(body: ChatBody) -> ToolChoice:
    if body.function_call is None:
        # The older form has room for one call.
        return read_tool_choice(body.tool_choice, False if body.legacy else body.parallel_tool_calls)
    if body.tool_choice is not None:
        raise BadRequest(
            "function_call is the older form of tool_choice; send one of them", param="function_call"
        )
    match body.function_call:
        case "auto" | "none":
            return read_tool_choice(body.function_call, parallel=False)
        case {"name": str(name)} if name:
            return ToolChoice(mode="required", names=(name,), parallel=False)
        case _:
            raise BadRequest(
                f"function_call is {shown(body.function_call)}; it must be 'auto', 'none' or "
                f"{{'name': '...'}}",
                param="function_call",
            )


def _max_tokens(body: ChatBody) -> int | None:
    both = {body.max_tokens, body.max_completion_tokens} - {None}
    if len(both) > 1:
        raise BadRequest(
            f"max_tokens = {body.max_tokens} and max_completion_tokens = {body.max_completion_tokens} "
            f"contradict each other; send one of them",
            param="max_tokens",
        )
    return both.pop() if both else None


def _alternatives(body: ChatBody) -> int | None:
    if body.logprobs:
        return body.top_logprobs or 0
    if body.top_logprobs is not None:
        raise BadRequest("top_logprobs needs logprobs to be true", param="top_logprobs")
    return None


def _continues(body: ChatBody, last_role: str) -> bool:
    wanted = bool(body.continue_final_message)
    if body.add_generation_prompt is not None and body.add_generation_prompt == wanted:
        raise BadRequest(
            "add_generation_prompt must be the opposite of continue_final_message; leave it out",
            param="add_generation_prompt",
        )
    if wanted and last_role != "assistant":
        raise BadRequest(
            f"continue_final_message needs a last message of role 'assistant', not {last_role!r}",
            param="continue_final_message",
        )
    return wanted
