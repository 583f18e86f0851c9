"""A conversation whose last message goes on: the prompt is cut where its text ends, whatever a template
writes behind it."""

from __future__ import annotations

import secrets
from collections.abc import Mapping
from typing import Any, cast

from agentkit_server.errors import BadRequest

MARK = f"\ue000{secrets.token_hex(16)}\ue001"
"""The rendered conversation is cut where it stands. Another one in each process: a text that somebody sends,
or that a tool found somewhere, must not cut it anywhere else."""


def marked(message: Mapping[str, Any]) -> dict[str, Any]:
    """`message` with the mark behind its text."""
    content = message.get("content")
    if isinstance(content, list):
        return {**message, "content": [*cast("list[Any]", content), {"type": "text", "text": MARK}]}
    return {**message, "content": f"{content or ''}{MARK}"}


def cut(model: str, text: str) -> str:
    """`text` up to the mark. Raises BadRequest when the template of `model` did not write it."""
    end = text.rfind(MARK)
    if end < 0:
        raise BadRequest(
            f"the chat template of {model!r} drops the last message, so that it cannot be "
            f"continued; end the conversation with a user message",
            param="messages",
        )
    return text[:end]
