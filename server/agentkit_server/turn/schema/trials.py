"""What llguidance has against a rewritten schema, or a part of it: asked again and again while the part that
it refuses is looked for, so every answer is kept, and no question is longer than it has to be.

Most of the time that a difficult schema took went here. Each part was asked about together with every
definition, though few need any; the same part again after each change elsewhere; and each time the lexer was
built too, where reading alone says what is wrong.
"""

from __future__ import annotations

import re
from hashlib import blake2b
from time import thread_time
from typing import Any

import msgspec

from agentkit_server.turn.schema.bounds import obstacle
from agentkit_server.turn.schema.grammars import misread, objection
from agentkit_server.turn.schema.keywords import Schema
from agentkit_server.turn.schema.rewrite import Rewrite
from agentkit_server.turn.schema.shared import shared

MAX_SECONDS = 0.8
"""Of processor time, spent on looking for what llguidance refuses: the same on a busy machine."""
_MOST = 200
_REFERENCE = re.compile(rb'"#/\$defs/(\w+)"')
_WHILE_READING = "failed to compile JSON schema: "


class Trials:
    """Questions about the parts of one rewrite."""

    def __init__(self, rewrite: Rewrite, options: dict[str, Any]) -> None:
        self._rewrite = rewrite
        self._options = options
        self._left = _MOST
        self._until = thread_time() + MAX_SECONDS
        self._written: dict[str, tuple[bytes, list[str]]] = {}
        """Definitions as JSON, and what they refer to."""
        self._known: dict[tuple[bool, bytes], str] = {}
        self._reads_only = False

    @property
    def spent(self) -> bool:
        """Has enough been asked?"""
        return self._left <= 0 or thread_time() > self._until

    def changed(self) -> None:
        """Forget how definitions are written: some part of the rewrite is another one now."""
        self._written.clear()

    def text(self, schema: Schema) -> str:
        """`schema`, with the definitions that it needs, for `%json`: JSON, one line."""
        whole = self._with_options(schema)
        written = msgspec.json.encode(whole)
        needed = self._needed(written)
        if needed:
            defs = self._rewrite.defs
            whole["$defs"] = {name: msgspec.Raw(self._definition(name)[0]) for name in defs if name in needed}
            written = msgspec.json.encode(whole)
        return written.decode()

    def _with_options(self, schema: Schema) -> dict[str, Any]:
        if isinstance(schema, bool):
            schema = {} if schema else {"anyOf": [False]}
        return {"x-guidance": self._options, **schema}

    def _needed(self, written: bytes) -> set[str]:
        needed: set[str] = set()
        waiting = self._references(written)
        while waiting:
            name = waiting.pop()
            if name not in needed:
                needed.add(name)
                waiting += self._definition(name)[1]
        return needed

    def _definition(self, name: str) -> tuple[bytes, list[str]]:
        known = self._written.get(name)
        if known is None:
            written = msgspec.json.encode(self._rewrite.defs[name])
            known = self._written[name] = written, self._references(written)
        return known

    def _references(self, written: bytes) -> list[str]:
        names = {name.decode() for name in _REFERENCE.findall(written)}
        return [name for name in names if name in self._rewrite.defs]

    def whole(self, text: str) -> tuple[str, str]:
        """What llguidance has against `text`, that of the whole schema; "" = nothing. And the text to use:
        that, or one that says the same and is quicker to compile."""
        shorter = self._shorter(text)
        refused = objection(_grammar(shorter or text))
        if shorter and "Unsatisfiable" in refused:
            shorter, refused = "", objection(_grammar(text))
        self._reads_only = _WHILE_READING in refused
        return _reason(refused), shorter or text

    def _shorter(self, text: str) -> str:
        if text.count('"pattern":') + text.count('Length":') < 2:
            return ""
        needed = self._needed(text.encode())
        defs = {name: schema for name, schema in self._rewrite.defs.items() if name in needed}
        made = shared(self._rewrite.root, defs)
        if made is None:
            return ""
        root, defs = made
        return msgspec.json.encode({**self._with_options(root), "$defs": defs}).decode()

    def part(self, schema: Schema) -> str:
        """What it has against `schema`, a part, by itself, in the step that the whole failed in. That nothing
        satisfies it is no objection here."""
        text = self.text(schema)
        # Not the text itself: a large schema has two hundred large parts.
        asked = self._reads_only, blake2b(text.encode()).digest()
        if asked not in self._known:
            self._left -= 1
            if obstacle(schema, self._rewrite.defs, text):
                self._left = 0
                return ""
            said = _reason((misread if self._reads_only else objection)(_grammar(text)))
            self._known[asked] = "" if said.startswith("Unsatisfiable") else said
        return self._known[asked]


def _grammar(text: str) -> str:
    return f"start: %json {text}\n"


def _reason(message: str) -> str:
    first, *others = message.split("\n")
    _, found, rest = first.partition(_WHILE_READING)
    place = next((line for line in others if "while processing" in line), "")
    return (rest if found else first) + (f" ({place.strip()})" if place else "")
