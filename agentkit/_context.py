"""What a running tool may know about the run that calls it, and is never shown to the model."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Generic, TypeVar

from agentkit._types import Message
from agentkit._usage import Usage

Deps = TypeVar("Deps")


@dataclass(frozen=True)
class RunContext(Generic[Deps]):
    """Filled in for a tool's parameter that is annotated `RunContext` or `RunContext[Deps]`."""

    deps: Deps
    """What the caller gave the run: connections, settings, the user."""
    run_id: str = ""
    turn: int = 0
    """Requests to the model so far, this one included."""
    call_id: str = ""
    tool_name: str = ""
    messages: Sequence[Message] = ()
    """The conversation up to this call; not to be changed."""
    usage: Usage = field(default_factory=Usage)
    """What the run used so far."""
