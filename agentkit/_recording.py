"""Run files: what a run was asked, what it answered and what its tools returned, for `agentkit.replay`.

JSON lines in ASCII, each with a `kind`, each written out when it happens: what there is of a file is valid,
whenever its process ended. Version 1, in the order of a file:

header   format "agentkit.run", version 1, agentkit (its version), run (the Run as it began), model, settings
         (tool_choice, options with the seed, think, demand …), tools (each with its `retries`), limits, flow,
         output_retries, and of an agentkit server model_digest, template_sha256, server_version
request  turn (from 1), sha256, fields: what the request consisted of; long ones as their sha256
piece    turn, piece (thought, text, call, arguments, told, done) and its fields, as they came
message  message: one that joined the conversation
result   call_id, name, content, outcome: what the model reads of a call
output   problem (null, or what the output type said against the answer), value
end      status (done, paused, failed), output, usage, error {type, message} or null
"""

from __future__ import annotations

import json
from collections.abc import AsyncGenerator, Callable, Mapping
from contextlib import aclosing
from dataclasses import asdict, dataclass, field, replace
from os import PathLike, fspath
from pathlib import Path
from typing import Any, Protocol, cast, runtime_checkable

from pydantic_core import to_jsonable_python

from agentkit._errors import AgentkitError
from agentkit._events import RunEnded, RunEvent, ToolResult
from agentkit._loop import Plan
from agentkit._output import NotValid
from agentkit._pieces import piece_from_json, piece_to_json, request_digest, request_fields
from agentkit._run import Run
from agentkit._turn import ModelSession, Piece, TurnRequest
from agentkit._types import Message

FORMAT = "agentkit.run"
VERSION = 1


@runtime_checkable
class Describing(Protocol):
    """A backend that can say which model it has."""

    async def facts(self, model: str) -> Mapping[str, str]:
        """`model_digest`, `template_sha256`, `server_version`, as far as they are known."""
        ...


async def facts_of(backend: object, model: str) -> dict[str, str]:
    """What `backend` says of `model`; empty for one that cannot."""
    return dict(await backend.facts(model)) if isinstance(backend, Describing) else {}


class Recording:
    """A run file that is being written. One that is there already is replaced."""

    def __init__(self, path: str | PathLike[str], run: Run, plan: Plan, facts: Mapping[str, str]) -> None:
        self._run = run
        self._noted = len(run.messages)
        self._turn = 0
        self._output: Any = None
        try:
            self._file = Path(path).open("w", encoding="ascii", newline="\n")  # noqa: SIM115 (until close)
        except OSError as error:
            raise AgentkitError(
                f"the run cannot be recorded in {fspath(path)!r}: {error.strerror}"
            ) from error
        self._write("header", {"format": FORMAT, "version": VERSION, **_header(run, plan), **facts})

    def session(self, session: ModelSession) -> ModelSession:
        """`session`, with its requests and pieces noted."""
        return _RecordedSession(self, session)

    def plan(self, plan: Plan) -> Plan:
        """`plan`, with what the output type says noted."""
        parse = plan.output.parse

        def noted(text: str) -> Any:
            self._note_messages()
            try:
                value = parse(text)
            except NotValid as error:
                self._write("output", {"problem": str(error), "value": None})
                raise
            self._write("output", {"problem": None, "value": to_jsonable_python(value, fallback=str)})
            return value

        return replace(plan, output=replace(plan.output, parse=noted))

    def note(self, event: RunEvent) -> None:
        """What `event` tells, and what it has changed in the run."""
        if isinstance(event, ToolResult):
            fields = ("call_id", "name", "content", "outcome")
            self._write("result", {name: getattr(event, name) for name in fields})
        elif isinstance(event, RunEnded):
            self._output = event.output
        self._note_messages()

    def end(self, error: BaseException | None) -> None:
        """The last line."""
        self._note_messages()
        told = None if error is None else {"type": type(error).__name__, "message": str(error)}
        if limit := getattr(error, "limit", None):
            told = {**(told or {}), "limit": limit}
        output = to_jsonable_python(self._output, fallback=str)
        usage = self._run.usage.model_dump()
        self._write("end", {"status": self._run.status, "output": output, "usage": usage, "error": told})

    def close(self) -> None:
        """Close the file."""
        self._file.close()

    def request(self, request: TurnRequest) -> None:
        self._note_messages()
        self._turn += 1
        fields = request_fields(request)
        self._write("request", {"turn": self._turn, "sha256": request_digest(fields), "fields": fields})

    def piece(self, piece: Piece) -> None:
        self._write("piece", {"turn": self._turn, **piece_to_json(piece)})

    def _note_messages(self) -> None:
        for message in self._run.messages[self._noted :]:
            self._write("message", {"message": message.model_dump(mode="json", exclude_none=True)})
        self._noted = len(self._run.messages)

    def _write(self, kind: str, fields: Mapping[str, Any]) -> None:
        self._file.write(json.dumps({"kind": kind, **fields}) + "\n")
        self._file.flush()


