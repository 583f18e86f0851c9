"""Finds where a JSON value begins in an answer that may have blocks of other text before it."""

from __future__ import annotations

from typing import NamedTuple

from agentkit_server.engine.types import Lead

BLANKS = b" \t\r\n"


class Reached(NamedTuple):
    """How far the lead has been read."""

    value: bytes | None = None
    """The beginning of the value; None as long as that has not come."""
    held: bytes = b""
    """What may still become a mark."""
    inside: bool = False
    """A block is open."""


def read_on(lead: Lead, reached: Reached, piece: bytes) -> Reached:
    """What `reached` becomes with `piece`. A block ends with the first `closing` in it."""
    held, inside = reached.held + piece, reached.inside
    while True:
        if inside:
            _, closed, rest = held.partition(lead.closing)
            if not closed:
                return Reached(held=held[max(0, len(held) - len(lead.closing) + 1) :], inside=True)
            held = rest
        held = held.lstrip(BLANKS)
        marks = [mark for mark in (lead.opening, lead.marker) if mark]
        if not held or any(mark.startswith(held) and mark != held for mark in marks):
            return Reached(held=held)
        inside = bool(lead.opening) and held.startswith(lead.opening)
        if not inside:
            return Reached(held.removeprefix(lead.marker))
        held = held[len(lead.opening) :]
