"""The state of a run: everything that is needed to go on with it, in this process or in another.

It is the conversation that says where a run stands. One that ends in tool calls without results is resumed by
running those; there is no other mechanism for approvals, crashes and restarts.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Literal
from uuid import uuid4

from pydantic import BaseModel, Field

from agentkit._errors import RequestError
from agentkit._events import Outcome, PendingCall
from agentkit._types import Message, ToolCall
from agentkit._usage import Usage

Status = Literal["open", "paused", "done", "failed"]


class Result(BaseModel):
    """What one call came to, kept until all calls of its turn have a result."""

    content: str
    outcome: Outcome


def _now() -> datetime:
    return datetime.now(UTC)


def _new_id() -> str:
    return f"run_{uuid4().hex[:20]}"


class Run(BaseModel):
    """One run. `run.model_dump_json()` and `Run.model_validate_json()` keep it and bring it back."""

    id: str = Field(default_factory=_new_id)
    model: str = ""
    messages: list[Message] = []
    usage: Usage = Usage()
    status: Status = "open"
    seconds: float = 0.0
    """Spent so far, pauses left out."""
    decisions: dict[str, bool | str] = {}
    """Call id -> True (approved), False or the reason why not."""
    results: dict[str, Result] = {}
    """Call id -> result, of the calls of the last turn that have one."""
    begun: list[str] = []
    """Ids of calls that have been started. One without a result was interrupted, and is not run again."""
    failures: dict[str, int] = {}
    """Tool -> calls in a row that failed."""
    retries: int = 0
    """Answers in a row that the output type refused."""
    parent: str | None = None
    """The run that this one was forked from."""
    created_at: datetime = Field(default_factory=_now)

    @property
    def open_calls(self) -> list[ToolCall]:
        """The calls of the last message that have no result yet."""
        last = self.messages[-1] if self.messages else None
        if last is None or last.role != "assistant":
            return []
        return [call for call in last.tool_calls or () if call_id(call) not in self.results]

    @property
    def pending(self) -> list[PendingCall]:
        """The open calls on which nothing is decided."""
        return [
            PendingCall(call_id(call), call.function.name, dict(call.function.arguments))
            for call in self.open_calls
            if call_id(call) not in self.decisions
        ]

    def approve(self, *ids: str) -> None:
        """Let these calls run. Raises RequestError for an id that does not wait."""
        self._decide(ids, True)

    def approve_all(self) -> None:
        """Let all calls run that are pending."""
        self._decide([call.call_id for call in self.pending], True)

    def deny(self, *ids: str, reason: str = "") -> None:
        """Do not let these calls run; the model reads `reason`. Raises RequestError as `approve` does."""
        self._decide(ids, reason or False)

    def deny_all(self, *, reason: str = "") -> None:
        """Do not let any call run that is pending."""
        self._decide([call.call_id for call in self.pending], reason or False)

    def _decide(self, ids: Sequence[str], decision: bool | str) -> None:
        known = [call_id(call) for call in self.open_calls]
        for unknown in [id for id in ids if id not in known]:
            raise RequestError(f"no call {unknown!r} waits in run {self.id!r}; waiting are {known!r}")
        self.decisions |= dict.fromkeys(ids, decision)

    def settle(self, id: str, content: str, outcome: Outcome) -> None:
        """Note a call's result. Once the last call of the turn has one, all of them join the conversation,
        in the order of the calls."""
        self.results[id] = Result(content=content, outcome=outcome)
        if self.open_calls:
            return
        for call in self.messages[-1].tool_calls or ():
            given = self.results[call_id(call)]
            self.messages.append(
                Message(
                    role="tool",
                    content=given.content,
                    tool_name=call.function.name,
                    tool_call_id=call_id(call),
                )
            )
        self.results, self.decisions, self.begun = {}, {}, []

    def fork(self, n: int = 1) -> list[Run]:
        """`n` runs that go on from here, each on its own. They begin alike, so the server computes the
        common part once: `cached_tokens` of their turns says how much that was."""
        if n < 1:
            raise RequestError(f"{n!r} forks; ask for 1 or more")
        fields = {"parent": self.id, "created_at": _now()}
        return [self.model_copy(update={**fields, "id": _new_id()}, deep=True) for _ in range(n)]


def call_id(call: ToolCall) -> str:
    """The id of a call. One that came without is known by its content."""
    return call.id or f"call_{call.function.name}_{json.dumps(dict(call.function.arguments), sort_keys=True)}"
