"""Requests of the Anthropic dialect, and what they ask of the turn layer."""

from __future__ import annotations

from typing import Any

from agentkit_server.dialects.anthropic import message_turn
from agentkit_server.dialects.anthropic_parameters import parse
from agentkit_server.dialects.anthropic_tools import read_tools
from agentkit_server.turn.types import Chat, Turn

USER: dict[str, Any] = {"role": "user", "content": "hi"}


def turn(**fields: Any) -> Turn:
    """The turn that a request asks for. Raises what refuses it."""
    body = parse({"model": "m", "max_tokens": 9, "messages": [USER], **fields})
    return message_turn(body, read_tools(body.tools or (), body.messages))


def read(*messages: Any, **fields: Any) -> tuple[dict[str, Any], ...]:
    """`messages` as the turn has them."""
    prompt = turn(messages=list(messages), **fields).prompt
    assert isinstance(prompt, Chat)
    return prompt.messages


def text(content: str, **more: Any) -> dict[str, Any]:
    return {"type": "text", "text": content, **more}


def result(content: Any, **more: Any) -> dict[str, Any]:
    return {"type": "tool_result", "tool_use_id": "toolu_1", "content": content, **more}
