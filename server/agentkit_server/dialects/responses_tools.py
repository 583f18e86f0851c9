"""Tools of the Responses API: functions and custom tools, by themselves or in namespaces, and search.

A model sees one flat list of names. `Offered` leads back from there to what the caller named.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Literal, NamedTuple, cast

from agentkit_server.dialects._shared import shown
from agentkit_server.dialects._tools import MAX_NAME_LENGTH, MAX_TOOLS, read_custom, read_function
from agentkit_server.dialects.responses_search import SEARCH_TYPES, read_search
from agentkit_server.errors import BadRequest, NotBuiltYet
from agentkit_server.responses.searching import SEARCH_TOOL, Searches
from agentkit_server.search import Search
from agentkit_server.turn.types import Tool, ToolChoice

NAMESPACE_SEPARATOR = "__"
_TOOL_PARAM = re.compile(r"tools\[(\d+)\](?:\.function|\.custom)?(.*)")
_KINDS = ("function", "custom", "namespace", "web_search")


class Callee(NamedTuple):
    """What a call of a flat name is a call of."""

    name: str
    namespace: str | None = None


@dataclass(frozen=True)
class Offered:
    """The tools of one request."""

    tools: tuple[Tool, ...] = ()
    """Under flat names."""
    callees: Mapping[str, Callee] = field(default_factory=dict[str, Callee])
    """By flat name; one that is not here is itself."""
    places: tuple[str, ...] = ()
    """Where each of `tools` stands in the request."""
    searches: Searches | None = None
    """How the server searches for the model; SEARCH_TOOL is then one of the tools."""
    left_out: tuple[str, ...] = ()
    """What the model does not see, and why."""

    def callee(self, flat: str) -> Callee:
        """What the caller calls the tool `flat`."""
        return self.callees.get(flat, Callee(flat))

    def param(self, name: str) -> str:
        """What the caller calls the parameter of a tool that a turn's errors call `name`."""
        found = _TOOL_PARAM.fullmatch(name)
        return name if found is None else f"{self.places[int(found[1])]}{found[2]}"


def flat_name(name: str, namespace: str | None) -> str:
    """The name that a model sees."""
    if not namespace:
        return name
    joint = "" if namespace.endswith(NAMESPACE_SEPARATOR) else NAMESPACE_SEPARATOR
    return f"{namespace}{joint}{name}"


def read_offer(
    given: Sequence[Any], engine: Search | None = None, most: int | None = None, param: str = "tools"
) -> Offered:
    """The tools in `given`. `most` = searches at most.

    A web search is left out, and that is said, where there is no `engine` to search with or the search must
    not go out. Raises BadRequest, and NotBuiltYet for another type of tool.
    """
    _check_number(len(given), param)
    found: list[tuple[str, Tool, Callee]] = []
    left_out: list[str] = []
    searches: Searches | None = None
    for at, tool in enumerate(given):
        where = f"{param}[{at}]"
        fields = _object(tool, where)
        if _is_search(fields):
            if engine is None or fields.get("external_web_access") is False:
                left_out.append(_not_offered(fields, where))
                continue
            searches = read_search(fields, where, engine, most)
            found.append((where, SEARCH_TOOL, Callee(SEARCH_TOOL.name)))
        elif fields.get("type") == "namespace":
            found += _namespace(fields, where)
        else:
            found.append((where, _tool(fields, where), Callee(str(fields.get("name")))))
    _check_number(len(found), param)
    _check_distinct(found)
    return Offered(
        tools=tuple(tool for _, tool, _ in found),
        callees={tool.name: callee for _, tool, callee in found},
        places=tuple(where for where, _, _ in found),
        searches=searches,
        left_out=tuple(left_out),
    )


def read_choice(given: Any, offered: Offered, parallel: bool | None) -> ToolChoice:
    """`auto`, `none`, `required`, one tool, or `allowed_tools`; None = auto.

    Raises BadRequest. Whether the names are among the tools is for the turn to say.
    """
    parallel = parallel is not False
    match given:
        case None:
            return ToolChoice(parallel=parallel)
        case "auto" | "none" | "required":
            return ToolChoice(mode=cast('Literal["auto", "none", "required"]', given), parallel=parallel)
        case {"type": str(kind)} if kind in ("function", "custom", *SEARCH_TYPES):
            names = _named(cast("dict[str, Any]", given), offered)
            if not names:
                raise _bad_choice(given)
            return ToolChoice(mode="required", names=names, parallel=parallel)
        case {"type": "allowed_tools", "mode": "auto" | "required" as mode, "tools": [_, *_] as allowed}:
            each = [
                name
                for at, tool in enumerate(cast("list[Any]", allowed))
                for name in _named(_object(tool, f"tool_choice.tools[{at}]"), offered)
            ]
            if not each:
                raise BadRequest(
                    "tool_choice.tools names no tool that the model is offered; name another",
                    param="tool_choice",
                )
            return ToolChoice(mode=mode, names=tuple(dict.fromkeys(each)), parallel=parallel)
        case _:
            raise _bad_choice(given)


