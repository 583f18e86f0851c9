"""Finds where the JSON values begin in an answer that has other text before them: blocks of thoughts and a
marker before the one value of an answer, text and the beginnings of calls before their arguments."""

from __future__ import annotations

import re
from typing import NamedTuple

from agentkit_server.engine.types import Lead

BLANKS = b" \t\r\n"
_MOST_HELD = 4_096
"""Bytes of a call before its arguments. Where more come, something is not as expected."""


class Reached(NamedTuple):
    """How far the text before a value has been read."""

    value: bytes | None = None
    """The beginning of the value; None as long as that has not come."""
    place: int = 0
    """Of the value."""
    held: bytes = b""
    """What may still become a mark."""
    inside: bool = False
    """A block is open."""
    past: bool = False
    """No more blocks can come."""
    calling: bool = False
    """A call has begun, or can only begin: arguments come next."""
    lost: bool = False
    """No value comes, or none that is found here."""


NEXT_CALL = Reached(past=True, calling=True)
"""Behind the arguments of a call."""


class LeadReader:
    """Reads what stands before values as `lead` says."""

    def __init__(self, lead: Lead) -> None:
        self._lead = lead
        self._marks = [mark for mark in (lead.opening, lead.marker) if mark]
        self.calls = bool(lead.calls or lead.triggers)
        """May calls come?"""
        named = (f"(?P<c{number}>{call.before})" for number, call in enumerate(lead.calls))
        self._begins = re.compile("|".join(named).encode("latin-1")) if lead.calls else None
        self._tail = max(map(len, lead.triggers), default=1) - 1

    def read_on(self, reached: Reached, piece: bytes) -> Reached:
        """What `reached` becomes with `piece`. A block ends with the first `closing` in it."""
        lead = self._lead
        held, inside = reached.held + piece, reached.inside
        if reached.past:
            return self._call(held) if reached.calling else self._behind_blocks(held)
        while True:
            if inside:
                _, closed, rest = held.partition(lead.closing)
                if not closed:
                    return Reached(held=held[max(0, len(held) - len(lead.closing) + 1) :], inside=True)
                held = rest
            held = held.lstrip(BLANKS)
            if not held or any(mark.startswith(held) and mark != held for mark in self._marks):
                return Reached(held=held)
            inside = bool(lead.opening) and held.startswith(lead.opening)
            if not inside:
                return self._behind_blocks(held)
            held = held[len(lead.opening) :]

    def _behind_blocks(self, held: bytes) -> Reached:
        """The answer, text, or calls."""
        lead = self._lead
        if lead.text:
            begins = [at for trigger in lead.triggers if (at := held.find(trigger)) >= 0]
            if begins:
                return self._call(held[min(begins) :])
            return Reached(held=held[max(0, len(held) - self._tail) :], past=True)
        held = held.lstrip(BLANKS)
        marked = bool(lead.marker) and held.startswith(lead.marker)
        if self.calls and not marked:
            if not lead.triggers or held.startswith(tuple(lead.triggers)):
                return self._call(held)
            if any(mark.startswith(held) for mark in (*lead.triggers, lead.marker)):
                return Reached(held=held, past=True)
        return Reached(held.removeprefix(lead.marker)) if lead.answer else Reached(lost=True)

    def _call(self, held: bytes) -> Reached:
        found = None if self._begins is None else self._begins.search(held)
        if found is None:
            lost = self._begins is None or len(held) > _MOST_HELD
            return NEXT_CALL._replace(held=held, lost=lost)
        place = self._lead.calls[int((found.lastgroup or "c0")[1:])].place
        return Reached(held[found.end() :], place)
