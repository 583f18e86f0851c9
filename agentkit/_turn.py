"""The contract between an agent's loop and the server that answers: a TurnRequest goes out, pieces come back.

`Server` and `OpenAICompatible` (_backends.py) speak to servers, `agentkit.testing.ScriptedModel` replays."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Mapping, Sequence
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass, field
from typing import Any, Literal, Protocol

from agentkit._types import Message
from agentkit._usage import Usage

ToolChoice = Literal["auto", "none", "required"]
DemandKind = Literal["json_schema", "regex", "choice", "grammar"]


@dataclass(frozen=True)
class Demand:
    """What an answer has to look like."""

    kind: DemandKind
    value: Any
    """The schema, the regex, the list of strings, or the grammar (Lark or GBNF)."""


@dataclass(frozen=True, kw_only=True)
class TurnRequest:
    """One request of a run to a model."""

    model: str
    messages: Sequence[Message]
    tools: Sequence[Mapping[str, Any]] = ()
    """In the wire form. The same in all turns of a run, whatever may be called: so the prefix stays."""
    allowed: Sequence[str] | None = None
    """Names of the tools that may be called; None = all."""
    tool_choice: ToolChoice = "auto"
    parallel: bool = True
    """More than one call in a turn."""
    demand: Demand | None = None
    think: bool | str | None = None
    thinking_budget: int | None = None
    options: Mapping[str, Any] = field(default_factory=dict[str, Any])
    """Sampling and load-time options under their native names."""
    max_tokens: int | None = None
    max_seconds: float | None = None
    run_id: str = ""
    trace: Mapping[str, str] = field(default_factory=dict[str, str])
    """Headers that tell the server which span this turn is."""


@dataclass(frozen=True)
class Thought:
    text: str


@dataclass(frozen=True)
class Text:
    text: str


@dataclass(frozen=True)
class CallOpened:
    call: int
    """Counts the calls of the turn from 0."""
    id: str
    name: str


@dataclass(frozen=True)
class CallArguments:
    call: int
    text: str
    """More of the arguments' JSON text."""


@dataclass(frozen=True)
class Told:
    """Something that the caller should know: what this server cannot do."""

    text: str


@dataclass(frozen=True)
class TurnDone:
    """The last piece."""

    reason: Literal["stop", "tool_calls", "length", "deadline"]
    usage: Usage


Piece = Thought | Text | CallOpened | CallArguments | Told | TurnDone


class ModelSession(Protocol):
    """A connection to whoever answers turns, for one run.

    Raises ResponseError, ConnectionError, TimeoutError. Closing the generator cancels the request.
    """

    def turn(self, request: TurnRequest) -> AsyncGenerator[Piece]:
        """Pieces as they are made, TurnDone last."""
        ...

    async def release(self, run_id: str) -> None:
        """The run is over: what was kept for it may go."""
        ...


class ModelBackend(Protocol):
    """Where turns are answered. Runs of different event loops may share one."""

    def connect(self) -> AbstractAsyncContextManager[ModelSession]:
        """A session of its own for each run."""
        ...
