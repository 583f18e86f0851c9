"""Shows one streamed answer: thinking, dim and framed by two lines, text, and statistics when they are asked
for."""

from __future__ import annotations

import os
import shutil
import sys
from collections.abc import Iterable
from contextlib import AbstractContextManager, ExitStack
from dataclasses import dataclass
from typing import TYPE_CHECKING, TextIO

from agentkit_cli.output import note
from agentkit_cli.statistics import statistics_text
from agentkit_cli.wrap import PlainText, TerminalText

if TYPE_CHECKING:
    from agentkit import ChatResponse, GenerateResponse


@dataclass
class Display:
    """How answers are shown."""

    wrap: bool = True
    verbose: bool = False
    hide_thinking: bool = False

    def text(self, stream: TextIO | None = None) -> PlainText:
        """A new text on `stream`, which is stdout when it is left out; wrapped where that is a terminal."""
        onto = sys.stdout if stream is None else stream
        if not onto.isatty():
            return PlainText(onto)
        width = shutil.get_terminal_size().columns if self.wrap else None
        styled = not os.environ.get("NO_COLOR") and os.environ.get("TERM") != "dumb"
        return TerminalText(onto, width, styled=styled)


class Answer:
    """An answer as far as it has come; `content` and `thinking` are kept when it is interrupted."""

    def __init__(self, display: Display) -> None:
        self.content = ""
        self.thinking = ""
        self._display = display
        self._text = display.text()
        self._in_thinking = False

    def show(
        self,
        pieces: Iterable[ChatResponse] | Iterable[GenerateResponse],
        waiting: AbstractContextManager[None],
    ) -> None:
        """Writes `pieces` to stdout as they come; `waiting` is open until the first of them.

        The line is ended even when the stream breaks.
        """
        last = None
        with ExitStack() as until_first:
            until_first.enter_context(waiting)
            try:
                for last in pieces:
                    until_first.close()
                    self._show_piece(last)
            finally:
                until_first.close()
                self._leave_thinking()
                self._text.finish()
        if last is not None and self._display.verbose:
            note("")
            note(statistics_text(last))

    def _show_piece(self, piece: ChatResponse | GenerateResponse) -> None:
        source = piece.get("message") or piece
        thinking = source.get("thinking") or ""
        content = source.get("content") or source.get("response") or ""
        self.thinking += thinking
        self.content += content
        if thinking and not self._display.hide_thinking:
            if not self._in_thinking:
                self._text.dim(True)
                self._text.write("Thinking...\n")
                self._in_thinking = True
            self._text.write(thinking)
        if content:
            self._leave_thinking()
            self._text.write(content)

    def _leave_thinking(self) -> None:
        if self._in_thinking:
            self._in_thinking = False
            self._text.finish()
            self._text.write("...done thinking.\n\n")
            self._text.dim(False)
