"""What the OpenAI dialect takes and gives, for /openapi.json. Requests are read by the types beside the
routes; the types of answers here only describe, and a test holds every answer against them."""

from __future__ import annotations

from typing import Annotated, Any, Literal

import msgspec
from msgspec import UNSET, Meta, UnsetType

from agentkit_server.dialects._described import (
    GENERATES,
    LOADS,
    RESOLVES,
    SSE,
    Description,
    Dialect,
    Gives,
    Parameter,
    Schema,
    Takes,
)
from agentkit_server.dialects._shapes import (
    KEEP_ALIVE,
    TOOL_CHOICE,
    WEATHER,
    Logprob,
    Problem,
)
from agentkit_server.dialects.openai_messages import ECHOED, FIELDS, ROLES, TEXT_PARTS
from agentkit_server.dialects.openai_parameters import IGNORED, NEUTRAL, TokenId
from agentkit_server.errors import NotBuiltYet, PromptTooLong, StoreError, UnsupportedParameter


class OpenAIErrorDetail(msgspec.Struct, kw_only=True, forbid_unknown_fields=True):
    """`problems` are there when a JSON Schema was refused."""

    message: str
    type: str
    param: str | None
    code: str
    problems: list[Problem] | UnsetType = UNSET


class OpenAIError(msgspec.Struct, kw_only=True, forbid_unknown_fields=True):
    error: OpenAIErrorDetail


class PromptTokensDetails(msgspec.Struct, kw_only=True, forbid_unknown_fields=True):
    cached_tokens: int


class CompletionTokensDetails(msgspec.Struct, kw_only=True, forbid_unknown_fields=True):
    reasoning_tokens: int


class Usage(msgspec.Struct, kw_only=True, forbid_unknown_fields=True):
    prompt_tokens: int
    completion_tokens: int
    total_tokens: int
    prompt_tokens_details: PromptTokensDetails
    completion_tokens_details: CompletionTokensDetails


class Truncated(msgspec.Struct, kw_only=True, forbid_unknown_fields=True):
    """What `truncate` cut from the prompt."""

    tokens: int
    messages: int | UnsetType = UNSET


class Answer(msgspec.Struct, kw_only=True, forbid_unknown_fields=True):
    """What answers and their chunks have in common."""

    id: str
    created: int
    model: str
    system_fingerprint: str
    truncated: Truncated | UnsetType = UNSET
    constraint: Literal["exact", "checked"] | UnsetType = UNSET
    constraint_notes: list[str] | UnsetType = UNSET


class Called(msgspec.Struct, kw_only=True, forbid_unknown_fields=True):
    name: str
    arguments: str


class CalledTool(msgspec.Struct, tag_field="type", tag="function", kw_only=True, forbid_unknown_fields=True):
    id: str
    function: Called


class CustomInput(msgspec.Struct, kw_only=True, forbid_unknown_fields=True):
    name: str
    input: str


class CalledCustomTool(
    msgspec.Struct, tag_field="type", tag="custom", kw_only=True, forbid_unknown_fields=True
):
    id: str
    custom: CustomInput


class ChatLogprobs(msgspec.Struct, kw_only=True, forbid_unknown_fields=True):
    content: list[Logprob]
    refusal: UnsetType | None = UNSET


Reason = Literal["stop", "length", "tool_calls", "function_call"]


class AnsweredMessage(msgspec.Struct, kw_only=True, forbid_unknown_fields=True):
    """Thoughts are in `reasoning` and, the same, in `reasoning_content`."""

    role: Literal["assistant"]
    content: str | None
    refusal: None
    reasoning: str | UnsetType = UNSET
    reasoning_content: str | UnsetType = UNSET
    tool_calls: list[CalledTool | CalledCustomTool] | UnsetType = UNSET
    function_call: Called | UnsetType = UNSET


class ChatChoice(msgspec.Struct, kw_only=True, forbid_unknown_fields=True):
    index: int
    message: AnsweredMessage
    logprobs: ChatLogprobs | None
    finish_reason: Reason
    stop_reason: Literal["deadline"] | UnsetType = UNSET


class ChatCompletion(Answer, kw_only=True, forbid_unknown_fields=True):
    object: Literal["chat.completion"]
    choices: list[ChatChoice]
    usage: Usage
    service_tier: str | UnsetType = UNSET


class CalledDelta(msgspec.Struct, kw_only=True, forbid_unknown_fields=True):
    name: str | UnsetType = UNSET
    arguments: str | UnsetType = UNSET


class InputDelta(msgspec.Struct, kw_only=True, forbid_unknown_fields=True):
    name: str | UnsetType = UNSET
    input: str | UnsetType = UNSET


