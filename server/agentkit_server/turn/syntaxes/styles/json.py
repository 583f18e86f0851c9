"""Arguments as one JSON object: the grammar is the tool's own, and what is generated is passed on as it
stands."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, cast

from agentkit_server.turn.syntaxes.arguments import CallableTool
from agentkit_server.turn.syntaxes.pieces import Marks
from agentkit_server.turn.syntaxes.styles.parameters import arranged
from agentkit_server.turn.syntaxes.styles.subschema import Schema


@dataclass(frozen=True)
class JSONObject:
    """`{"city": "Rome", "days": 3}`, with the white space that the tool's schema allows."""

    def fragment(self, rule: str, tool: CallableTool, marks: Marks) -> str:
        del marks
        return tool.arguments.fragment(rule)

    def loose(self, tool: CallableTool) -> tuple[str, ...]:
        del tool
        return ()

    def scanner(self, tool: CallableTool, marks: Marks) -> JSONScanner:
        del tool, marks
        return JSONScanner()

    def write(self, tool: CallableTool, arguments: Mapping[str, Any]) -> str:
        schema = cast(Schema, tool.arguments.schema)
        return written(arranged(arguments, schema, schema))


class JSONScanner:
    """Finds the end of an object or a list (RFC 8259) in a stream. White space before it is dropped."""

    def __init__(self) -> None:
        self._depth = 0
        self._in_string = False
        self._escaped = False

    def feed(self, text: str) -> tuple[str, str | None]:
        if not self._depth:
            text = text.lstrip(" \t\r\n")
        at = 0
        while at < len(text):
            at = self._step(text, at)
            if not self._depth:
                return text[:at], text[at:]
        return text, None

    def _step(self, text: str, at: int) -> int:
        """Takes in the text from `at` up to just behind the next character that matters."""
        if self._escaped:
            self._escaped = False
            return at + 1
        found = (_IN_STRING if self._in_string else _OUTSIDE).search(text, at)
        if found is None:
            return len(text)
        match found[0]:
            case "\\":
                self._escaped = True
            case '"':
                self._in_string = not self._in_string
            case "{" | "[":
                self._depth += 1
            case _:
                self._depth -= 1
        return found.end()


def written(value: Any) -> str:
    """`value` as JSON, as chat templates write it: spaced, and not confined to ASCII."""
    return json.dumps(value, ensure_ascii=False, allow_nan=False)


_IN_STRING = re.compile(r'["\\]')
_OUTSIDE = re.compile(r'["{}\[\]]')

JSON = JSONObject()
