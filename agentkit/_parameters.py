"""The keyword arguments of the client's methods, declared once for the sync and the async client."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, TypeAlias, TypedDict

from pydantic import BaseModel

from agentkit._types import ImageValue, Options

if TYPE_CHECKING:
    from agentkit._tool import Tool

OptionValues = Mapping[str, Any] | Options
Format = str | Mapping[str, Any]
"""`"json"`, or a JSON Schema that the answer must follow."""
Think = bool | str
"""True, False, or how much: `"low"`, `"medium"`, `"high"`, `"max"`."""
ToolValue: TypeAlias = "Tool | Callable[..., Any] | Mapping[str, Any] | BaseModel"
"""A Tool, a function, or a tool in its JSON form, `{"type": "function", "function": {name, description,
parameters}}`, or as a pydantic model of that form."""
ToolChoice = str | Mapping[str, Any]
"""`"auto"`, `"none"`, `"required"`, or `{"type": "function", "function": {"name": …}}`."""
KeepAlive = float | str
"""Seconds, or a duration such as `"10m"`; negative keeps the model loaded, 0 unloads it after the request."""


class AnswerParameters(TypedDict, total=False):
    """What `generate` and `chat` have in common."""

    options: OptionValues | None
    keep_alive: KeepAlive | None
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
    images: Sequence[ImageValue] | None
    width: int | None
    """Of an image that the model makes, in pixels."""
    height: int | None
    steps: int | None


class CreateParameters(TypedDict, total=False):
    """Of `create`."""

    template: str | None
    license: str | Sequence[str] | None
    system: str | None
    parameters: OptionValues | None
    messages: Sequence[Mapping[str, Any] | BaseModel] | None
    adapter_scales: Mapping[str, float] | None
    """How much of an adapter is added, by its file name in `adapters`; 1 where it is left out."""
    imatrix: str | None
    """Digest of an importance matrix to quantise with."""
    draft_files: Mapping[str, str] | None
    """File names and digests of a smaller model that drafts."""
    draft_quantize: str | None
    renderer: str | None
    parser: str | None
    requires: str | None
    """The least version of the server that can run the model."""
