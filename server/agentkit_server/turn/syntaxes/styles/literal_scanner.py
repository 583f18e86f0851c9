"""Literals of Python, or with bare keys and delimited strings, read from a stream into JSON text."""

from __future__ import annotations

import re
from dataclasses import dataclass

from agentkit_server.turn.syntaxes.pieces import Marks
from agentkit_server.turn.syntaxes.styles.delimited import DelimitedScanner, Delimiter
from agentkit_server.turn.syntaxes.styles.json import written
from agentkit_server.turn.syntaxes.styles.python_string import PythonStringScanner
from agentkit_server.turn.syntaxes.styles.tagged_value import StringScanner
from agentkit_server.turn.syntaxes.styles.text import Texts


@dataclass(frozen=True, kw_only=True)
class Reading:
    """What differs between notations."""

    quote: str = ""
    """Delimiter on both sides of a string; "" = quotes and escapes as in Python."""
    keywords: bool = False
    """The outermost object has no braces and ends before a closing parenthesis; its keys end in `=`."""


class LiteralScanner:
    """Reads the arguments of one call."""

    def __init__(self, reading: Reading, marks: Marks) -> None:
        self._reading = reading
        self._marks = marks
        self._quote = marks.text(reading.quote)
        self._open = ["{"] if reading.keywords else []
        self._at_key = reading.keywords
        self._out: list[str] = ["{"] if reading.keywords else []
        self._held = ""
        self._rest: str | None = None
        self._string: StringScanner | PythonStringScanner | None = None

    def feed(self, text: str) -> tuple[str, str | None]:
        self._held += text
        while self._held and self._rest is None and self._step():
            pass
        piece = "".join(self._out)
        self._out.clear()
        return piece, self._rest

    def _step(self) -> bool:
        """Takes in one part of the text. False when it takes more text to go on."""
        if self._string is not None:
            return self._in_string()
        self._held = self._held.lstrip(" \t\r\n")
        if not self._held:
            return False
        if self._begins_string():
            return True
        if self._quote.startswith(self._held):
            return False
        char = self._held[0]
        if char in "{}[],:()":
            return self._punctuation(char)
        return self._key() if self._at_key else self._word()

    def _begins_string(self) -> bool:
        if self._quote:
            if not self._held.startswith(self._quote):
                return False
            text = DelimitedScanner(Delimiter(self._reading.quote), Texts(), self._marks)
            self._string = StringScanner(text)
            self._held = self._held[len(self._quote) :]
        elif self._held[0] in "'\"":
            self._string = PythonStringScanner(self._held[0])
            self._held = self._held[1:]
        else:
            return False
        self._at_key = False
        return True

    def _in_string(self) -> bool:
        assert self._string is not None
        piece, rest = self._string.feed(self._held)
        self._out.append(piece)
        self._held = rest or ""
        if rest is not None:
            self._string = None
        return rest is not None

    def _punctuation(self, char: str) -> bool:
        if char == ")":
            self._out.append("}")
            self._rest = self._held
            return False
        self._held = self._held[1:]
        match char:
            case "{" | "[":
                self._open.append(char)
            case "}" | "]":
                self._open.pop()
            case _:
                pass
        self._out.append(char + (" " if char in ",:" else ""))
        bare = bool(self._quote) or (self._reading.keywords and len(self._open) == 1)
        self._at_key = char in "{," and bare and self._open[-1:] == ["{"]
        if not self._open:
            self._rest = self._held
        return True

    def _key(self) -> bool:
        ending = ":" if self._quote else "="
        at = self._held.find(ending)
        if at < 0:
            return False
        self._out.append(f"{written(self._held[:at].rstrip())}: ")
        self._held = self._held[at + 1 :]
        self._at_key = False
        return True

    def _word(self) -> bool:
        found = _WORD.match(self._held)
        if found is None:
            self._out.append(self._held[0])
            self._held = self._held[1:]
            return True
        if found.end() == len(self._held):
            return False
        self._out.append(_CONSTANTS.get(found[0], found[0]))
        self._held = self._held[found.end() :]
        return True


_WORD = re.compile(r"[A-Za-z0-9_.+-]+")
_CONSTANTS = {"True": "true", "False": "false", "None": "null"}