class ToolDelta(msgspec.Struct, kw_only=True, forbid_unknown_fields=True):
    """A call's first delta has its id, type and name; those after it a piece of the arguments."""

    index: int
    id: str | UnsetType = UNSET
    type: Literal["function", "custom"] | UnsetType = UNSET
    function: CalledDelta | UnsetType = UNSET
    custom: InputDelta | UnsetType = UNSET


class Delta(msgspec.Struct, kw_only=True, forbid_unknown_fields=True):
    role: Literal["assistant"] | UnsetType = UNSET
    content: str | UnsetType | None = UNSET
    refusal: UnsetType | None = UNSET
    reasoning: str | UnsetType = UNSET
    reasoning_content: str | UnsetType = UNSET
    tool_calls: list[ToolDelta] | UnsetType = UNSET
    function_call: CalledDelta | UnsetType = UNSET


class ChunkChoice(msgspec.Struct, kw_only=True, forbid_unknown_fields=True):
    index: int
    delta: Delta
    finish_reason: Reason | None
    logprobs: ChatLogprobs | UnsetType | None = UNSET
    stop_reason: Literal["deadline"] | UnsetType = UNSET


class ChatCompletionChunk(Answer, kw_only=True, forbid_unknown_fields=True):
    object: Literal["chat.completion.chunk"]
    choices: list[ChunkChoice]
    obfuscation: str | UnsetType = UNSET
    usage: Usage | UnsetType | None = UNSET
    service_tier: str | UnsetType = UNSET


class TextLogprobs(msgspec.Struct, kw_only=True, forbid_unknown_fields=True):
    tokens: list[str]
    token_logprobs: list[float]
    top_logprobs: list[dict[str, float]]
    text_offset: list[int]


class TextChoice(msgspec.Struct, kw_only=True, forbid_unknown_fields=True):
    index: int
    text: str
    logprobs: TextLogprobs | None
    finish_reason: Literal["stop", "length"] | None
    stop_reason: Literal["deadline"] | UnsetType = UNSET


class TextCompletion(Answer, kw_only=True, forbid_unknown_fields=True):
    """A whole answer, or a chunk: there `finish_reason` is null but on the last one of a choice."""

    object: Literal["text_completion"]
    choices: list[TextChoice]
    obfuscation: str | UnsetType = UNSET
    usage: Usage | UnsetType | None = UNSET


class Vector(msgspec.Struct, kw_only=True, forbid_unknown_fields=True):
    """Numbers, or base64 of little-endian float32."""

    object: Literal["embedding"]
    index: int
    embedding: list[float] | str


class EmbeddingUsage(msgspec.Struct, kw_only=True, forbid_unknown_fields=True):
    prompt_tokens: int
    total_tokens: int


class Vectors(msgspec.Struct, kw_only=True, forbid_unknown_fields=True):
    object: Literal["list"]
    data: list[Vector]
    model: str
    usage: EmbeddingUsage
    truncated: Truncated | UnsetType = UNSET


class ModelObject(msgspec.Struct, kw_only=True, forbid_unknown_fields=True):
    id: str
    object: Literal["model"]
    created: int
    owned_by: str
    context_length: int
    max_model_len: int
    max_context_length: int | None
    capabilities: list[str]


class ModelList(msgspec.Struct, kw_only=True, forbid_unknown_fields=True):
    object: Literal["list"]
    data: list[ModelObject]


OPENAI = Dialect("openai", OpenAIError)
CONSTRAINT = {"X-Agentkit-Constraint": "How far a demand is enforced: exact or checked."}
TOKENS = Annotated[list[TokenId], Meta(min_length=1)]
TEXTS = (
    str,
    Annotated[list[str], Meta(min_length=1)],
    TOKENS,
    Annotated[list[TOKENS], Meta(min_length=1)],
)
NOTHING: Schema = {"enum": [None, "", []]}
"""What counts as not given in a message, whatever the field."""


def _or_nothing(schema: Schema) -> Schema:
    return {"anyOf": [schema, NOTHING]}


def _part(kind: str) -> Schema:
    """A text part; other fields of it are not read."""
    field = TEXT_PARTS[kind]
    return {
        "type": "object",
        "properties": {"type": {"const": kind}, field: {"type": "string"}},
        "required": ["type", field],
    }


def _message(role: str) -> Schema:
    """What openai_messages.py reads of a message of `role`."""
    parts = {"type": "array", "items": {"anyOf": [_part(kind) for kind in TEXT_PARTS]}, "minItems": 1}
    text = {
        "anyOf": [{"type": "string"}, parts, *([{"type": "array", "maxItems": 0}] if role == "tool" else [])]
    }
    name = _or_nothing({"type": "string"})
    known: dict[str, Schema] = {field: _FIELDS.get(field, name) for field in FIELDS.get(role, ("name",))}
    required = ["role", *([] if role == "assistant" else ["content"])]
    if role == "tool":
        known["tool_call_id"] = {"type": "string", "minLength": 1}
        required.append("tool_call_id")
    return {
        "title": f"{role.capitalize()}Message",
        "type": "object",
        "properties": {
            "role": {"const": role},
            "content": _or_nothing(text) if role == "assistant" else text,
            **known,
            **{field: {} for field in ECHOED},
        },
        "required": required,
        "additionalProperties": NOTHING,
    }


