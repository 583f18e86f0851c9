"""Tools and the choice among them, as both chat dialects write them: OpenAI's `tools`, `tool_choice` and
`parallel_tool_calls`. What names no function, or names one twice, is refused by its place."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Literal, cast

from agentkit_server.dialects._shared import shown
from agentkit_server.errors import BadRequest, NotBuiltYet
from agentkit_server.turn.types import Tool, ToolChoice

MAX_TOOLS = 1024
MAX_NAME_LENGTH = 256
_MODES: dict[str, Literal["auto", "none", "required"]] = {
    "auto": "auto",
    "none": "none",
    "required": "required",
    "any": "required",
}


def read_tools(given: Sequence[Any], param: str = "tools") -> tuple[Tool, ...]:
    """The functions in `given`, each `{"type": "function", "function": {name, description, parameters}}`;
    at most `MAX_TOOLS`, no two of one name. Other keys say nothing to a model and are skipped.

    Raises BadRequest, and NotBuiltYet for another type of tool; `param` begins the place they name.
    """
    _check_count(given, param)
    wrapped = [_function(tool, f"{param}[{at}]") for at, tool in enumerate(given)]
    return _distinct(
        [_tool(function, f"{param}[{at}].function") for at, function in enumerate(wrapped)], param
    )


def read_functions(given: Sequence[Any], param: str = "functions") -> tuple[Tool, ...]:
    """The same for OpenAI's older form: functions without a wrapper. Raises BadRequest."""
    _check_count(given, param)
    return _distinct([_tool(function, f"{param}[{at}]") for at, function in enumerate(given)], param)


def read_tool_choice(given: Any, parallel: bool | None = None) -> ToolChoice:
    """`auto`, `none`, `required` (`any` is the same), one function, or OpenAI's `allowed_tools`; None = auto.

    Raises BadRequest. Whether the names are among the tools is for the turn to say.
    """
    parallel = parallel is not False
    if given is None:
        return ToolChoice(parallel=parallel)
    if isinstance(given, str) and given in _MODES:
        return ToolChoice(mode=_MODES[given], parallel=parallel)
    fields = cast("dict[str, Any]", given) if isinstance(given, dict) else {}
    match fields.get("type"):
        case "function":
            return ToolChoice(mode="required", names=(_chosen_name(given),), parallel=parallel)
        case "allowed_tools":
            return _allowed(fields, parallel)
        case _:
            raise _bad_choice(given)


def _allowed(choice: dict[str, Any], parallel: bool) -> ToolChoice:
    allowed = choice.get("allowed_tools", choice)
    fields = cast("dict[str, Any]", allowed) if isinstance(allowed, dict) else {}
    mode, tools = fields.get("mode", "auto"), fields.get("tools")
    if mode not in ("auto", "required") or not isinstance(tools, list) or not tools:
        raise _bad_choice(choice)
    names = tuple(_chosen_name(tool) for tool in cast("list[Any]", tools))
    return ToolChoice(mode=_MODES[mode], names=names, parallel=parallel)


def _chosen_name(choice: Any) -> str:
    fields = cast("dict[str, Any]", choice) if isinstance(choice, dict) else {}
    function = fields.get("function", fields)
    name = cast("dict[str, Any]", function).get("name") if isinstance(function, dict) else None
    if fields.get("type") != "function" or not isinstance(name, str) or not name:
        raise _bad_choice(choice)
    return name


def _bad_choice(given: Any) -> BadRequest:
    return BadRequest(
        f"tool_choice is {shown(given)}; it must be 'auto', 'none', 'required', "
        f"{{'type': 'function', 'function': {{'name': '...'}}}} or {{'type': 'allowed_tools', "
        f"'allowed_tools': {{'mode': 'auto' or 'required', 'tools': [...]}}}}",
        param="tool_choice",
    )


def _check_count(given: Sequence[Any], param: str) -> None:
    if len(given) > MAX_TOOLS:
        raise BadRequest(f"{param} has {len(given)} entries; send at most {MAX_TOOLS}", param=param)


def _function(tool: Any, where: str) -> Any:
    fields = cast("dict[str, Any]", tool) if isinstance(tool, dict) else {}
    # The published ollama client leaves a type out that was not given.
    kind = fields.get("type", "function")
    if isinstance(kind, str) and kind and kind != "function":
        raise NotBuiltYet(
            f"{where}.type is {kind!r}; only 'function' is built in this version", param=f"{where}.type"
        )
    if kind != "function" or "function" not in fields:
        raise BadRequest(
            f"{where} is {shown(tool)}; it must be like "
            f"{{'type': 'function', 'function': {{'name': '...', 'parameters': {{...}}}}}}",
            param=where,
        )
    return fields["function"]


def _tool(function: Any, where: str) -> Tool:
    if not isinstance(function, dict):
        raise BadRequest(
            f"{where} is {shown(function)}; it must be an object with a name and parameters", param=where
        )
    fields = cast("dict[str, Any]", function)
    name, description = fields.get("name"), fields.get("description")
    if not isinstance(name, str) or not name.strip() or len(name) > MAX_NAME_LENGTH:
        raise BadRequest(
            f"{where}.name is {shown(name)}; it must be a text of 1 to {MAX_NAME_LENGTH} characters",
            param=f"{where}.name",
        )
    if description is not None and not isinstance(description, str):
        raise BadRequest(
            f"{where}.description is {shown(description)}; it must be a text", param=f"{where}.description"
        )
    parameters = _parameters(fields.get("parameters"), f"{where}.parameters")
    return Tool(name=name, description=description or "", parameters=parameters)


def _parameters(given: Any, where: str) -> dict[str, Any]:
    if given is None:
        return {}
    schema = cast("dict[str, Any]", given) if isinstance(given, dict) else None
    if schema is None or schema.get("type", "object") not in ("object", ["object"]):
        raise BadRequest(
            f"{where} is {shown(given)}; it must be a JSON Schema of an object, for example "
            f"{{'type': 'object', 'properties': {{}}}}",
            param=where,
        )
    return schema


def _distinct(tools: list[Tool], param: str) -> tuple[Tool, ...]:
    seen: set[str] = set()
    for at, tool in enumerate(tools):
        if tool.name in seen:
            raise BadRequest(
                f"{param}[{at}] is named {tool.name!r} as an earlier tool is; give every tool its own name",
                param=f"{param}[{at}]",
            )
        seen.add(tool.name)
    return tuple(tools)
