"""Python string literals: read into JSON, written, and the terminals of their grammar.

Escapes are those of the Python language reference, 2.4.1.1; of octal ones only `\\0`, and no names. A raw
line break may stand in a string, which Python itself does not allow and models write all the same.
"""

from __future__ import annotations

import re

from agentkit_server.turn.syntaxes.styles.tagged_value import escaped

ESCAPE = r"\\(['\"\\nrtbf]|x[0-9a-fA-F]{2}|u([0-9a-ce-fA-CE-F][0-9a-fA-F]{3}|[dD][0-7][0-9a-fA-F]{2}))"
"""Regex of the escapes that a grammar allows, each of them one character."""


class PythonStringScanner:
    """Reads a string of which the opening `quote` has been read."""

    def __init__(self, quote: str) -> None:
        self._quote = quote
        self._stop = re.compile(rf"[\\{quote}]")
        self._held = ""
        self._opened = False

    def feed(self, text: str) -> tuple[str, str | None]:
        """(JSON text that is certain now, what follows the string or None)."""
        out = [] if self._opened else ['"']
        self._opened = True
        text = self._held + text
        self._held = ""
        at = 0
        while (found := self._stop.search(text, at)) is not None:
            out.append(escaped(text[at : found.start()]))
            if found[0] == self._quote:
                return "".join([*out, '"']), text[found.end() :]
            escape = _ESCAPED.match(text, found.start())
            if escape is None:
                self._held = text[found.start() :]
                return "".join(out), None
            out.append(_in_json(escape[0]))
            at = escape.end()
        return "".join([*out, escaped(text[at:])]), None


def _in_json(escape: str) -> str:
    """A Python escape as it stands in JSON."""
    kind = escape[1]
    if kind in _SAME:
        return escape
    if kind in _CODES:
        return escaped(_CODES[kind])
    if kind in "xU":
        code = int(escape[2:], 16)
        return escaped(chr(code)) if code < 0xD800 or 0xDFFF < code < 0x110000 else escaped(escape)
    return escaped(escape)


_ESCAPED = re.compile(r"\\(x[0-9a-fA-F]{2}|u[0-9a-fA-F]{4}|U[0-9a-fA-F]{8}|[^xuU]|[xuU](?=.{8}))", re.DOTALL)
_SAME = frozenset('\\"nrtbfu')
_CODES = {"'": "'", "a": "\a", "v": "\v", "0": "\0", "\n": ""}
