"""What a run comes to beside what was recorded of it, step by step, up to the first difference."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from pydantic_core import to_jsonable_python

from agentkit._pieces import request_fields
from agentkit._recording import RunFile
from agentkit._run import Run
from agentkit._turn import TurnRequest
from agentkit._types import Message, ToolCall

Kind = Literal["request", "thinking", "text", "call", "arguments", "result", "end"]
_REPRODUCIBLE = frozenset({"LimitReached", "OutputInvalid"})


@dataclass(frozen=True)
class Difference:
    """Where a replay first came to something else than what was recorded."""

    turn: int
    """Counts the requests of the recording from 1; 0 = before the first one."""
    kind: Kind
    expected: Any
    """As recorded. None: nothing was."""
    got: Any
    """None: nothing."""

    def __str__(self) -> str:
        return f"turn {self.turn}, {self.kind}: expected {self.expected!r}, got {self.got!r}"


class Different(Exception):
    """Ends a replay at its first difference."""

    def __init__(self, difference: Difference) -> None:
        super().__init__(str(difference))
        self.difference = difference


class Over(Exception):
    """Ends a replay where its recording ends: what would come next is not known."""


class Comparison:
    """Follows `run` while it is built again. `tools_ran`: they really run, and their errors come again."""

    def __init__(self, file: RunFile, run: Run, *, tools_ran: bool) -> None:
        self._file = file
        self._run = run
        self._compared = len(run.messages)
        self._before = len(run.messages)
        self._turn = 0
        self._open = _is_open(file.end, tools_ran)

    def request(self, request: TurnRequest) -> None:
        """The run asks the model."""
        self.messages()
        self._turn += 1
        if self._turn > len(self._file.requests):
            self._beyond("end", "another request")
        expected, got = self._file.requests[self._turn - 1]["fields"], request_fields(request)
        names = [name for name in got if got[name] != expected.get(name)]
        self._same("request", _only(expected, names), _only(got, names))

    def messages(self) -> None:
        """The conversation has grown, or not."""
        run = self._run
        while self._compared < len(run.messages):
            got, place = run.messages[self._compared], self._compared - self._before
            recorded = self._file.messages
            if place >= len(recorded):
                self._beyond("result" if got.role == "tool" else "text", got.content)
            self._message(recorded[place], got)
            self._compared += 1

    def end(self, output: Any, error: Exception | None) -> None:
        """The run has ended by itself, or by `error`."""
        self.messages()
        recorded = self._file.end
        if recorded is None or self._open:
            return
        if self._turn < len(self._file.requests) or self._missing():
            self._differ("end", "another turn", self._run.status)
        got = {"status": self._run.status, "error": error and type(error).__name__}
        said = recorded.get("error")
        self._same("end", {"status": recorded["status"], "error": said and said["type"]}, got)
        self._same("end", recorded["output"], to_jsonable_python(output, fallback=str))

    def _missing(self) -> bool:
        return self._compared - self._before < len(self._file.messages)

    def _message(self, expected: Message, got: Message) -> None:
        if "tool" in (expected.role, got.role):
            self._same("result", expected.content, got.content)
            return
        self._same("thinking", expected.thinking or "", got.thinking or "")
        self._same("text", expected.content or "", got.content or "")
        self._calls(expected.tool_calls or (), got.tool_calls or ())

    def _calls(self, expected: Sequence[ToolCall], got: Sequence[ToolCall]) -> None:
        self._same("call", [call.function.name for call in expected], [call.function.name for call in got])
        for one, other in zip(expected, got, strict=True):
            self._same("arguments", dict(one.function.arguments), dict(other.function.arguments))

    def _same(self, kind: Kind, expected: Any, got: Any) -> None:
        if expected != got:
            self._differ(kind, expected, got)

    def _beyond(self, kind: Kind, got: Any) -> None:
        if self._open:
            raise Over
        self._differ(kind, None, got)

    def _differ(self, kind: Kind, expected: Any, got: Any) -> None:
        raise Different(Difference(self._turn, kind, expected, got))


def _is_open(end: Mapping[str, Any] | None, tools_ran: bool) -> bool:
    """Did the recording end by something that cannot be built again: its process, a connection, the clock?"""
    if end is None:
        return True
    error = end.get("error")
    if error is None:
        return False
    if error["type"] == "LimitReached" and error.get("limit") == "seconds":
        return True
    return error["type"] not in _REPRODUCIBLE | ({"ToolFailed"} if tools_ran else set[str]())


def _only(fields: Mapping[str, Any], names: Sequence[str]) -> dict[str, Any]:
    return {name: fields.get(name) for name in names}
