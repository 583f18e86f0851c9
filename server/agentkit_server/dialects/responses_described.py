"""What the routes of Responses take and give, for /openapi.json. The types of answers only describe, and a
test holds every answer against them."""

from __future__ import annotations

from typing import Any, Literal

import msgspec
from msgspec import UNSET, UnsetType

from agentkit_server.dialects._described import (
    GENERATES,
    SSE,
    Description,
    Gives,
    Parameter,
    Schema,
    Takes,
)
from agentkit_server.dialects._shapes import KEEP_ALIVE
from agentkit_server.dialects.openai_described import CONSTRAINT, OPENAI, REFINED, Truncated
from agentkit_server.dialects.openai_thinking import ThinkingBody
from agentkit_server.dialects.responses_body import (
    EXTENSIONS,
    IGNORED,
    ItemPage,
    ResponsesBody,
    Retrieval,
)
from agentkit_server.errors import (
    BadRequest,
    NotBuiltYet,
    NotFound,
    PreviousResponseNotFound,
    StoreError,
    UnsupportedParameter,
)


class CachedTokens(msgspec.Struct, kw_only=True, forbid_unknown_fields=True):
    cached_tokens: int
    cache_write_tokens: int


class ReasoningTokens(msgspec.Struct, kw_only=True, forbid_unknown_fields=True):
    reasoning_tokens: int


class ResponseUsage(msgspec.Struct, kw_only=True, forbid_unknown_fields=True):
    input_tokens: int
    input_tokens_details: CachedTokens
    output_tokens: int
    output_tokens_details: ReasoningTokens
    total_tokens: int


class ResponseError(msgspec.Struct, kw_only=True, forbid_unknown_fields=True):
    code: str
    message: str
    param: str | UnsetType | None = UNSET


class Cut(msgspec.Struct, kw_only=True, forbid_unknown_fields=True):
    reason: Literal["max_output_tokens"]
    stop_reason: str | UnsetType = UNSET


class Item(msgspec.Struct, kw_only=True):
    """A message, reasoning, a call or the output of one."""

    id: str
    type: str


class OpenAIResponse(msgspec.Struct, kw_only=True, forbid_unknown_fields=True):
    """A response, whole or as far as it has come."""

    id: str
    object: Literal["response"]
    created_at: int
    status: Literal["queued", "in_progress", "completed", "incomplete", "failed", "cancelled"]
    background: bool
    completed_at: int | None
    error: ResponseError | None
    incomplete_details: Cut | None
    instructions: str | None
    max_output_tokens: int | None
    max_tool_calls: int | None
    metadata: dict[str, str]
    model: str
    output: list[Item]
    parallel_tool_calls: bool
    previous_response_id: str | None
    prompt_cache_key: str | None
    reasoning: dict[str, str | None]
    safety_identifier: str | None
    service_tier: Literal["default"]
    store: bool
    temperature: float | None
    text: dict[str, Any]
    tool_choice: str | dict[str, Any]
    tools: list[dict[str, Any]]
    top_logprobs: int
    top_p: float | None
    truncation: Literal["auto", "disabled"]
    usage: ResponseUsage | None
    user: str | None
    notes: list[str] | UnsetType = UNSET
    truncated: Truncated | UnsetType = UNSET
    constraint: Literal["exact", "checked"] | UnsetType = UNSET
    constraint_notes: list[str] | UnsetType = UNSET


class ResponseEvent(msgspec.Struct, kw_only=True):
    """One event. Its other fields are those that OpenAI's event of that type has."""

    type: str
    sequence_number: int
    response: OpenAIResponse | UnsetType = UNSET
    item: Item | UnsetType = UNSET


class DeletedResponse(msgspec.Struct, kw_only=True, forbid_unknown_fields=True):
    id: str
    object: Literal["response"]
    deleted: Literal[True]


class ItemList(msgspec.Struct, kw_only=True, forbid_unknown_fields=True):
    object: Literal["list"]
    data: list[Item]
    first_id: str | None
    last_id: str | None
    has_more: bool
    notes: list[str] | UnsetType = UNSET


class InputTokens(msgspec.Struct, kw_only=True, forbid_unknown_fields=True):
    object: Literal["response.input_tokens"]
    input_tokens: int


def _whole_body() -> type[msgspec.Struct]:
    """OpenAI's fields and the extensions, which are read by types of their own."""
    own = [(field.name, field.type, None) for field in msgspec.structs.fields(ResponsesBody)]
    extended = msgspec.structs.fields(ThinkingBody)
    more = [(field.name, field.type, None) for field in extended if field.name in EXTENSIONS]
    return msgspec.defstruct("ResponsesBody", [*own, *more], kw_only=True)


WHOLE_BODY = _whole_body()
_REFINED: dict[str, Any] = {
    "model": REFINED["model"],
    "keep_alive": KEEP_ALIVE,
    "logit_bias": REFINED["logit_bias"],
}
_NOTHING: Schema = {"description": "Accepted without effect."}
_ACCEPTED = dict.fromkeys(sorted(IGNORED), _NOTHING)
_TAKES = Takes(
    refined=_REFINED,
    extra=_ACCEPTED,
    required=[("model",)],
    examples={
        "text": {"model": "smollm2", "input": "Hello!"},
        "stream": {"model": "smollm2", "input": [{"role": "user", "content": "Hello!"}], "stream": True},
        "background": {"model": "smollm2", "input": "Hello!", "background": True},
        "tools": {
            "model": "smollm2",
            "input": "How is the weather in Oslo?",
            "tools": [
                {
                    "type": "function",
                    "name": "get_weather",
                    "parameters": {"type": "object", "properties": {"city": {"type": "string"}}},
                }
            ],
        },
    },
)
_EVENTS = Gives(ResponseEvent, media=SSE, what="One event.")
_MISSING = (NotFound, StoreError, BadRequest)
_ID = Parameter("id", "path", "Of a stored response.", example="resp_0")


def _query(shape: type[msgspec.Struct]) -> list[Parameter]:
    return [Parameter(field.name, "query", "", field.type) for field in msgspec.structs.fields(shape)]


CREATE = Description(
    dialect=OPENAI,
    takes=_TAKES,
    gives=(Gives(OpenAIResponse, headers=CONSTRAINT), _EVENTS),
    raises=(*GENERATES, UnsupportedParameter, PreviousResponseNotFound),
)
INPUT_TOKENS = Description(
    dialect=OPENAI,
    takes=Takes(
        refined=_REFINED,
        extra=_TAKES.extra,
        required=_TAKES.required,
        examples={"text": {"model": "smollm2", "input": "Hello!"}},
    ),
    gives=[Gives(InputTokens)],
    raises=CREATE.raises,
)
COMPACT = Description(dialect=OPENAI, raises=[NotBuiltYet])
RETRIEVE = Description(
    dialect=OPENAI,
    gives=(Gives(OpenAIResponse), _EVENTS),
    raises=(*_MISSING, UnsupportedParameter),
    parameters=[_ID, *_query(Retrieval)],
)
DELETE = Description(dialect=OPENAI, gives=[Gives(DeletedResponse)], raises=_MISSING, parameters=[_ID])
CANCEL = Description(dialect=OPENAI, gives=[Gives(OpenAIResponse)], raises=_MISSING, parameters=[_ID])
INPUT_ITEMS = Description(
    dialect=OPENAI,
    gives=[Gives(ItemList)],
    raises=(*_MISSING, UnsupportedParameter),
    parameters=[_ID, *_query(ItemPage)],
)
