"""Tools of the Anthropic dialect and the choice among them. A tool that is deferred is no part of the prompt
until a result refers to it; then it stands where it was referred to, so that the prompt before that place
stays what it was."""

from __future__ import annotations

import json
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Annotated, Any, cast

import msgspec
from msgspec import Meta

from agentkit_server.dialects._shared import shown
from agentkit_server.dialects._tools import MAX_NAME_LENGTH, check_count, check_distinct
from agentkit_server.dialects.anthropic_blocks import Message, ToolReference, ToolResult
from agentkit_server.dialects.anthropic_invalid import read
from agentkit_server.dialects.anthropic_known_tools import KNOWN_TOOLS, KnownTool
from agentkit_server.errors import BadRequest, NotBuiltYet
from agentkit_server.turn.conversation.conversation import function_of
from agentkit_server.turn.types import Tool, ToolChoice

SEARCH = ("tool_search_tool_regex", "tool_search_tool_bm25")
"""How the types begin of the tools by which Anthropic's servers find deferred tools. Where one of them is
there, no tool is deferred: with all of them in the prompt there is nothing to search for."""
DIRECT = "direct"


class AnyTool(msgspec.Struct, kw_only=True, forbid_unknown_fields=True):
    """What every tool may have."""

    name: Annotated[str, Meta(min_length=1, max_length=MAX_NAME_LENGTH)]
    type: str | None = None
    defer_loading: bool | None = None
    input_examples: list[dict[str, Any]] | None = None
    allowed_callers: list[str] | None = None
    """Only `direct`: the model itself."""
    strict: bool | None = None
    """Changes nothing: arguments are always held to the schema."""
    eager_input_streaming: bool | None = None
    """Changes nothing: arguments are always told as they are generated."""
    cache_control: dict[str, Any] | None = None


class CustomTool(AnyTool, kw_only=True):
    """A function of the caller's own."""

    input_schema: dict[str, Any]
    description: str | None = None


class TypedTool(AnyTool, kw_only=True):
    """One of `KNOWN_TOOLS`."""

    max_characters: int | None = None
    """Accepted: whoever runs the tool keeps to it."""


class Choice(msgspec.Struct, kw_only=True, forbid_unknown_fields=True, tag_field="type"):
    pass


class Parallel(Choice, kw_only=True):
    disable_parallel_tool_use: bool | None = None


class Auto(Parallel, tag="auto"):
    pass


class Any_(Parallel, tag="any"):
    pass


class One(Parallel, tag="tool"):
    name: str


class None_(Choice, tag="none"):
    pass


ToolChoiceParam = Auto | Any_ | One | None_


@dataclass(frozen=True)
class Tools:
    """The tools of one request."""

    tools: tuple[Tool, ...]
    """Those that the model knows."""
    places: tuple[int, ...]
    """Where each of them stands in the request."""
    deferred: Mapping[str, Tool]
    """By name, those that are known only by what refers to them."""

    def reference(self, name: str, where: str) -> str:
        """The text that makes a deferred tool known. Raises BadRequest for a tool that there is not."""
        if name in self.deferred:
            return json.dumps(function_of(self.deferred[name]), ensure_ascii=False)
        if any(tool.name == name for tool in self.tools):
            return f"{name} can be called."
        raise BadRequest(f"{where}.tool_name is {name!r}, which is not among the tools", param=where)


