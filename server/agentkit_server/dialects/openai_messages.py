"""Chat messages of the OpenAI dialect, in the form that conversations have: text parts joined, calls and
their results, earlier thoughts. Images and audio are refused by name until they are built."""

from __future__ import annotations

from typing import Any, cast

from agentkit_server.dialects._calls import canonical_call, read_calls
from agentkit_server.dialects._shared import shown
from agentkit_server.errors import BadRequest, NotBuiltYet, UnsupportedParameter

ROLES = ("system", "developer", "user", "assistant", "tool", "function")
TEXT_PARTS = {"text": "text", "input_text": "text", "output_text": "text", "refusal": "refusal"}
MEDIA_PARTS = ("image_url", "input_image", "input_audio", "audio_url", "video_url", "file", "input_file")
PART_SEPARATOR = "\n"
LEGACY_CALL_ID = "call_legacy_{}"
"""Id of an older `function_call`, which has none: its place among the messages."""

ECHOED = ("refusal", "annotations", "parsed")
"""Fields of answers that clients send back; they are not part of the prompt."""
THOUGHTS = ("reasoning", "reasoning_content", "thinking")
"""Names under which clients send earlier thoughts back; the first that says something counts."""
FIELDS = {
    "assistant": ("name", "tool_calls", "function_call", *THOUGHTS),
    "tool": ("name", "tool_call_id"),
}
"""Fields beside role and content; other roles have a `name` alone."""


def chat_messages(messages: list[dict[str, Any]]) -> tuple[dict[str, Any], ...]:
    """`messages` as conversations have them: a `function` result is one of a tool, `function_call` a call.

    Raises BadRequest for an empty list, a missing or unknown role, content that is no text, or calls and
    results that are none; NotBuiltYet for images and audio.
    """
    if not messages:
        raise BadRequest("[] is too short - 'messages'; send at least one message", param="messages")
    return tuple(_message(message, f"messages[{at}]", at) for at, message in enumerate(messages))


def _message(message: dict[str, Any], where: str, at: int) -> dict[str, Any]:
    role = message.get("role")
    if not isinstance(role, str) or role not in ROLES:
        raise BadRequest(
            f"{where}.role is {shown(role)}; it must be one of {', '.join(ROLES)}", param=f"{where}.role"
        )
    fields = _fields(message, role, where)
    calls = _calls(fields, where, at)
    done: dict[str, Any] = {"role": role, "content": _content(message, role, where, optional=bool(calls))}
    if name := fields.get("name"):
        done["name"] = name
    if thoughts := next((fields[key] for key in THOUGHTS if fields.get(key)), ""):
        done["thinking"] = thoughts
    if calls:
        done["tool_calls"] = calls
    if role == "tool":
        done["tool_call_id"] = _result_id(fields, where)
    return {**done, "role": "tool"} if role == "function" else done


def _fields(message: dict[str, Any], role: str, where: str) -> dict[str, Any]:
    """What `message` says beside role and content. Raises for fields that a `role` has not."""
    known = FIELDS.get(role, ("name",))
    fields: dict[str, Any] = {}
    for name, value in message.items():
        if name in ("role", "content", *ECHOED) or value is None or value in ([], ""):
            continue
        if name == "audio":
            raise NotBuiltYet(f"{where}.audio is not built yet in this version", param=f"{where}.audio")
        if name not in known:
            raise UnsupportedParameter(
                f"{where}.{name} = {shown(value)} is not a field of a message of role {role!r}; leave it out",
                param=f"{where}.{name}",
            )
        if name not in ("tool_calls", "function_call") and not isinstance(value, str):
            raise BadRequest(f"{where}.{name} is {shown(value)}; it must be a text", param=f"{where}.{name}")
        fields[name] = value
    return fields


def _calls(fields: dict[str, Any], where: str, at: int) -> list[dict[str, Any]]:
    calls = fields.get("tool_calls", ())
    if calls and not isinstance(calls, list):
        raise BadRequest(
            f"{where}.tool_calls is {shown(calls)}; it must be a list", param=f"{where}.tool_calls"
        )
    found = read_calls(cast("list[Any]", calls), f"{where}.tool_calls")
    if "function_call" in fields:
        found.append(
            canonical_call(LEGACY_CALL_ID.format(at), fields["function_call"], f"{where}.function_call")
        )
    return found


def _result_id(fields: dict[str, Any], where: str) -> str:
    if "tool_call_id" not in fields:
        raise BadRequest(
            f"{where}.tool_call_id is missing; it must be the id of the call that this is the result of",
            param=f"{where}.tool_call_id",
        )
    return fields["tool_call_id"]


def _content(message: dict[str, Any], role: str, where: str, *, optional: bool) -> str:
    content = message.get("content")
    if isinstance(content, str):
        return content
    if content is None and (optional or role == "assistant"):
        return ""
    where = f"{where}.content"
    if not isinstance(content, list) or not content:
        if content == [] and role in ("assistant", "tool"):
            return ""
        raise BadRequest(f"{where} is {shown(content)}; it must be a string or a list of parts", param=where)
    parts = cast(list[Any], content)
    return PART_SEPARATOR.join(_part(part, f"{where}[{at}]") for at, part in enumerate(parts))


def _part(part: Any, where: str) -> str:
    fields = cast(dict[str, Any], part) if isinstance(part, dict) else {}
    kind = fields.get("type")
    if kind in MEDIA_PARTS:
        raise NotBuiltYet(f"{where} is of type {kind!r}, which is not built yet in this version", param=where)
    text = fields.get(TEXT_PARTS.get(str(kind), ""))
    if not isinstance(text, str):
        raise BadRequest(
            f"{where} is {shown(part)}; it must be like {{'type': 'text', 'text': '...'}}", param=where
        )
    return text
