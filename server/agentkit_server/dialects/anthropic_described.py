"""What the Anthropic dialect takes and gives, for /openapi.json. Requests are read by the types beside the
routes; the types of answers here only describe, and a test holds every answer against them."""

from __future__ import annotations

from typing import Annotated, Any, Literal

import msgspec
from msgspec import UNSET, Meta, UnsetType

from agentkit_server.dialects._described import (
    GENERATES,
    LOADS,
    SSE,
    Description,
    Dialect,
    Gives,
    Parameter,
    Schema,
    Takes,
)
from agentkit_server.dialects._shapes import KEEP_ALIVE, Problem
from agentkit_server.dialects._tools import MAX_TOOLS
from agentkit_server.dialects.anthropic_blocks import Message
from agentkit_server.dialects.anthropic_errors import STATUSES, VERSION_HEADER
from agentkit_server.dialects.anthropic_parameters import IGNORED, MAX_MESSAGES, NOT_BUILT
from agentkit_server.dialects.anthropic_tools import AnyTool
from agentkit_server.dialects.openai_described import Truncated
from agentkit_server.errors import DeadlinePassed, NotBuiltYet, UnsupportedParameter


class AnthropicErrorDetail(msgspec.Struct, kw_only=True, forbid_unknown_fields=True):
    """`param` and `problems` are there when a parameter, and when a JSON Schema was refused; `details` say
    that conversations are not kept."""

    type: str
    message: str
    code: str
    param: str | UnsetType = UNSET
    details: dict[str, Any] | UnsetType = UNSET
    problems: list[Problem] | UnsetType = UNSET


class GivenTool(AnyTool, kw_only=True):
    """A function with its `input_schema`, or a tool that is known by its type and has none."""

    input_schema: dict[str, Any] | None = None
    description: str | None = None
    max_characters: int | None = None


class Given(msgspec.Struct, kw_only=True, forbid_unknown_fields=True):
    """What is given back."""


class AnthropicError(Given, tag_field="type", tag="error", kw_only=True):
    error: AnthropicErrorDetail
    request_id: str


class TextBlock(Given, tag_field="type", tag="text", kw_only=True):
    text: str
    citations: None


class ThinkingBlock(Given, tag_field="type", tag="thinking", kw_only=True):
    thinking: str
    signature: str


class ToolUseBlock(Given, tag_field="type", tag="tool_use", kw_only=True):
    id: str
    name: str
    input: dict[str, Any]


class CacheCreation(Given, kw_only=True):
    ephemeral_5m_input_tokens: int
    ephemeral_1h_input_tokens: int


class OutputDetails(Given, kw_only=True):
    thinking_tokens: int


class MessageUsage(Given, kw_only=True):
    input_tokens: int
    cache_creation_input_tokens: int
    cache_read_input_tokens: int
    cache_creation: CacheCreation
    output_tokens: int
    output_tokens_details: OutputDetails
    server_tool_use: None
    service_tier: Literal["standard"]


class AppliedEdits(Given, kw_only=True):
    applied_edits: Annotated[list[Any], Meta(max_length=0)]


Reason = Literal["end_turn", "max_tokens", "stop_sequence", "tool_use", "model_context_window_exceeded"]


class Ended(Given, kw_only=True):
    stop_reason: Reason | None
    stop_sequence: str | None
    stop_details: UnsetType | None = UNSET
    ended_by: Literal["deadline"] | UnsetType = UNSET


class AnsweredMessageObject(Ended, tag_field="type", tag="message", kw_only=True):
    """In a stream `stop_reason` is null where the message starts."""

    id: str
    role: Literal["assistant"]
    model: str
    content: list[TextBlock | ThinkingBlock | ToolUseBlock]
    usage: MessageUsage
    context_management: AppliedEdits | UnsetType = UNSET
    truncated: Truncated | UnsetType = UNSET
    constraint: Literal["exact", "checked"] | UnsetType = UNSET
    constraint_notes: list[str] | UnsetType = UNSET


class MessageStart(Given, tag_field="type", tag="message_start", kw_only=True):
    message: AnsweredMessageObject


class Ping(Given, tag_field="type", tag="ping", kw_only=True):
    pass