_CALLED: Schema = {
    "type": "object",
    "properties": {
        "name": {"type": "string", "minLength": 1},
        "arguments": {"type": ["string", "object", "null"]},
    },
    "required": ["name"],
}
_CUSTOM: Schema = {
    "type": "object",
    "properties": {"name": {"type": "string", "minLength": 1}, "input": {"type": "string"}},
    "required": ["name", "input"],
}
_CALL: Schema = {
    "type": "object",
    "properties": {"id": {"type": ["string", "null"]}},
    "anyOf": [
        {"properties": {"type": {"not": {"const": "custom"}}, "function": _CALLED}, "required": ["function"]},
        {"properties": {"type": {"const": "custom"}, "custom": _CUSTOM}, "required": ["type", "custom"]},
    ],
}
_FIELDS: dict[str, Schema] = {
    "tool_calls": _or_nothing({"type": "array", "items": _CALL}),
    "function_call": _or_nothing(_CALLED),
}
MESSAGE: Schema = {"anyOf": [_message(role) for role in ROLES]}
REFINED: dict[str, Any] = {
    "model": {"type": "string", "minLength": 1},
    "messages": {"type": "array", "items": MESSAGE, "minItems": 1},
    "prompt": TEXTS,
    "input": TEXTS,
    "keep_alive": KEEP_ALIVE,
    "tool_choice": TOOL_CHOICE,
    "logit_bias": {
        "description": "Token id to bias; -100 bans the token.",
        "type": "object",
        "propertyNames": {"pattern": "^[0-9]{1,9}$"},
        "additionalProperties": {"type": "number", "minimum": -100, "maximum": 100},
    },
}
"""Fields that the types beside the routes hold loosely."""


def _accepted() -> dict[str, Schema]:
    """What openai_parameters.py lets pass beside the fields of a struct."""
    nothing = {"description": "Accepted without effect."}
    ignored: dict[str, Schema] = dict.fromkeys(sorted(IGNORED), nothing)
    return ignored | {name: {"enum": list(values)} for name, values in sorted(NEUTRAL.items())}


def _takes(*required: str, **examples: dict[str, Any]) -> Takes:
    """A field that nobody knows is refused."""
    groups = [(name,) for name in ("model", *required)]
    return Takes(refined=REFINED, extra=_accepted(), required=groups, examples=examples)


def _events(whole: Any, chunk: Any) -> tuple[Gives, Gives]:
    """An answer, whole or as server-sent events that end with `[DONE]`."""
    answer = Gives(whole, what="The answer; with `stream` its chunks.", headers=CONSTRAINT)
    return answer, Gives((chunk, OpenAIError), media=SSE, what="One event.", end="[DONE]")


HELLO = [{"role": "user", "content": "Hello!"}]
CHAT = Description(
    dialect=OPENAI,
    takes=_takes(
        "messages",
        chat={"model": "smollm2", "messages": HELLO},
        stream={
            "model": "smollm2",
            "messages": HELLO,
            "stream": True,
            "stream_options": {"include_usage": True},
        },
        tools={
            "model": "smollm2",
            "messages": [{"role": "user", "content": "How is the weather in Oslo?"}],
            "tools": [WEATHER],
        },
    ),
    gives=_events(ChatCompletion, ChatCompletionChunk),
    raises=(*GENERATES, UnsupportedParameter),
)
COMPLETIONS = Description(
    dialect=OPENAI,
    takes=_takes(
        "prompt",
        text={"model": "smollm2", "prompt": "Once upon a time", "max_tokens": 32},
        stream={"model": "smollm2", "prompt": ["One", "Two"], "stream": True},
    ),
    gives=_events(TextCompletion, TextCompletion),
    raises=(*GENERATES, UnsupportedParameter),
)
EMBEDDINGS = Description(
    dialect=OPENAI,
    takes=_takes("input", texts={"model": "all-minilm", "input": ["a text", "another"]}),
    gives=[Gives(Vectors)],
    raises=(*LOADS, UnsupportedParameter, PromptTooLong),
)
MODELS = Description(dialect=OPENAI, gives=[Gives(ModelList)], raises=[StoreError])
MODEL = Description(
    dialect=OPENAI,
    gives=[Gives(ModelObject)],
    raises=RESOLVES,
    parameters=[Parameter("name", "path", "Slashes are part of it.", example="smollm2")],
)
NOT_BUILT_YET = Description(dialect=OPENAI, raises=[NotBuiltYet])
