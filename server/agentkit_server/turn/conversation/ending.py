"""Whether a prompt ends inside a block of thoughts: what a template opened itself, a parser never sees."""

from __future__ import annotations

from typing import Literal

Ending = Literal["open", "closed", "none"]


def ending(text: str, markers: tuple[str, str] | None, *, behind: str = "") -> Ending:
    """How `text` leaves the block of `markers` (opening, closing). Only what stands behind the last
    occurrence of `behind`, the last message, counts: a message may well speak of the markers."""
    if markers is None:
        return "none"
    opening, closing = (marker.strip() for marker in markers)
    text, behind = text.rstrip(), behind.strip()
    if text.endswith(opening):
        return "open"
    if text.endswith(closing):
        return "closed"
    at = text.rfind(behind) if behind else -1
    tail = text[at + len(behind) :] if at >= 0 else ""
    opened = tail.rfind(opening)
    # A closing marker alone says nothing: some models end every message with it.
    if opened < 0:
        return "none"
    return "closed" if closing in tail[opened + len(opening) :] else "open"


def ending_of_answer(text: str, markers: tuple[str, str] | None) -> Ending:
    """The same for an answer that has begun and is to be continued: whatever thoughts it had lie behind it,
    unless it stops in the middle of them."""
    if markers is None:
        return "none"
    opening, closing = (marker.strip() for marker in markers)
    return "open" if text.rfind(opening) > text.rfind(closing) else "closed"
