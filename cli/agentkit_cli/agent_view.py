"""Shows the events of a run: the answer on stdout, everything else on stderr, or all as lines of JSON.

Into a pipe goes the answer alone: what the model says in a turn that goes on to call tools is a note there.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager, ExitStack
from typing import TYPE_CHECKING, Any, Protocol, TextIO

from agentkit_cli.answer import Display
from agentkit_cli.output import duration_text

if TYPE_CHECKING:
    from agentkit import Run, RunEvent, ToolResult
    from agentkit_cli.wrap import PlainText

_LINES = 3
_COLUMNS = 200


class View(Protocol):
    """Where events go."""

    def show(self, event: RunEvent) -> None:
        """Shows what is to be seen of `event`."""
        ...

    def finish(self) -> None:
        """Ends the line, for whoever writes next."""
        ...


class JsonLines:
    """Every event as one line of JSON."""

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream

    def show(self, event: RunEvent) -> None:
        print(json.dumps(event.to_dict(), ensure_ascii=False, default=str), file=self._stream, flush=True)

    def finish(self) -> None:
        self._stream.flush()


class Terminal:
    """Events for a person.

    `structured`: the answer is JSON, and shown when it is whole. `tools`: the model may call some.
    `waiting` is open while nothing has come yet.
    """

    def __init__(
        self,
        display: Display,
        waiting: Callable[[], AbstractContextManager[None]],
        *,
        structured: bool,
        tools: bool,
    ) -> None:
        self._display = display
        self._waiting = waiting
        self._structured = structured
        self._answer = Display(wrap=display.wrap and not structured).text()
        self._notes = Display(wrap=False).text(sys.stderr)
        self._grows = sys.stderr.isatty()
        """Are arguments shown as they grow?"""
        self._holds = tools and not sys.stdout.isatty()
        self._held: list[str] = []
        self._in_thinking = self._in_call = False
        self._until_shown = ExitStack()

    def show(self, event: RunEvent) -> None:
        show: Callable[[Any], None] | None = getattr(self, f"_on_{event.kind}", None)
        if show is not None:
            show(event)

    def finish(self) -> None:
        self._until_shown.close()
        self._leave_thinking()
        self._put_held(self._answer)
        self._answer.finish()
        self._notes.finish()

    def _on_turn_started(self, event: Any) -> None:
        self._until_shown.enter_context(self._waiting())

    def _on_thinking_delta(self, event: Any) -> None:
        if self._display.hide_thinking:
            return
        notes = self._writing(self._notes)
        if not self._in_thinking:
            self._in_thinking = True
            notes.dim(True)
            notes.write("Thinking...\n")
        notes.write(event.text)

    def _on_text_delta(self, event: Any) -> None:
        if self._structured:
            return
        self._leave_thinking()
        if self._holds:
            self._held.append(event.text)
        else:
            self._writing(self._answer).write(event.text)

    def _on_tool_call_opened(self, event: Any) -> None:
        self._leave_thinking()
        self._put_held(self._notes)
        if self._grows:
            self._writing(self._notes).write(f"-> {event.name} ")

    def _on_tool_arguments_delta(self, event: Any) -> None:
        if self._grows:
            self._notes.write(printable(event.text))

    def _on_tool_call_closed(self, event: Any) -> None:
        notes = self._writing(self._notes)
        notes.write("\n" if self._grows else f"-> {call_text(event.name, event.arguments)}\n")

    def _on_tool_result(self, event: Any) -> None:
        self._line(result_text(event))

    def _on_notice(self, event: Any) -> None:
        self._line(f"note: {printable(event.text)}")

    def _on_turn_ended(self, event: Any) -> None:
        self._until_shown.close()
        self._leave_thinking()
        self._put_held(self._answer)

    def _on_run_ended(self, event: Any) -> None:
        if self._structured:
            answer = json.dumps(event.to_dict()["output"], indent=2, ensure_ascii=False)
            self._writing(self._answer).write(f"{answer}\n")

    def _line(self, text: str) -> None:
        self._leave_thinking()
        notes = self._writing(self._notes)
        notes.finish()
        notes.write(f"{text}\n")

    def _writing(self, text: PlainText) -> PlainText:
        """`text`, once nothing else is in the midst of a line."""
        self._until_shown.close()
        (self._notes if text is self._answer else self._answer).finish()
        return text

    def _put_held(self, text: PlainText) -> None:
        if self._held:
            self._writing(text).write("".join(self._held))
            self._held.clear()

    def _leave_thinking(self) -> None:
        if self._in_thinking:
            self._in_thinking = False
            self._notes.finish()
            self._notes.write("...done thinking.\n")
            self._notes.dim(False)


def call_text(name: str, arguments: Mapping[str, Any]) -> str:
    """A tool call on one line."""
    return f"{name} {printable(json.dumps(arguments, ensure_ascii=False))}"


def result_text(result: ToolResult) -> str:
    """A tool's result on a few lines, and how the call went where it did not go well."""
    lines = result.content.splitlines() or [""]
    shown = [printable(line[:_COLUMNS]) + ("…" if len(line) > _COLUMNS else "") for line in lines[:_LINES]]
    if len(lines) > _LINES:
        shown.append(f"… {len(lines) - _LINES} more line(s), {len(result.content)} characters in all")
    outcome = "" if result.outcome == "returned" else f" {result.outcome.replace('_', ' ')}"
    return f"<- {result.name}{outcome}: " + "\n   ".join(shown)


def usage_text(run: Run) -> str:
    """What a run has used, on one line."""
    usage = run.usage
    return (
        f"{usage.turns} turn(s), {usage.tool_calls} tool call(s), "
        f"{usage.prompt_tokens} prompt token(s) of which {usage.cached_tokens} cached, "
        f"{usage.completion_tokens} token(s) written of which {usage.thinking_tokens} thoughts, "
        f"{duration_text(int(run.seconds * 1e9))}"
    )


def printable(text: str) -> str:
    """`text` with everything escaped that could drive a terminal, or hide or reorder what it shows."""
    return "".join(one if one.isprintable() else one.encode("unicode_escape").decode("ascii") for one in text)