@dataclass(frozen=True)
class _RecordedSession:
    recording: Recording
    inner: ModelSession

    async def turn(self, request: TurnRequest) -> AsyncGenerator[Piece]:
        self.recording.request(request)
        async with aclosing(self.inner.turn(request)) as pieces:
            async for piece in pieces:
                self.recording.piece(piece)
                yield piece

    async def release(self, run_id: str) -> None:
        await self.inner.release(run_id)


def _header(run: Run, plan: Plan) -> dict[str, Any]:
    from agentkit._version import __version__

    request = plan.request
    settings = {
        "tool_choice": plan.tool_choice,
        "parallel": request.parallel,
        "demand": request.demand,
        "think": request.think,
        "thinking_budget": request.thinking_budget,
        "options": request.options,
    }
    tools = [{**tool.definition(), "retries": tool.retries} for tool in plan.toolbox.tools.values()]
    fields = {
        "agentkit": __version__,
        "model": request.model,
        "run": run.model_dump(mode="json", exclude_none=True),
        "settings": settings,
        "tools": tools,
        "limits": asdict(plan.limits),
        "flow": plan.flow,
        "output_retries": plan.output_retries,
    }
    return to_jsonable_python(fields, fallback=str)


@dataclass
class RunFile:
    """A run file that has been read."""

    header: dict[str, Any]
    requests: list[dict[str, Any]] = field(default_factory=list[dict[str, Any]])
    pieces: list[list[Piece]] = field(default_factory=list[list[Piece]])
    """Of each request."""
    messages: list[Message] = field(default_factory=list[Message])
    """That joined the conversation."""
    results: list[dict[str, Any]] = field(default_factory=list[dict[str, Any]])
    outputs: list[dict[str, Any]] = field(default_factory=list[dict[str, Any]])
    end: dict[str, Any] | None = None
    """None: its process ended before the run did."""
    note: str = ""
    """What is wrong with its last line."""

    def take(self, line: Mapping[str, Any]) -> None:
        """One line after the header. Lines of a kind that a later version has are passed over."""
        match line["kind"]:
            case "request":
                self.requests.append(dict(line))
                self.pieces.append([])
            case "piece":
                self.pieces[-1].append(piece_from_json(line))
            case "message":
                self.messages.append(Message.model_validate(line["message"]))
            case "result":
                self.results.append(dict(line))
            case "output":
                self.outputs.append(dict(line))
            case "end":
                self.end = dict(line)
            case _:
                return


def read(path: str | PathLike[str]) -> RunFile:
    """The run file at `path`. Raises AgentkitError where there is none, and for a line in it that cannot be
    read, unless it is the last one: that is what an ended process leaves."""
    name = fspath(path)
    try:
        lines = Path(path).read_bytes().split(b"\n")
    except OSError as error:
        raise AgentkitError(f"there is no run file at {name!r}: {error.strerror}") from error
    header = _parsed(lines[0])
    if header is None or header.get("format") != FORMAT:
        raise AgentkitError(f"{name!r} is no run file", hint="make one with agent.run(…, record=path)")
    if header.get("version") != VERSION:
        raise AgentkitError(
            f"{name!r} has version {header.get('version')!r}, and this agentkit reads {VERSION}",
            hint="replay it with the agentkit that its header names",
        )
    found = RunFile(header)
    last = len(lines) - 1
    for at, text in enumerate(lines[1:], 1):
        if not text and at == last:
            continue
        if not _taken(found.take, text):
            if at != last:
                raise AgentkitError(f"line {at + 1} of {name!r} is no line of a run file")
            found.note = f"line {at + 1} is cut off"
    return found


def _taken(take: Callable[[Mapping[str, Any]], None], text: bytes) -> bool:
    line = _parsed(text)
    try:
        if line is not None:
            take(line)
    except (KeyError, IndexError, TypeError, ValueError):
        return False
    return line is not None


def _parsed(text: bytes) -> dict[str, Any] | None:
    try:
        line: Any = json.loads(text)
    except ValueError:
        return None
    return cast("dict[str, Any]", line) if isinstance(line, dict) else None
