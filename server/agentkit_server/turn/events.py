"""What a turn gives back, as it happens. A dialect serialises these and adds nothing.

Order for each completion index: Started once (for the whole turn), then ThinkingDelta and TextDelta
as text becomes certain, and for each tool call, one after the other, ToolCallStart, any number of
ToolArgumentsDelta, ToolCallEnd; then one Finish.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from agentkit_server.engine.types import FinishReason, Timings, TokenLogprob, Usage

Level = Literal["exact", "checked"]
"""exact: the grammar allows nothing that is invalid. checked: it is looser somewhere, and what comes out is
validated before it counts."""


@dataclass(frozen=True)
class Started:
    """The runner is there and the prompt is accepted: from here on the status is 200."""

    prompt_tokens: int
    load_ns: int
    truncated_tokens: int = 0
    """Prompt tokens cut because the request asked for `truncate`."""
    truncated_messages: int = 0
    prompt: tuple[int, ...] = ()
    """The prompt's token ids."""
    constraint: Level | None = None
    """How far the grammar enforces what was asked for; None when nothing was."""
    notes: tuple[str, ...] = ()
    """What the caller should know of the constraint: where it is `checked` and why, formats that are taken
    as annotations."""


@dataclass(frozen=True)
class TextDelta:
    index: int
    text: str
    tokens: tuple[int, ...] = ()
    logprobs: tuple[TokenLogprob, ...] = ()


@dataclass(frozen=True)
class ThinkingDelta:
    index: int
    text: str


@dataclass(frozen=True)
class ToolCallStart:
    """The model has decided on a tool. `call` counts the calls of this completion from 0."""

    index: int
    call: int
    id: str
    """Unique: `call_` and 24 letters and digits, whatever id the model wrote itself."""
    name: str
    custom: bool = False
    """Of a custom tool: what is called arguments here is its text."""


@dataclass(frozen=True)
class ToolArgumentsDelta:
    """More of the arguments' JSON text, or of a custom tool's text."""

    index: int
    call: int
    text: str


@dataclass(frozen=True)
class ToolCallEnd:
    """The arguments are complete and valid for the tool's schema."""

    index: int
    call: int
    id: str
    name: str
    arguments: str
    """JSON text of an object, or the text of a custom tool: the deltas of this call, joined."""
    custom: bool = False


@dataclass(frozen=True)
class Finish:
    index: int
    reason: FinishReason
    """`length` may leave text, thinking or a call unfinished (a ToolCallStart without its end); `stop`
    leaves nothing unfinished."""
    usage: Usage
    timings: Timings
    load_ns: int
    stop_string: str | None = None
    error: str = ""
    shifted: int = 0
    tool_calls: int = 0
    """Calls that were completed."""
    thinking_tokens: int = 0


ToolEvent = ToolCallStart | ToolArgumentsDelta | ToolCallEnd
Event = Started | TextDelta | ThinkingDelta | ToolEvent | Finish
