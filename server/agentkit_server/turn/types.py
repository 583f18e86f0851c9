"""A turn: one request to a model, in the server's own words, whatever dialect it came in."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, Literal

from agentkit_server.engine.types import Sampling
from agentkit_server.residency.types import LoadOptions


@dataclass(frozen=True)
class Chat:
    """Messages for the model's chat template. Each has `role` and `content` (str) and may have more
    keys that templates know (`name`, `tool_calls` …)."""

    messages: tuple[dict[str, Any], ...]
    continue_last: bool = False
    """The last message is an unfinished assistant message: continue it instead of answering it."""
    template: str | None = None
    """Jinja template that replaces the model's own."""
    template_kwargs: dict[str, Any] = field(default_factory=dict[str, Any])


@dataclass(frozen=True)
class Text:
    """A prompt as it stands: no template. Control-token text is read as tokens."""

    text: str


@dataclass(frozen=True)
class Infill:
    """Text between `prefix` and `suffix`, on models with infill tokens."""

    prefix: str
    suffix: str


@dataclass(frozen=True)
class Tokens:
    """Token ids as they stand, optionally followed by a templated or plain text prompt (the native
    `context` field continues an earlier answer this way)."""

    tokens: tuple[int, ...]
    then: Chat | Text | None = None


Prompt = Chat | Text | Infill | Tokens


@dataclass(frozen=True, kw_only=True)
class Turn:
    model: str
    """Model name as the caller wrote it."""
    prompt: Prompt
    options: dict[str, Any] = field(default_factory=dict[str, Any])
    """The caller's sampling options under their native names (`temperature`, `num_predict`, `stop` …),
    only those given: the model's own parameters and then the defaults fill the rest."""
    load: LoadOptions = LoadOptions()
    logit_bias: dict[int, float] = field(default_factory=dict[int, float])
    n: int = 1
    logprobs: int | None = None
    keep_alive: str | float | None = None
    truncate: bool = False
    shift: bool = False
    verb: Literal["chat", "generate"] = "chat"
    """What the caller asked for, as errors about missing capabilities name it."""
    defaults: Sampling = Sampling()
    """What the dialect counts as default sampling (OpenAI: temperature 1, top_p 1)."""
