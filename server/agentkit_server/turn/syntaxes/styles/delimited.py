"""Text up to a closing delimiter: the grammar of it, and reading it from a stream.

Grammar and reading agree on where it ends: at the first delimiter behind a text that is allowed. White
space that the delimiter begins with, the line break before Qwen's `</parameter>`, is taken off; a model that
forgets it is understood.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass

from agentkit_server.turn.syntaxes.pieces import Marks, quoted
from agentkit_server.turn.syntaxes.styles.text import Texts, regex, repeated


@dataclass(frozen=True)
class Delimiter:
    """What closes a text."""

    literal: str

    def __post_init__(self) -> None:
        core = self.core
        overlaps = any(core.startswith(core[at:]) for at in range(1, len(core)))
        if not core or overlaps or len(self.padding) > 1:
            raise ValueError(f"{self.literal!r} cannot close a text: its beginning shows again in it")

    @property
    def core(self) -> str:
        return self.literal.lstrip()

    @property
    def padding(self) -> str:
        return self.literal[: len(self.literal) - len(self.core)]

    def fragment(self, rule: str, texts: Texts, marks: Marks, *, anywhere: bool = False) -> str:
        """Lark source of `rule`: one of `texts`, and the delimiter.

        `anywhere`: whoever reads it takes the delimiter for the end wherever it stands. So, unless it is a
        control token, its first character is left out of texts that are bound, as far as their least length
        where that and a greatest is all that is said of them.
        """
        terminal = rule.upper()
        met = marks.text(self.core)
        head = re.split("[\ud800-\udfff]", met)[0]
        body = "/(?s:.*)/" if texts.lark is None else f"({texts.lark})"
        if anywhere and head and texts.lark is not None:
            body = _without(head[0], texts)
        if texts.lark is not None and self.padding:
            unpadded = regex(f"((?s:.*)[^{re.escape(self.padding)}])?")
            body = f"({body} {quoted(self.padding)} | {body} & {unpadded})"
        closed = f"{body} {quoted(head)}" if head else body
        if head == met:
            return f"{rule}[lazy]: {terminal}\n{terminal}: {closed}\n"
        return f"{rule}: {terminal} {marks.lark(self.core[len(head) :])}\n{terminal}: {closed}\n"

    def taken_off(self, text: str, holds: Callable[[str], bool]) -> str | None:
        """What stands before the delimiter, when `text` does; None if that is not allowed."""
        inside = text.removesuffix(self.padding) if self.padding else text
        return inside if holds(inside) else None

    def may_hold(self, text: str, holds: Callable[[str], bool]) -> bool:
        """Can `text` be written before this delimiter?"""
        ends = (found.start() for found in re.finditer(re.escape(self.core), text))
        return all(self.taken_off(text[:end], holds) is None for end in ends)


class DelimitedScanner:
    """Reads one text, of those that `texts` allows, up to its delimiter."""

    def __init__(self, delimiter: Delimiter, texts: Texts, marks: Marks) -> None:
        self._delimiter = delimiter
        self._bound = texts.lark is not None
        self._holds = texts.holds
        self._core = marks.text(delimiter.core)
        self._read = ""
        self._held = ""

    def feed(self, text: str) -> tuple[str, str | None]:
        """(text that certainly comes before the delimiter, what follows it or None)."""
        held = self._held + text
        start = 0
        while (at := held.find(self._core, start)) >= 0:
            inside = self._delimiter.taken_off(self._read + held[:at], self._holds)
            if inside is not None:
                return inside[len(self._read) :], held[at + len(self._core) :]
            start = at + len(self._core)
        keep = max(_overlap(held[start:], self._core), _overlap(held, self._delimiter.padding + self._core))
        certain = held[: len(held) - keep]
        self._held = held[len(held) - keep :]
        if self._bound:
            self._read += certain
        return certain, None


def _without(char: str, texts: Texts) -> str:
    """Expression of those of `texts` in which no `char` can begin a delimiter that comes too early."""
    other = f"[^{re.escape(char)}]"
    if texts.span is None:
        return f"(({texts.lark}) & {regex(f'{other}*')})"
    least, most = texts.span
    rest = repeated(0, None if most is None else most - least)
    return regex(f"{other}{{{least}}}(?s:.){rest}")


def _overlap(text: str, literal: str) -> int:
    """Length of the longest end of `text` that `literal` begins with."""
    for length in range(min(len(text), len(literal) - 1), 0, -1):
        if literal.startswith(text[len(text) - length :]):
            return length
    return 0
