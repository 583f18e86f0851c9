"""What a run has used, and how much it may use."""

from __future__ import annotations

from dataclasses import dataclass

from pydantic import BaseModel

from agentkit._errors import DefinitionError


class Usage(BaseModel):
    """Counts of a turn, or of a whole run. Tokens are the server's own numbers."""

    prompt_tokens: int = 0
    cached_tokens: int = 0
    """Of the prompt tokens, those that were not computed again."""
    completion_tokens: int = 0
    thinking_tokens: int = 0
    """Of the completion tokens, those that were thoughts."""
    turns: int = 0
    tool_calls: int = 0

    def __add__(self, other: Usage) -> Usage:
        fields = type(self).model_fields
        return Usage(**{name: getattr(self, name) + getattr(other, name) for name in fields})


@dataclass(frozen=True, kw_only=True)
class Limits:
    """What a run may use; None = as much as it wants.

    What is used up ends the run with LimitReached. With `wrap_up` the model gets one more turn instead, in
    which it can only answer.
    """

    turns: int | None = 20
    """Requests to the model."""
    tool_calls: int | None = None
    tokens: int | None = None
    """Tokens that the model writes, thoughts included."""
    seconds: float | None = None
    """From the start of the run. The server stops at that moment, in the midst of a token's turn."""
    wrap_up: bool = False
    wrap_up_seconds: float = 30.0
    """What the last turn may take when `seconds` are over."""
    wrap_up_tokens: int = 512
    """What the last turn may write when `tokens` are used up."""

    def __post_init__(self) -> None:
        for name in ("turns", "tokens", "seconds", "wrap_up_seconds", "wrap_up_tokens"):
            value = getattr(self, name)
            if value is not None and not value > 0:
                raise DefinitionError(f"{name} is {value!r}; it must be above 0, or None for no limit")
        if self.tool_calls is not None and self.tool_calls < 0:
            raise DefinitionError(f"tool_calls is {self.tool_calls!r}; it must be 0 or more, or None")
