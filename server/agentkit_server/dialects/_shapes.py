"""Shapes that several dialects have in common, for /openapi.json: calls, tools and the choice among them.
What is read by code and not by a type is described here; tests hold it against that code."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated, Any

import msgspec
from msgspec import Meta

from agentkit_server.dialects._tools import MAX_NAME_LENGTH, MAX_TOOLS

Name = Annotated[str, Meta(min_length=1, max_length=MAX_NAME_LENGTH)]
TYPED = {"type": "object", "properties": {"type": {"type": "string"}}, "required": ["type"]}


class FunctionCall(msgspec.Struct, kw_only=True):
    """A function that was called; `arguments` is an object or its JSON text."""

    name: Annotated[str, Meta(min_length=1)]
    arguments: dict[str, Any] | str | None = None


class GivenCall(msgspec.Struct, kw_only=True):
    """An earlier call."""

    function: FunctionCall
    id: str | None = None
    type: Any = "function"


class Function(msgspec.Struct, kw_only=True):
    """What a model may call. `parameters` is the JSON Schema of an object."""

    name: Name
    description: str | None = None
    parameters: dict[str, Any] | None = None


class FunctionTool(msgspec.Struct, kw_only=True):
    """A function, in the wrapper that says so."""

    function: Function
    type: Annotated[str, Meta(extra_json_schema={"enum": ["function"]})] = "function"


class Problem(msgspec.Struct, kw_only=True, forbid_unknown_fields=True):
    """One place of a JSON Schema that cannot be enforced."""

    pointer: str
    keyword: str
    reason: str
    rewrite: str


class TopLogprob(msgspec.Struct, kw_only=True, forbid_unknown_fields=True):
    token: str
    logprob: float
    bytes: list[int] | None


class Logprob(msgspec.Struct, kw_only=True, forbid_unknown_fields=True):
    """A token and the likeliest in its place."""

    token: str
    logprob: float
    bytes: list[int] | None
    top_logprobs: list[TopLogprob]


Tools = Annotated[list[FunctionTool], Meta(max_length=MAX_TOOLS)]
TOOL_CHOICE: dict[str, Any] = {
    "description": "The mode, one tool, or OpenAI's `allowed_tools`.",
    "anyOf": [{"enum": ["auto", "none", "required", "any"]}, TYPED],
}
_PART = r"([0-9]+(\.[0-9]*)?|\.[0-9]+)(ns|us|µs|μs|ms|s|m|h)"
KEEP_ALIVE: dict[str, Any] = {
    "description": "Seconds, or a duration such as `5m`; negative = for ever, 0 = unload right after.",
    "anyOf": [
        {"type": "number"},
        {"type": "string", "pattern": rf"^([+-]?({_PART})+|[+-]?0|-[0-9]+(\.[0-9]+)?)$"},
    ],
    "examples": ["5m"],
}
WEATHER: dict[str, Any] = {
    "type": "function",
    "function": {
        "name": "get_weather",
        "description": "How the weather is in a city.",
        "parameters": {
            "type": "object",
            "properties": {"city": {"type": "string"}},
            "required": ["city"],
        },
    },
}
"""A tool, for examples."""


def loosened(shape: type[msgspec.Struct], required: Sequence[str], **refined: Any) -> Any:
    """`shape`, as `Given…`, when nulls are dropped before it is read: every field but `required` may be null.
    `refined` are fields that it holds loosely, and what the code that reads them takes."""
    fields: list[Any] = []
    for field in msgspec.structs.fields(shape):
        kind = refined.get(field.name, field.type)
        must = field.name in required
        fields.append((field.encode_name, kind) if must else (field.encode_name, kind | None, None))
    return msgspec.defstruct(f"Given{shape.__name__}", fields, kw_only=True)
