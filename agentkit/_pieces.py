"""Requests and pieces of turns as JSON, for run files and cassettes."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from dataclasses import asdict
from hashlib import sha256
from typing import Any

from pydantic import TypeAdapter
from pydantic_core import to_jsonable_python

from agentkit._turn import CallArguments, CallOpened, Piece, Text, Thought, Told, TurnDone, TurnRequest
from agentkit._types import Message
from agentkit._usage import Usage

_KINDS: dict[str, type[Piece]] = {
    "thought": Thought,
    "text": Text,
    "call": CallOpened,
    "arguments": CallArguments,
    "told": Told,
    "done": TurnDone,
}
_NAMES = {kind: name for name, kind in _KINDS.items()}
_LONGEST = 120


def piece_to_json(piece: Piece) -> dict[str, Any]:
    """The piece with its kind as `piece`."""
    return {"piece": _NAMES[type(piece)], **to_jsonable_python(asdict(piece))}


def piece_from_json(fields: Mapping[str, Any]) -> Piece:
    """Raises KeyError, TypeError or ValueError for what is no piece."""
    given = {name: value for name, value in fields.items() if name not in ("kind", "piece", "turn")}
    kind = _KINDS[fields["piece"]]
    if kind is TurnDone:
        return TurnDone(given["reason"], Usage.model_validate(given["usage"]))
    return TypeAdapter(kind).validate_python(given)


def request_fields(request: TurnRequest) -> dict[str, Any]:
    """What makes the request what it is, field by field: short ones as they are, long ones as their sha256.
    Run id and seconds left are no part of it, and call ids count by their order alone."""
    fields: dict[str, Any] = {
        "model": request.model,
        "messages": plain_messages(request.messages),
        "tools": request.tools,
        "allowed": request.allowed,
        "tool_choice": request.tool_choice,
        "parallel": request.parallel,
        "demand": None if request.demand is None else asdict(request.demand),
        "think": request.think,
        "thinking_budget": request.thinking_budget,
        "options": request.options,
        "max_tokens": request.max_tokens,
    }
    return {name: _short(to_jsonable_python(value, fallback=str)) for name, value in fields.items()}


def request_digest(fields: Mapping[str, Any]) -> str:
    """sha256 of what `request_fields` gives."""
    return _sha256(json.dumps(fields, sort_keys=True))


def plain_messages(messages: Iterable[Message]) -> list[dict[str, Any]]:
    """Messages as JSON objects, with their calls counted in place of the server's ids."""
    numbers: dict[str, str] = {}

    def number(id: Any) -> str:
        return numbers.setdefault(str(id), f"call_{len(numbers)}")

    plain = [message.model_dump(mode="json", exclude_none=True) for message in messages]
    for message in plain:
        for call in message.get("tool_calls", ()):
            call["id"] = number(call.get("id"))
        if "tool_call_id" in message:
            message["tool_call_id"] = number(message["tool_call_id"])
    return plain


def _short(value: Any) -> Any:
    text = json.dumps(value, sort_keys=True)
    return value if len(text) <= _LONGEST else f"sha256:{_sha256(text)}"


def _sha256(text: str) -> str:
    return sha256(text.encode()).hexdigest()