def read_tools(given: Sequence[Any], messages: Sequence[Message]) -> Tools:
    """The tools in `given`, of which `messages` may refer to those that are deferred.

    Raises BadRequest, and NotBuiltYet for the tools that Anthropic's servers run; `tools[i]` is named.
    """
    check_count(given)
    searched = any(_is_search(tool) for tool in given)
    read_ones = [(at, _tool(tool, f"tools[{at}]")) for at, tool in enumerate(given) if not _is_search(tool)]
    check_distinct((at, tool.name) for at, tool in read_ones)
    hidden = [] if searched else [(at, tool) for at, tool in read_ones if tool.defer_loading]
    if hidden and len(hidden) == len(read_ones):
        raise BadRequest(
            "each of the tools has defer_loading; at least one must be there from the start", param="tools"
        )
    deferred = {tool.name: _made(tool, listed=False) for _, tool in hidden}
    referred = _referred(messages)
    known = [(at, deferred.get(tool.name) or _made(tool)) for at, tool in read_ones]
    known = [(at, tool) for at, tool in known if tool.name not in deferred or tool.name in referred]
    return Tools(tuple(tool for _, tool in known), tuple(at for at, _ in known), deferred)


def read_tool_choice(given: ToolChoiceParam | None) -> ToolChoice:
    """Which tools may be called; None = as the model likes."""
    parallel = not (isinstance(given, Parallel) and given.disable_parallel_tool_use)
    match given:
        case Any_():
            return ToolChoice(mode="required", parallel=parallel)
        case One(name=name):
            return ToolChoice(mode="required", names=(name,), parallel=parallel)
        case None_():
            return ToolChoice(mode="none")
        case _:
            return ToolChoice(parallel=parallel)


def _tool(tool: Any, where: str) -> CustomTool:
    fields = cast("dict[str, Any]", tool) if isinstance(tool, dict) else {}
    kind = fields.get("type")
    if isinstance(kind, str) and kind in KNOWN_TOOLS:
        parsed = _known(read(tool, TypedTool, where), KNOWN_TOOLS[kind], where)
    elif isinstance(kind, str) and kind != "custom":
        raise NotBuiltYet(
            f"{where}.type is {shown(kind)}; built in this version are 'custom' and {', '.join(KNOWN_TOOLS)}",
            param=f"{where}.type",
        )
    else:
        parsed = read(tool, CustomTool, where)
    if parsed.input_schema.get("type", "object") not in ("object", ["object"]):
        raise BadRequest(
            f"{where}.input_schema is {shown(parsed.input_schema)}; it must be the JSON Schema of an object",
            param=f"{where}.input_schema",
        )
    others = [caller for caller in parsed.allowed_callers or () if caller != DIRECT]
    if others:
        raise NotBuiltYet(
            f"{where}.allowed_callers has {others[0]!r}; only {DIRECT!r} is built in this version",
            param=f"{where}.allowed_callers",
        )
    return parsed


def _known(tool: TypedTool, known: KnownTool, where: str) -> CustomTool:
    if tool.name != known.name:
        raise BadRequest(
            f"{where}.name is {shown(tool.name)}; a tool of type {tool.type!r} is named {known.name!r}",
            param=f"{where}.name",
        )
    fields = {name: getattr(tool, name) for name in AnyTool.__struct_fields__}
    return CustomTool(**fields, description=known.description, input_schema=dict(known.parameters))


def _made(tool: CustomTool, *, listed: bool = True) -> Tool:
    examples = "\n".join(json.dumps(one, ensure_ascii=False) for one in tool.input_examples or ())
    parts = (tool.description, f"Examples of arguments:\n{examples}" if examples else "")
    description = "\n\n".join(part for part in parts if part)
    return Tool(name=tool.name, description=description, parameters=tool.input_schema, listed=listed)


def _is_search(tool: Any) -> bool:
    kind = cast("dict[str, Any]", tool).get("type") if isinstance(tool, dict) else None
    return isinstance(kind, str) and kind.startswith(SEARCH)


def _referred(messages: Sequence[Message]) -> Collection[str]:
    """The names of the tools that results in `messages` refer to."""
    blocks = (block for one in messages if not isinstance(one.content, str) for block in one.content)
    results = (block.content for block in blocks if isinstance(block, ToolResult))
    parts = (part for content in results if isinstance(content, list) for part in content)
    return {part.tool_name for part in parts if isinstance(part, ToolReference)}
