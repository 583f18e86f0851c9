"""What Ollama's Go templates are given: messages, calls and tools as structs of its field names. Those that
print as JSON there do so here, with everything that the caller stated, whether Ollama's types have it or not.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any, cast

from agentkit_server.gotemplate.values import GoStruct, Printed
from agentkit_server.models.go_template import Written, as_json
from agentkit_server.turn.conversation.traits import Think

Message = Mapping[str, Any]

THOUGHTS = "reasoning_content"
"""The key of a message under which its thoughts come here."""

_SCHEMA_ORDER = ("type", "$defs", "items", "required", "properties")
_PROPERTY_ORDER = ("anyOf", "type", "items", "description", "enum", "properties", "required")


def thinking_values(think: Think) -> dict[str, Any]:
    """The variables about thinking. None: nothing was said of it."""
    return {
        "Think": bool(think),
        "ThinkLevel": think if isinstance(think, str) else "medium" if think else "",
        "IsThinkSet": think is not None,
    }


def merged(messages: Sequence[Message]) -> list[Message]:
    """`messages` without two of one role in a row; results, and messages with calls, stay what they are."""
    done: list[Message] = []
    for message in messages:
        if done and _belong_together(done[-1], message):
            done[-1] = _joined(done[-1], message)
        else:
            done.append(message)
    return done


def system_of(messages: Sequence[Message]) -> str:
    """The texts of all system messages."""
    return "\n\n".join(text_of(message) for message in messages if message.get("role") == "system")


def go_messages(messages: Sequence[Message]) -> list[Any]:
    """`messages` for `.Messages`."""
    return [_message(message) for message in messages]


def go_tools(tools: Sequence[Mapping[str, Any]]) -> Written:
    """`tools`, in OpenAI's form, for `.Tools`."""
    listed = [_tool(tool) for tool in tools]
    return Written(listed, as_json(listed))


def _belong_together(first: Message, second: Message) -> bool:
    same = first.get("role") == second.get("role") != "tool"
    return same and not first.get("tool_calls") and not second.get("tool_calls")


def _joined(first: Message, second: Message) -> Message:
    together = dict(first)
    for key in ("content", THOUGHTS):
        texts = [text for one in (first, second) if (text := one.get(key))]
        if texts:
            together[key] = "\n\n".join(texts)
    return together


def text_of(message: Message) -> str:
    """Its content. Raises TypeError when that is no text."""
    content = message.get("content") or ""
    if not isinstance(content, str):
        raise TypeError("the content of a message is no text")
    return content


def _struct(name: str, fields: Mapping[str, Any], written: Mapping[str, Any]) -> Written:
    """A struct, and the JSON object that it prints as."""
    return Written(GoStruct(fields, name=name), as_json(written))


def _message(message: Message) -> Written:
    calls = [_call(at, call) for at, call in enumerate(message.get("tool_calls") or ())]
    fields = {
        "Role": message.get("role", ""),
        "Content": text_of(message),
        "Thinking": message.get(THOUGHTS) or "",
        "Images": [],
        "ToolCalls": calls,
        "ToolName": message.get("name") or "" if "tool_call_id" in message else "",
        "ToolCallID": message.get("tool_call_id") or "",
    }
    written = {"role": fields["Role"], "content": fields["Content"]}
    for key, field in (
        ("thinking", "Thinking"),
        ("tool_calls", "ToolCalls"),
        ("tool_name", "ToolName"),
        ("tool_call_id", "ToolCallID"),
    ):
        if fields[field]:
            written[key] = fields[field]
    return _struct("Message", fields, written)


def _call(at: int, call: Mapping[str, Any]) -> Written:
    function = cast("Mapping[str, Any]", call["function"])
    arguments = _arguments(function.get("arguments") or {})
    name, id = function.get("name", ""), call.get("id") or ""
    fields = {"Index": at, "Name": name, "Arguments": arguments}
    written = _struct("ToolCallFunction", fields, {"name": name, "arguments": arguments})
    return _struct("ToolCall", {"ID": id, "Function": written}, {"id": id, "function": written})


def _arguments(arguments: Any) -> Written:
    if not isinstance(arguments, dict):
        raise TypeError("the arguments of a call are no object")
    return Written(arguments, _json(arguments))


