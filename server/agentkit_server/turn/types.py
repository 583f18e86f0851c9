"""A turn: one request to a model, in the server's own words, whatever dialect it came in."""

from __future__ import annotations

from collections.abc import Mapping
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
    """Template, Jinja or Go, that replaces the model's own."""
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
class Tool:
    """A function that the model may call."""

    name: str
    description: str = ""
    parameters: Mapping[str, Any] = field(default_factory=dict[str, Any])
    """JSON Schema of the arguments object; {} = no arguments are described, any object is valid."""
    listed: bool = True
    """False: callable, and not among the tools that the prompt begins with; the conversation itself says what
    it is."""
    custom: bool = False
    """Takes one text and no arguments: made by `turn.custom.custom_tool`."""
    input: ResponseFormat | None = None
    """What the text of a custom tool must look like, a regex or a grammar; None = any text."""


@dataclass(frozen=True, kw_only=True)
class ToolChoice:
    """Which of a turn's tools may be called. The tools stay in the prompt whatever is chosen."""

    mode: Literal["auto", "none", "required"] = "auto"
    """auto: the model decides; none: it must answer; required: it must call."""
    names: tuple[str, ...] = ()
    """Only these; () = every tool."""
    parallel: bool = True
    """More than one call in a turn."""


@dataclass(frozen=True, kw_only=True)
class ResponseFormat:
    """What a final answer must look like. Thinking and tool calls are not bound by it."""

    kind: Literal["json_object", "json_schema", "regex", "choice", "grammar"]
    value: Any = None
    """json_schema: the schema (dict or bool); regex: str; choice: list of str; grammar: str, Lark as
    llguidance reads it, or GBNF/EBNF as llama.cpp and xgrammar write it; json_object: None."""
    compact: bool = False
    """JSON without white space."""
    whitespace_pattern: str | None = None
    """Regex of the white space between JSON tokens, in place of the bounded default."""


ThinkLevel = Literal["low", "medium", "high", "max"]


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
    tools: tuple[Tool, ...] = ()
    tool_choice: ToolChoice = ToolChoice()
    response_format: ResponseFormat | None = None
    think: bool | ThinkLevel | None = None
    """None = as the model does by itself."""
    think_if_able: bool = False
    """A model that cannot think answers without."""
    thinking_budget: int | None = None
    """Tokens of thinking after which the block is closed by force; 0 or more."""
    keep_alive: str | float | None = None
    truncate: bool = False
    shift: bool = False
    max_seconds: float | None = None
    """What is not done so long after the request came ends with reason `deadline`, in the midst of the
    answer."""
    run_id: str = ""
    """The run of an agent that this turn belongs to: the prefix that it leaves is pinned under that name."""
    verb: Literal["chat", "generate"] = "chat"
    """What the caller asked for, as errors about missing capabilities name it."""
    defaults: Sampling = Sampling()
    """What the dialect counts as default sampling (OpenAI: temperature 1, top_p 1)."""
