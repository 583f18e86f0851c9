"""Reads one call, node by node, as its text comes in."""

from __future__ import annotations

import re
from collections.abc import Sequence

from agentkit_server.turn.syntaxes.arguments import ArgumentStyle, CallableTool, Scanner
from agentkit_server.turn.syntaxes.names import written_name
from agentkit_server.turn.syntaxes.pieces import Arguments, CallEnded, CallStarted, Marks, Piece
from agentkit_server.turn.syntaxes.syntax import Args, Gap, Id, Lit, Maybe, Name, NameAgain, Node

BLANK = " \t\r\n"


class CallReader:
    """Of a call that consists of `nodes`. What the grammar did not allow ends it unfinished."""

    def __init__(
        self, style: ArgumentStyle, nodes: Sequence[Node], tools: Sequence[CallableTool], marks: Marks
    ) -> None:
        self.complete = False
        """The call is whole."""
        self._style = style
        self._nodes = list(nodes)
        self._names = {
            written_name(node, tool.name): tool for node in nodes if isinstance(node, Name) for tool in tools
        }
        self._marks = marks
        self._held = ""
        self._tool: CallableTool | None = None
        self._scanner: Scanner | None = None

    def feed(self, text: str, out: list[Piece]) -> str | None:
        """Tells `out` what is certain now. What follows the call, None as long as it goes on."""
        self._held += text
        while self._nodes:
            node = self._nodes.pop(0)
            done = self._read(node, out)
            if done is None:
                return self._held
            if not done:
                self._nodes.insert(0, node)
                return None
        self.complete = True
        out.append(CallEnded())
        return self._held

    def _read(self, node: Node, out: list[Piece]) -> bool | None:
        """True when `node` was read, False when more text is needed, None when it is not there."""
        match node:
            case Gap():
                self._held = self._held.lstrip(BLANK)
                # Nothing follows the last gap that would have to be waited for.
                return bool(self._held) or not self._nodes
            case Lit(text):
                return self._literal(self._marks.text(text))
            case NameAgain():
                assert self._tool is not None
                return self._literal(self._tool.name)
            case Id(pattern):
                return self._id(pattern)
            case Maybe(nodes):
                return self._maybe(nodes)
            case Name():
                return self._name(out)
            case Args():
                return self._arguments(out)

    def _literal(self, text: str) -> bool | None:
        if self._held.startswith(text):
            self._held = self._held[len(text) :]
            return True
        return False if text.startswith(self._held) else None

    def _id(self, pattern: str) -> bool | None:
        found = re.match(pattern, self._held)
        if found is None or found.end() == len(self._held):
            return False
        self._held = self._held[found.end() :]
        return True

    def _maybe(self, nodes: Sequence[Node]) -> bool:
        first = nodes[0]
        assert isinstance(first, Lit)
        literal = self._marks.text(first.text)
        if len(self._held) < len(literal) and literal.startswith(self._held):
            return False
        if self._held.startswith(literal):
            self._nodes[:0] = nodes
        return True

    def _name(self, out: list[Piece]) -> bool | None:
        """The longest name that stands here, once it cannot become a longer one."""
        held = self._held
        if any(name.startswith(held) for name in self._names):
            return False
        found = max((name for name in self._names if held.startswith(name)), key=len, default=None)
        if found is None:
            return None
        self._tool = self._names[found]
        self._scanner = self._style.scanner(self._tool, self._marks)
        self._held = self._held[len(found) :]
        out.append(CallStarted(self._tool.name))
        return True

    def _arguments(self, out: list[Piece]) -> bool:
        assert self._scanner is not None
        text, rest = self._scanner.feed(self._held)
        if text:
            out.append(Arguments(text))
        self._held = rest or ""
        return rest is not None


def overlap(text: str, marker: str) -> int:
    """Length of the longest end of `text` that begins `marker`."""
    for length in range(min(len(text), len(marker) - 1), 0, -1):
        if marker.startswith(text[-length:]):
            return length
    return 0
