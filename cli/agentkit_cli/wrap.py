"""Text of a model on its way to a terminal or a pipe.

For a terminal, words that would cross the right edge move to the next line, and control characters are
dropped: a model must not be able to drive the terminal. A pipe gets the text as it is.
"""

from __future__ import annotations

import unicodedata
from typing import TextIO

_SHORTEST_WIDTH = 20
_DIM = "\x1b[2m"
_USUAL = "\x1b[0m"


class PlainText:
    """Writes pieces of text as they come."""

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream
        self._last = "\n"

    def write(self, piece: str) -> None:
        """Writes `piece` and flushes it."""
        if piece:
            self._stream.write(piece)
            self._stream.flush()
            self._last = piece[-1]

    def dim(self, on: bool) -> None:
        """What comes from here on is shown dimly, or as usual again, where that can be shown."""

    def finish(self) -> None:
        """Ends the text on a line of its own."""
        if self._last != "\n":
            self.write("\n")


class TerminalText(PlainText):
    """Writes pieces of text without control characters; wraps words at `width` columns, unless it is None."""

    def __init__(self, stream: TextIO, width: int | None, *, styled: bool = True) -> None:
        """`styled`: the terminal may be told to dim text."""
        super().__init__(stream)
        self._styled = styled
        self._width = max(width, _SHORTEST_WIDTH) if width else None
        self._column = 0
        self._word = ""
        self._word_width = 0

    def write(self, piece: str) -> None:
        """Writes what is complete of `piece`; a word at its end waits until it is whole."""
        text = "".join(character for character in piece if _is_printed(character))
        super().write("".join(map(self._take, text)) if self._width else text)

    def finish(self) -> None:
        """Writes the last word and ends its line."""
        super().write(self._put_word())
        super().finish()
        self._column = 0

    def dim(self, on: bool) -> None:
        """What comes from here on is shown dimly, or as usual again."""
        super().write(self._put_word())
        if self._styled:
            self._stream.write(_DIM if on else _USUAL)
            self._stream.flush()

    def _take(self, character: str) -> str:
        """What can be written now that `character` has come."""
        assert self._width is not None
        if character == "\n":
            done = self._put_word() + character
            self._column = 0
            return done
        if character.isspace():
            done = self._put_word()
            if self._column >= self._width - 1:
                self._column = 0
                return done + "\n"
            self._column += 1
            return done + " "
        width = _columns(character)
        # Scripts without spaces may be broken after any character, and a word of a full line must be.
        before = self._put_word() if width == 2 or self._word_width + width >= self._width else ""
        self._word += character
        self._word_width += width
        return before + (self._put_word() if width == 2 else "")

    def _put_word(self) -> str:
        word, width = self._word, self._word_width
        self._word, self._word_width = "", 0
        if not word:
            return ""
        assert self._width is not None
        if self._column and self._column + width > self._width:
            self._column = width
            return "\n" + word
        self._column += width
        return word


def _is_printed(character: str) -> bool:
    return character in "\n\t" or unicodedata.category(character) != "Cc"


def _columns(character: str) -> int:
    if unicodedata.combining(character):
        return 0
    return 2 if unicodedata.east_asian_width(character) in "WF" else 1
