"""What happens in a run, one event after the other. `event.kind` is the same for all of a class, so that
events can be told apart in JSON.

Order: RunStarted; for each turn TurnStarted, deltas and calls as the model writes them, TurnEnded, and then
the results of its calls in the order of the calls; RunEnded or RunPaused last.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass, field
from typing import Any, ClassVar, Literal

from pydantic_core import to_jsonable_python

from agentkit._usage import Usage

Outcome = Literal["returned", "failed", "invalid", "timed_out", "denied", "not_run", "interrupted"]
"""returned: the tool's own result. failed: it raised. invalid: its arguments did not fit. timed_out: it took
too long. denied: a person or a hook said no. not_run: the run's limits did not allow it. interrupted: the
run was left while the tool ran; nobody knows what came of it, so it is not run again."""


@dataclass(frozen=True)
class RunEvent:
    """Base of all events."""

    kind: ClassVar[str] = ""
    run_id: str

    def to_dict(self) -> dict[str, Any]:
        """JSON-ready, with `kind` first."""
        return {"kind": self.kind, **asdict(self)}


@dataclass(frozen=True)
class RunStarted(RunEvent):
    kind: ClassVar[str] = "run_started"
    model: str


@dataclass(frozen=True)
class TurnStarted(RunEvent):
    kind: ClassVar[str] = "turn_started"
    turn: int
    """Counts from 1."""


@dataclass(frozen=True)
class ThinkingDelta(RunEvent):
    """More of the model's thoughts."""

    kind: ClassVar[str] = "thinking_delta"
    text: str


@dataclass(frozen=True)
class TextDelta(RunEvent):
    """More of the answer's text."""

    kind: ClassVar[str] = "text_delta"
    text: str


@dataclass(frozen=True)
class PartialOutput(RunEvent):
    """What there is of a structured answer so far: JSON values, with the last string as far as it goes. Not
    validated; the whole output is."""

    kind: ClassVar[str] = "partial_output"
    value: Any


@dataclass(frozen=True)
class ToolCallOpened(RunEvent):
    """The model has chosen a tool; its arguments follow."""

    kind: ClassVar[str] = "tool_call_opened"
    call_id: str
    name: str


@dataclass(frozen=True)
class ToolArgumentsDelta(RunEvent):
    """More of the JSON text of a call's arguments, and the values in all of it so far."""

    kind: ClassVar[str] = "tool_arguments_delta"
    call_id: str
    text: str
    partial: Any


@dataclass(frozen=True)
class ToolCallClosed(RunEvent):
    """The arguments are complete."""

    kind: ClassVar[str] = "tool_call_closed"
    call_id: str
    name: str
    arguments: dict[str, Any]


@dataclass(frozen=True)
class TurnEnded(RunEvent):
    kind: ClassVar[str] = "turn_ended"
    turn: int
    reason: str
    """`stop`, `tool_calls`, `length` or `deadline`."""
    usage: Usage
    """Of this turn."""

    def to_dict(self) -> dict[str, Any]:
        return {**super().to_dict(), "usage": self.usage.model_dump()}


@dataclass(frozen=True)
class ToolStarted(RunEvent):
    """A call is about to run."""

    kind: ClassVar[str] = "tool_started"
    call_id: str
    name: str


@dataclass(frozen=True)
class ToolResult(RunEvent):
    """What the model will read of a call."""

    kind: ClassVar[str] = "tool_result"
    call_id: str
    name: str
    content: str
    outcome: Outcome = "returned"
    value: Any = field(default=None, repr=False, compare=False)
    """The Python value that the tool returned; not part of the JSON form."""

    def to_dict(self) -> dict[str, Any]:
        fields = {name: value for name, value in vars(self).items() if name != "value"}
        return {"kind": self.kind, **fields}


@dataclass(frozen=True)
class Notice(RunEvent):
    """Something that the caller should know and that ends nothing, such as a server that cannot enforce the
    output type."""

    kind: ClassVar[str] = "notice"
    text: str


@dataclass(frozen=True)
class PendingCall:
    """A tool call that waits for approval."""

    call_id: str
    name: str
    arguments: dict[str, Any]


@dataclass(frozen=True)
class RunPaused(RunEvent):
    """The run waits for decisions on `pending`, and can be kept and resumed elsewhere."""

    kind: ClassVar[str] = "run_paused"
    pending: tuple[PendingCall, ...]


@dataclass(frozen=True)
class RunEnded(RunEvent):
    kind: ClassVar[str] = "run_ended"
    output: Any
    usage: Usage
    """Of the whole run."""
    reason: str = "stop"
    """`length` for a text that was cut off."""

    def to_dict(self) -> dict[str, Any]:
        return {
            "kind": self.kind,
            "run_id": self.run_id,
            "output": to_jsonable_python(self.output, fallback=str),
            "usage": self.usage.model_dump(),
            "reason": self.reason,
        }
