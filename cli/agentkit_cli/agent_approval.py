"""Decisions on tool calls that need approval: asked at the terminal, or given to `agent resume`."""

from __future__ import annotations

import asyncio
import os
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from agentkit_cli.agent_view import call_text
from agentkit_cli.output import note

if TYPE_CHECKING:
    from agentkit import Run

_YES, _NO = {"y", "yes"}, {"n", "no"}
_QUESTION = "Run it? [y]es, [n]o, or why not (Ctrl-D: decide later): "


@dataclass(frozen=True)
class Decisions:
    """What `agent resume` was told."""

    approve: Sequence[str] = ()
    """Ids."""
    deny: Sequence[str] = ()
    """Ids, each with `=REASON` behind it or not."""
    rest: bool | None = None
    """Of all other calls."""

    def apply(self, run: Run) -> None:
        """Notes them in `run`. Raises RequestError for an id that does not wait."""
        waiting = [call.call_id for call in run.pending]
        if self.approve:
            run.approve(*self.approve)
        for text in self.deny:
            id, _, reason = (text, "", "") if text in waiting else text.partition("=")
            run.deny(id, reason=reason)
        if self.rest is not None and run.pending:
            (run.approve_all if self.rest else run.deny_all)()


def can_ask() -> bool:
    """Is there a person at a terminal?"""
    return sys.stdin.isatty() and sys.stderr.isatty()


async def ask(run: Run) -> bool:
    """Asks about each call that waits, and notes the answers in `run`; False when one is left open."""
    for call in run.pending:
        note(f"{call_text(call.name, call.arguments)} needs approval")
        answer = await _answer()
        if answer is None:
            return False
        if answer.lower() in _YES:
            run.approve(call.call_id)
        else:
            run.deny(call.call_id, reason="" if answer.lower() in _NO else answer)
    return True


async def _answer() -> str | None:
    """A line that is not empty; None at the end of the input."""
    # Here, because not every system has it, and only who asks needs it.
    import termios

    # What was typed before the question was asked is no answer to it.
    termios.tcflush(sys.stdin.fileno(), termios.TCIFLUSH)
    while True:
        print(_QUESTION, end="", file=sys.stderr, flush=True)
        line = await _line()
        if not line:
            note()
            return None
        if text := line.strip():
            return text


async def _line() -> str:
    # Not `input()`: Ctrl-C must cancel the run, and connections to tools must stay alive meanwhile.
    loop, ready = asyncio.get_running_loop(), asyncio.Event()
    descriptor = sys.stdin.fileno()
    loop.add_reader(descriptor, ready.set)
    try:
        await ready.wait()
    finally:
        loop.remove_reader(descriptor)
    # A terminal gives one line at a time.
    return os.read(descriptor, 1 << 12).decode(errors="replace")
