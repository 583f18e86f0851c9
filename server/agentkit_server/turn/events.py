"""What a turn gives back, as it happens. A dialect serialises these and adds nothing.

Order for each completion index: Started once (for the whole turn), then ThinkingDelta and TextDelta
as text becomes certain, then one Finish.
"""

from __future__ import annotations

from dataclasses import dataclass

from agentkit_server.engine.types import FinishReason, Timings, TokenLogprob, Usage


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
class Finish:
    index: int
    reason: FinishReason
    usage: Usage
    timings: Timings
    load_ns: int
    stop_string: str | None = None
    error: str = ""
    shifted: int = 0


Event = Started | TextDelta | ThinkingDelta | Finish
