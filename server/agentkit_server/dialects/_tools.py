"""Tools and the choice among them, as the chat dialects write them: OpenAI's `tools`, `tool_choice` and
`parallel_tool_calls`. What names no tool, or names one twice, is refused by its place."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any, Literal, cast

from agentkit_server.dialects._shared import shown
from agentkit_server.errors import BadRequest, NotBuiltYet
from agentkit_server.turn.custom import custom_tool
from agentkit_server.turn.types import ResponseFormat, Tool, ToolChoice

MAX_TOOLS = 1024
MAX_NAME_LENGTH = 256
_MODES: dict[str, Literal["auto", "none", "required"]] = {
    "auto": "auto",
    "none": "none",
    "required": "required",
    "any": "required",
}


def read_tools(given: Sequence[Any], param: str = "tools", *, custom: bool = False) -> tuple[Tool, ...]:
    """The functions in `given`, each `{"type": "function", "function": {name, description, parameters}}`, and
    with `custom` custom tools, each `{"type": "custom", "custom": {name, description, format}}`; at most
    `MAX_TOOLS`, no two of one name. Other keys say nothing to a model and are skipped.

    Raises BadRequest, and NotBuiltYet for another type of tool; `param` begins the place they name.
    """
    check_count(given, param)
    return _distinct([_wrapped(tool, f"{param}[{at}]", custom) for at, tool in enumerate(given)], param)


def read_functions(given: Sequence[Any], param: str = "functions") -> tuple[Tool, ...]:
    """The same for OpenAI's older form: functions without a wrapper. Raises BadRequest."""
    check_count(given, param)
    return _distinct([read_function(function, f"{param}[{at}]") for at, function in enumerate(given)], param)


def read_custom(given: Any, where: str) -> Tool:
    """A custom tool without a wrapper: name, description and format, which is `text` or a grammar, written as
    chat/completions or as Responses do. Raises BadRequest; `where` begins the place that it names."""
    name, description = _named(given, where)
    return custom_tool(name, description, _text_format(given.get("format"), f"{where}.format"))


def read_tool_choice(given: Any, parallel: bool | None = None) -> ToolChoice:
    """`auto`, `none`, `required` (`any` is the same), one tool, or OpenAI's `allowed_tools`; None = auto.

    Raises BadRequest. Whether the names are among the tools is for the turn to say.
    """
    parallel = parallel is not False
    if given is None:
        return ToolChoice(parallel=parallel)
    if isinstance(given, str) and given in _MODES:
        return ToolChoice(mode=_MODES[given], parallel=parallel)
    fields = cast("dict[str, Any]", given) if isinstance(given, dict) else {}
    match fields.get("type"):
        case "function" | "custom":
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
    kind = fields.get("type")
    tool = fields.get(str(kind), fields)
    name = cast("dict[str, Any]", tool).get("name") if isinstance(tool, dict) else None
    if kind not in ("function", "custom") or not isinstance(name, str) or not name:
        raise _bad_choice(choice)
    return name


def _bad_choice(given: Any) -> BadRequest:
    return BadRequest(
        f"tool_choice is {shown(given)}; it must be 'auto', 'none', 'required', "
        f"{{'type': 'function', 'function': {{'name': '...'}}}}, the same of 'custom', or "
        f"{{'type': 'allowed_tools', 'allowed_tools': {{'mode': 'auto' or 'required', 'tools': [...]}}}}",
        param="tool_choice",
    )


def check_count(given: Sequence[Any], param: str = "tools") -> None:
    """Raises BadRequest for more than `MAX_TOOLS`."""
    if len(given) > MAX_TOOLS:
        raise BadRequest(f"{param} has {len(given)} entries; send at most {MAX_TOOLS}", param=param)


def _wrapped(tool: Any, where: str, custom: bool) -> Tool:
    fields = cast("dict[str, Any]", tool) if isinstance(tool, dict) else {}
    # The published ollama client leaves a type out that was not given.
    kind = fields.get("type", "function")
    if custom and kind == "custom":
        return read_custom(fields.get("custom"), f"{where}.custom")
    if isinstance(kind, str) and kind and kind != "function":
        built = "only 'function' and 'custom' are" if custom else "only 'function' is"
        raise NotBuiltYet(
            f"{where}.type is {shown(kind)}; {built} built in this version", param=f"{where}.type"
        )
    if kind != "function" or "function" not in fields:
        raise BadRequest(
            f"{where} is {shown(tool)}; it must be like "
            f"{{'type': 'function', 'function': {{'name': '...', 'parameters': {{...}}}}}}",
            param=where,
        )
    return read_function(fields["function"], f"{where}.function")


def read_function(function: Any, where: str) -> Tool:
    """A function without a wrapper. Raises BadRequest; `where` is the place that it names."""
    name, description = _named(function, where)
    parameters = _parameters(function.get("parameters"), f"{where}.parameters")
    return Tool(name=name, description=description, parameters=parameters)


def _named(tool: Any, where: str) -> tuple[str, str]:
    """Name and description."""
    if not isinstance(tool, dict):
        raise BadRequest(f"{where} is {shown(tool)}; it must be an object with a name", param=where)
    fields = cast("dict[str, Any]", tool)
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
    return name, description or ""


def _text_format(given: Any, where: str) -> ResponseFormat | None:
    match given:
        case None | {"type": "text"}:
            return None
        case {"type": "grammar"}:
            # In chat/completions the grammar is an object of its own.
            fields = cast("dict[str, Any]", given)
            match fields.get("grammar", fields):
                case {"syntax": "lark", "definition": str(definition)}:
                    return ResponseFormat(kind="grammar", value=definition)
                case {"syntax": "regex", "definition": str(definition)}:
                    return ResponseFormat(kind="regex", value=definition)
                case _:
                    pass
        case _:
            pass
    raise BadRequest(
        f"{where} is {shown(given)}; it must be {{'type': 'text'}} or {{'type': 'grammar', 'grammar': "
        f"{{'syntax': 'lark' or 'regex', 'definition': '...'}}}}",
        param=where,
    )


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
    check_distinct(enumerate(tool.name for tool in tools), param)
    return tuple(tools)


def check_distinct(names: Iterable[tuple[int, str]], param: str = "tools") -> None:
    """Raises BadRequest for two tools of one name. `names`: each with its place in `param`."""
    seen: set[str] = set()
    for at, name in names:
        if name in seen:
            raise BadRequest(
                f"{param}[{at}] is named {name!r} as an earlier tool is; give every tool its own name",
                param=f"{param}[{at}]",
            )
        seen.add(name)