class BlockStart(Given, tag_field="type", tag="content_block_start", kw_only=True):
    index: int
    content_block: TextBlock | ThinkingBlock | ToolUseBlock


class AddedText(Given, tag_field="type", tag="text_delta", kw_only=True):
    text: str


class AddedThinking(Given, tag_field="type", tag="thinking_delta", kw_only=True):
    thinking: str


class AddedSignature(Given, tag_field="type", tag="signature_delta", kw_only=True):
    signature: str


class AddedJson(Given, tag_field="type", tag="input_json_delta", kw_only=True):
    partial_json: str


class BlockDelta(Given, tag_field="type", tag="content_block_delta", kw_only=True):
    index: int
    delta: AddedText | AddedThinking | AddedSignature | AddedJson


class BlockStop(Given, tag_field="type", tag="content_block_stop", kw_only=True):
    index: int


class MessageDelta(Given, tag_field="type", tag="message_delta", kw_only=True):
    delta: Ended
    usage: MessageUsage
    context_management: AppliedEdits | UnsetType = UNSET


class MessageStop(Given, tag_field="type", tag="message_stop", kw_only=True):
    pass


class OriginalTokens(Given, kw_only=True):
    original_input_tokens: int


class TokenCount(Given, kw_only=True):
    input_tokens: int
    context_management: OriginalTokens | UnsetType = UNSET


EVENTS = (
    MessageStart,
    Ping,
    BlockStart,
    BlockDelta,
    BlockStop,
    MessageDelta,
    MessageStop,
    AnthropicError,
)
ANTHROPIC = Dialect("anthropic", AnthropicError, STATUSES)
REQUEST_ID = {"request-id": "Names the request."}
CONSTRAINT = {"X-Agentkit-Constraint": "How far a demand is enforced: exact or checked."}
VERSION = Parameter(
    VERSION_HEADER,
    "header",
    "The version of the protocol: a date from 2023-06-01 on; all are answered alike.",
)
REFINED: dict[str, Any] = {
    "model": {"type": "string", "minLength": 1},
    "messages": Annotated[list[Message], Meta(min_length=1, max_length=MAX_MESSAGES)],
    "tools": Annotated[list[GivenTool], Meta(max_length=MAX_TOOLS)],
    "keep_alive": KEEP_ALIVE,
}
"""Fields that the type beside the routes holds loosely."""
HELLO = [{"role": "user", "content": "Hello!"}]
ASKED = [{"role": "user", "content": "How is the weather in Oslo?"}]
WEATHER = {
    "name": "get_weather",
    "description": "How the weather is in a city.",
    "input_schema": {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]},
}


def _takes(*required: str, **examples: dict[str, Any]) -> Takes:
    """A field that nobody knows is refused."""
    nothing: Schema = {"description": "Accepted without effect."}
    empty: Schema = {"type": "array", "maxItems": 0}
    accepted = dict.fromkeys(sorted(IGNORED), nothing) | dict.fromkeys(sorted(NOT_BUILT), empty)
    groups = [(name,) for name in ("model", "messages", *required)]
    return Takes(refined=REFINED, extra=accepted, required=groups, examples=examples)


MESSAGES = Description(
    dialect=ANTHROPIC,
    takes=_takes(
        "max_tokens",
        message={"model": "smollm2", "max_tokens": 64, "messages": HELLO},
        stream={"model": "smollm2", "max_tokens": 64, "messages": HELLO, "stream": True},
        tools={"model": "smollm2", "max_tokens": 64, "messages": ASKED, "tools": [WEATHER]},
    ),
    gives=[
        Gives(
            AnsweredMessageObject,
            what="The answer; with `stream` its events.",
            headers=REQUEST_ID | CONSTRAINT,
        ),
        Gives(EVENTS, media=SSE, what="One event."),
    ],
    raises=(*GENERATES, UnsupportedParameter),
    parameters=[VERSION],
)
COUNT = Description(
    dialect=ANTHROPIC,
    takes=_takes(count={"model": "smollm2", "messages": HELLO}),
    gives=[Gives(TokenCount, what="The count.", headers=REQUEST_ID)],
    raises=(*LOADS, UnsupportedParameter, DeadlinePassed, NotBuiltYet),
    parameters=[VERSION],
)
