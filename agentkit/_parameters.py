"""The keyword arguments of the client's methods, declared once for the sync and the async client."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, TypedDict

from pydantic import BaseModel

from agentkit._types import Image, Options

OptionValues = Mapping[str, Any] | Options
Format = str | Mapping[str, Any]
"""`"json"`, or a JSON Schema that the answer must follow."""
Think = bool | str
"""True, False, or how much: `"low"`, `"medium"`, `"high"`, `"max"`."""
ToolValue = Mapping[str, Any] | BaseModel
"""A tool in its JSON form, `{"type": "function", "function": {name, description, parameters}}`, or a pydantic
model of that form."""
ToolChoice = str | Mapping[str, Any]
"""`"auto"`, `"none"`, `"required"`, or `{"type": "function", "function": {"name": …}}`."""
KeepAlive = float | str
"""Seconds, or a duration such as `"10m"`; negative keeps the model loaded, 0 unloads it after the request."""


class EmbeddingsParameters(TypedDict, total=False):
    """Of `embeddings`."""

    options: OptionValues | None
    keep_alive: KeepAlive | None


class EmbedParameters(EmbeddingsParameters, total=False):
    """Of `embed`."""

    truncate: bool | None
    dimensions: int | None


class AnswerParameters(EmbeddingsParameters, total=False):
    """What `generate` and `chat` have in common."""

    format: Format | None
    compact: bool | None
    think: Think | None
    thinking_budget: int | None
    logprobs: bool | None
    top_logprobs: int | None
    truncate: bool | None
    shift: bool | None


class ChatParameters(AnswerParameters, total=False):
    """Of `chat`."""

    tools: Sequence[ToolValue] | None
    tool_choice: ToolChoice | None
    parallel_tool_calls: bool | None


class GenerateParameters(AnswerParameters, total=False):
    """Of `generate`."""

    system: str | None
    template: str | None
    context: Sequence[int] | None
    raw: bool | None
    images: Sequence[Image] | None