def _not_offered(fields: Mapping[str, Any], where: str) -> str:
    why = (
        "external_web_access is false, and nothing is kept to search in"
        if fields.get("external_web_access") is False
        else "this server has no search provider (AGENTKIT_SEARCH)"
    )
    return f"{where}: {fields['type']} is not offered to the model: {why}"


def _named(choice: Mapping[str, Any], offered: Offered) -> tuple[str, ...]:
    """The flat names that one entry of a choice means."""
    kind, name, namespace = choice.get("type"), choice.get("name"), choice.get("namespace")
    if _is_search(choice):
        return () if offered.searches is None else (SEARCH_TOOL.name,)
    if kind not in ("function", "custom", "namespace") or not isinstance(name, str) or not name:
        raise _bad_choice(choice)
    if kind == "namespace":
        return tuple(flat for flat, callee in offered.callees.items() if callee.namespace == name)
    if namespace is not None and not isinstance(namespace, str):
        raise _bad_choice(choice)
    if namespace is None and name not in offered.callees:
        inside = [flat for flat, callee in offered.callees.items() if callee.name == name]
        if len(inside) == 1:
            return (inside[0],)
    return (flat_name(name, namespace),)


def _bad_choice(given: Any) -> BadRequest:
    return BadRequest(
        f"tool_choice is {shown(given)}; it must be 'auto', 'none', 'required', "
        f"{{'type': 'function' or 'custom', 'name': '...'}} or {{'type': 'allowed_tools', "
        f"'mode': 'auto' or 'required', 'tools': [...]}} with tools that the model is offered",
        param="tool_choice",
    )


def _namespace(fields: Mapping[str, Any], where: str) -> list[tuple[str, Tool, Callee]]:
    namespace, description, tools = fields.get("name"), fields.get("description"), fields.get("tools")
    if not isinstance(namespace, str) or not namespace.strip() or len(namespace) > MAX_NAME_LENGTH:
        raise BadRequest(
            f"{where}.name is {shown(namespace)}; it must be a text of 1 to {MAX_NAME_LENGTH} characters",
            param=f"{where}.name",
        )
    if description is not None and not isinstance(description, str):
        raise BadRequest(f"{where}.description is {shown(description)}; it must be a text", param=where)
    if not isinstance(tools, list) or not tools:
        raise BadRequest(
            f"{where}.tools is {shown(tools)}; it must be a list of tools", param=f"{where}.tools"
        )
    found: list[tuple[str, Tool, Callee]] = []
    for at, each in enumerate(cast("list[Any]", tools)):
        place = f"{where}.tools[{at}]"
        tool = _tool(_object(each, place), place)
        told = tool.description
        if not found and description:
            # Once is enough: the names of the others begin alike.
            told = f"{namespace}: {description}\n\n{told}".strip()
        flat = flat_name(tool.name, namespace)
        found.append((place, replace(tool, name=flat, description=told), Callee(tool.name, namespace)))
    return found


def _tool(fields: Mapping[str, Any], where: str) -> Tool:
    kind = fields.get("type")
    if kind == "custom":
        return read_custom(fields, where)
    if kind == "function":
        return read_function(fields, where)
    if isinstance(kind, str) and kind:
        raise NotBuiltYet(
            f"{where}.type is {kind!r}; {', '.join(_KINDS)} are built in this version", param=f"{where}.type"
        )
    raise BadRequest(
        f"{where} is {shown(fields)}; it must be like {{'type': 'function', 'name': '...', "
        f"'parameters': {{...}}}}",
        param=where,
    )


def _is_search(fields: Mapping[str, Any]) -> bool:
    kind = fields.get("type")
    return isinstance(kind, str) and kind in SEARCH_TYPES


def _object(given: Any, where: str) -> dict[str, Any]:
    if not isinstance(given, dict):
        raise BadRequest(f"{where} is {shown(given)}; it must be an object with a type", param=where)
    return cast("dict[str, Any]", given)


def _check_number(number: int, param: str) -> None:
    if number > MAX_TOOLS:
        raise BadRequest(
            f"{param} has {number} entries with those of namespaces; send at most {MAX_TOOLS}", param=param
        )


def _check_distinct(found: Sequence[tuple[str, Tool, Callee]]) -> None:
    seen: dict[str, str] = {}
    for where, tool, _ in found:
        if tool.name in seen:
            raise BadRequest(
                f"{where} is named {tool.name!r} as {seen[tool.name]} is; give every tool its own name",
                param=where,
            )
        seen[tool.name] = where