def _tool(tool: Mapping[str, Any]) -> Written:
    function = _function(cast("Mapping[str, Any]", tool["function"]))
    type = tool.get("type", "function")
    fields = {"Type": type, "Items": tool.get("items"), "Function": function}
    return _struct("Tool", fields, {"type": type, "function": function})


def _function(function: Mapping[str, Any]) -> Written:
    name, description = function.get("name", ""), function.get("description") or ""
    parameters = _parameters(function.get("parameters") or {})
    fields = {"Name": name, "Description": description, "Parameters": parameters}
    written: dict[str, Any] = {"name": name, "description": description, "parameters": parameters}
    return _struct("ToolFunction", fields, {key: value for key, value in written.items() if value})


def _parameters(schema: Mapping[str, Any]) -> Written:
    fields = {
        "Type": str(schema.get("type", "")),
        "Defs": schema.get("$defs"),
        "Items": schema.get("items"),
        "Required": _listed(schema, "required"),
        "Properties": _properties(schema),
    }
    return Written(GoStruct(fields, name="ToolFunctionParameters"), _json(_ordered(schema, _SCHEMA_ORDER)))


def _properties(schema: Mapping[str, Any]) -> Written:
    properties = _object(schema.get("properties"))
    values = {name: _property(_object(one)) for name, one in properties.items()}
    return Written(values, _json(_properties_ordered(properties)))


def _property(schema: Mapping[str, Any]) -> Written:
    fields = {
        "Type": _types(schema),
        "Items": schema.get("items"),
        "Description": schema.get("description") or "",
        "Enum": _listed(schema, "enum"),
        "AnyOf": [_property(_object(one)) for one in _listed(schema, "anyOf")],
        "Required": _listed(schema, "required"),
        "Properties": _properties(schema),
        "ToTypeScriptType": _type_script(schema),
    }
    return Written(GoStruct(fields, name="ToolProperty"), _json(_ordered(schema, _PROPERTY_ORDER)))


def _object(value: Any) -> Mapping[str, Any]:
    """`value`, or nothing when it is something else: true and false are schemas too."""
    return cast("Mapping[str, Any]", value) if isinstance(value, dict) else {}


def _listed(schema: Mapping[str, Any], key: str) -> list[Any]:
    given = schema.get(key)
    return cast("list[Any]", given) if isinstance(given, list) else []


def _types(schema: Mapping[str, Any]) -> Printed:
    """A list of types that prints as the one that there is, or else as JSON."""
    given: Any = schema.get("type", [])
    types: list[Any] = cast("list[Any]", given) if isinstance(given, list) else [given]
    one = len(types) == 1 and isinstance(types[0], str)
    return Printed(types, types[0] if one else _json(types) if types else "")


_TYPE_SCRIPT = {
    "string": "string",
    "number": "number",
    "integer": "number",
    "boolean": "boolean",
    "array": "any[]",
    "object": "Record<string, any>",
    "null": "null",
}


def _type_script(schema: Mapping[str, Any]) -> str:
    choices = _listed(schema, "anyOf")
    if choices:
        return " | ".join(_type_script(_object(one)) for one in choices)
    types = cast("list[Any]", _types(schema).value)
    return " | ".join(_TYPE_SCRIPT.get(str(type), "any") for type in types) or "any"


def _ordered(schema: Mapping[str, Any], order: Sequence[str]) -> dict[str, Any]:
    """`schema` with the keys of `order` first, and its properties likewise."""
    done: dict[str, Any] = {key: schema[key] for key in (*(one for one in order if one in schema), *schema)}
    if isinstance(done.get("properties"), dict):
        done["properties"] = _properties_ordered(done["properties"])
    return done


def _properties_ordered(properties: Mapping[str, Any]) -> dict[str, Any]:
    return {
        name: _ordered(cast("Mapping[str, Any]", one), _PROPERTY_ORDER) if isinstance(one, dict) else one
        for name, one in properties.items()
    }


def _json(value: Any) -> str:
    return json.dumps(value, ensure_ascii=False, separators=(",", ":"), allow_nan=False)
