"""Earlier tool calls in both chat dialects, read into the one form that conversations know: OpenAI's, with
the arguments as an object. Arguments that are no JSON object stay the text that they are."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, cast

import msgspec

from agentkit_server.dialects._shared import shown
from agentkit_server.errors import BadRequest
from agentkit_server.turn.custom import INPUT

_decode = msgspec.json.Decoder().decode


def read_calls(given: Sequence[Any], where: str) -> list[dict[str, Any]]:
    """The calls of one assistant message. An id that is not given is "".

    Raises BadRequest; `where` begins the place that it names.
    """
    return [_call(call, f"{where}[{at}]") for at, call in enumerate(given)]


def canonical_call(id: str, function: Any, where: str) -> dict[str, Any]:
    """The call `id` of `function`: `{"name": …, "arguments": object or its JSON text}`. Raises BadRequest."""
    fields = cast("dict[str, Any]", function) if isinstance(function, dict) else {}
    name = fields.get("name")
    if not isinstance(name, str) or not name:
        raise BadRequest(
            f"{where}.name is {shown(name)}; it must be the name of the function that was called",
            param=f"{where}.name",
        )
    arguments = _arguments(fields.get("arguments"), f"{where}.arguments")
    return {"id": id, "type": "function", "function": {"name": name, "arguments": arguments}}


def custom_call(id: str, tool: Any, where: str) -> dict[str, Any]:
    """The call `id` of a custom `tool`, `{"name": …, "input": text}`, as one of a function. Raises
    BadRequest."""
    fields = cast("dict[str, Any]", tool) if isinstance(tool, dict) else {}
    text = fields.get("input")
    if not isinstance(text, str):
        raise BadRequest(f"{where}.input is {shown(text)}; it must be a text", param=f"{where}.input")
    return canonical_call(id, {"name": fields.get("name"), "arguments": {INPUT: text}}, where)


def _call(call: Any, where: str) -> dict[str, Any]:
    fields = cast("dict[str, Any]", call) if isinstance(call, dict) else {}
    id = fields.get("id")
    if id is not None and not isinstance(id, str):
        raise BadRequest(f"{where}.id is {shown(id)}; it must be a text", param=f"{where}.id")
    if fields.get("type") == "custom":
        return custom_call(id or "", fields.get("custom"), f"{where}.custom")
    if "function" not in fields:
        raise BadRequest(
            f"{where} is {shown(call)}; it must be like "
            f"{{'id': '...', 'type': 'function', 'function': {{'name': '...', 'arguments': ...}}}}",
            param=where,
        )
    return canonical_call(id or "", fields["function"], f"{where}.function")


def _arguments(given: Any, where: str) -> dict[str, Any] | str:
    if given is None or given == "":
        return {}
    if isinstance(given, dict):
        return cast("dict[str, Any]", given)
    if not isinstance(given, str):
        raise BadRequest(f"{where} is {shown(given)}; it must be an object or its JSON text", param=where)
    try:
        value = _decode(given)
    except (msgspec.DecodeError, RecursionError):
        # An answer that was cut short: what the model wrote, as far as it came.
        return given
    return cast("dict[str, Any]", value) if isinstance(value, dict) else given
