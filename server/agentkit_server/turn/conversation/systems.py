"""System and developer messages, wherever they stand, put where a template takes them."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

from agentkit_server.turn.conversation.traits import TemplateTraits

Message = dict[str, Any]

_ROLES = ("system", "developer")


def with_instructions(messages: Sequence[Message], text: str) -> list[Message]:
    """`messages` with `text` at the end of the first system message, or as one where there is none."""
    if messages and messages[0].get("role") in _ROLES:
        return [{**messages[0], "content": _joined(messages[0].get("content"), text)}, *messages[1:]]
    return [{"role": "system", "content": text}, *messages]


def placed(messages: Sequence[Message], traits: TemplateTraits) -> tuple[list[Message], list[str]]:
    """`messages` with system messages that the template takes, and what had to be moved, in words."""
    count = next((at for at, one in enumerate(messages) if one.get("role") not in _ROLES), len(messages))
    leading, rest = list(messages[:count]), list(messages[count:])
    notes: list[str] = []
    if not traits.developer:
        leading, rest = _as_system(leading), _as_system(rest)
    if len(leading) > 1 and not traits.several_systems:
        text = _joined(*(one.get("content") for one in leading))
        leading = [{**leading[0], "content": text}]
        notes.append("the template takes one system message; several were joined")
    shown = traits.system and (traits.system_in_rounds or not messages or messages[-1].get("role") == "user")
    if leading and not shown:
        leading, rest = [], [*leading, *rest]
        notes.append("the template takes no system message; it leads the first user message")
    if not traits.late_system and any(one.get("role") in _ROLES for one in rest):
        notes.append(
            "the template takes system messages only at the beginning; later ones join a user message"
        )
        rest = _folded(rest)
    elif not shown:
        rest = _folded(rest)
    return [*leading, *rest], notes


def users_joined(messages: Iterable[Message]) -> list[Message]:
    """`messages` without two user messages in a row."""
    done: list[Message] = []
    for message in messages:
        if done and message.get("role") == "user" == done[-1].get("role"):
            done[-1] = {**done[-1], "content": _joined(done[-1].get("content"), message.get("content"))}
        else:
            done.append(message)
    return done


def _as_system(messages: Sequence[Message]) -> list[Message]:
    return [{**one, "role": "system"} if one.get("role") == "developer" else one for one in messages]


def _folded(messages: Sequence[Message]) -> list[Message]:
    """System messages at the head of the user message that follows, or at the end of the one before."""
    done: list[Message] = []
    pending: list[str] = []
    for message in messages:
        role = message.get("role")
        if role in _ROLES:
            pending.append(message.get("content") or "")
            continue
        if pending and role == "user":
            message = {**message, "content": _joined(*pending, message.get("content"))}
            pending = []
        elif pending and done and done[-1].get("role") == "user":
            done[-1] = {**done[-1], "content": _joined(done[-1].get("content"), *pending)}
            pending = []
        done.append(message)
    if pending:
        done = users_joined([*done, {"role": "user", "content": _joined(*pending)}])
    return done


def _joined(*texts: Any) -> str:
    return "\n\n".join(str(text) for text in texts if text)
