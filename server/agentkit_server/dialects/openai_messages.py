"""Chat messages of the OpenAI dialect, as the prompt of a Turn: text parts joined, developer read as
system. Images, audio and tool traffic are refused by name until they are built."""

from __future__ import annotations

from typing import Any, cast

from agentkit_server.errors import BadRequest, NotBuiltYet, UnsupportedParameter

ROLES = {"system": "system", "developer": "system", "user": "user", "assistant": "assistant"}
TOOL_ROLES = ("tool", "function")
TEXT_PARTS = {"text": "text", "input_text": "text", "output_text": "text", "refusal": "refusal"}
MEDIA_PARTS = ("image_url", "input_image", "input_audio", "audio_url", "video_url", "file", "input_file")
PART_SEPARATOR = "\n"

ECHOED = ("refusal", "annotations")
"""Fields of OpenAI's answers that clients send back; they are not part of the prompt."""
NOT_BUILT_FIELDS = (
    "tool_calls",
    "tool_call_id",
    "function_call",
    "audio",
    "reasoning",
    "reasoning_content",
    "thinking",
)


def chat_messages(messages: list[dict[str, Any]]) -> tuple[dict[str, Any], ...]:
    """`messages` as the chat template reads them.

    Raises BadRequest for an empty list, a missing or unknown role, or content that is no text;
    NotBuiltYet for images, audio, tools and thinking.
    """
    if not messages:
        raise BadRequest("[] is too short - 'messages'; send at least one message", param="messages")
    return tuple(_message(message, f"messages[{at}]") for at, message in enumerate(messages))


def _message(message: dict[str, Any], where: str) -> dict[str, Any]:
    role = message.get("role")
    if role in TOOL_ROLES:
        raise NotBuiltYet(
            f"messages with role {role!r} are not built yet in this version", param=f"{where}.role"
        )
    if not isinstance(role, str) or role not in ROLES:
        raise BadRequest(
            f"{where}.role is {role!r}; it must be one of {', '.join(ROLES)}", param=f"{where}.role"
        )
    named: dict[str, Any] = {}
    for name, value in message.items():
        if name in ("role", "content") or name in ECHOED or value is None or value == []:
            continue
        if name in NOT_BUILT_FIELDS:
            raise NotBuiltYet(f"{where}.{name} is not built yet in this version", param=f"{where}.{name}")
        if name != "name" or not isinstance(value, str):
            raise UnsupportedParameter(
                f"{where}.{name} = {value!r} is not a field of a message; leave it out",
                param=f"{where}.{name}",
            )
        named["name"] = value
    return {"role": ROLES[role], "content": _content(message.get("content"), where), **named}


def _content(content: Any, where: str) -> str:
    if isinstance(content, str):
        return content
    where = f"{where}.content"
    if not isinstance(content, list) or not content:
        raise BadRequest(f"{where} is {content!r}; it must be a string or a list of parts", param=where)
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
            f"{where} is {part!r}; it must be like {{'type': 'text', 'text': '...'}}", param=where
        )
    return text
