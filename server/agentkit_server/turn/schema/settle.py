"""llguidance has the last word on a rewritten schema. Where it refuses one, the smallest part that it refuses
is loosened, and listed, until it takes the rest."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass, replace
from time import thread_time
from typing import Any, cast

import msgspec

from agentkit_server.errors import SchemaProblem
from agentkit_server.turn.schema.bounds import obstacle
from agentkit_server.turn.schema.grammars import objection
from agentkit_server.turn.schema.inline import inlined
from agentkit_server.turn.schema.keywords import Schema
from agentkit_server.turn.schema.rewrite import Rewrite

MAX_SECONDS = 0.8
"""Of processor time, spent on looking for what llguidance refuses: the same on a busy machine."""
_MOST_TRIALS = 200


@dataclass
class Settled:
    """A rewritten schema that llguidance takes, or `refused`."""

    text: str = ""
    """JSON, one line."""
    refused: tuple[SchemaProblem, ...] = ()
    hopeless: bool = False
    """Refused because nothing satisfies it, which no other rewriting changes."""


def settle(rewrite: Rewrite, options: dict[str, Any]) -> Settled:
    """`rewrite` as text for `%json`; `rewrite.loose` grows where parts had to be loosened."""
    return _Settling(rewrite, options).run()


def validated(text: str) -> str:
    """What llguidance has against `%json text`, "" = nothing."""
    return _reason(objection(f"start: %json {text}\n"))


def _reason(message: str) -> str:
    first, *others = message.split("\n")
    _, found, rest = first.partition("failed to compile JSON schema: ")
    place = next((line for line in others if "while processing" in line), "")
    return (rest if found else first) + (f" ({place.strip()})" if place else "")


class _Settling:
    def __init__(self, rewrite: Rewrite, options: dict[str, Any]) -> None:
        self._rewrite = rewrite
        self._options = options
        self._trials = _MOST_TRIALS
        self._written_out = False
        self._until = thread_time() + MAX_SECONDS

    def run(self) -> Settled:
        while True:
            text = self._text(self._rewrite.root)
            if reason := obstacle(self._rewrite.root, self._rewrite.defs):
                return self._refused("it is too large", reason, "split it, or nest less")
            said = validated(text)
            if not said:
                return Settled(text)
            if said.startswith("circular") and not self._written_out:
                self._written_out = True
                rewrite = self._rewrite
                rewrite.root, rewrite.defs = inlined(rewrite.root, rewrite.defs, rewrite.pointers)
                continue
            if said.startswith("Unsatisfiable"):
                refused = self._refused("no value can satisfy it", said, "remove what contradicts itself")
                return replace(refused, hopeless=True)
            if not self._loosen(said):
                return self._refused("llguidance cannot take it", said, "make it smaller or simpler")

    def _refused(self, reason: str, said: str, rewrite: str) -> Settled:
        shown = said if len(said) <= 300 else said[:300] + "…"
        return Settled(refused=(SchemaProblem("", "schema", f"{reason}: {shown}", rewrite),))

    def _text(self, schema: Schema) -> str:
        if isinstance(schema, bool):
            schema = {} if schema else {"anyOf": [False]}
        whole: dict[str, Any] = {"x-guidance": self._options, **schema}
        if self._rewrite.defs:
            whole["$defs"] = self._rewrite.defs
        return msgspec.json.encode(whole).decode()

    def _said(self, schema: Schema) -> str:
        """What llguidance has against `schema` by itself. That nothing satisfies it is no objection here."""
        self._trials -= 1
        if obstacle(schema, self._rewrite.defs):
            self._trials = 0
            return ""
        said = validated(self._text(schema))
        return "" if said.startswith("Unsatisfiable") else said

    def _spent(self) -> bool:
        return self._trials <= 0 or thread_time() > self._until

    def _loosen(self, said: str) -> bool:
        """Loosen one part. False when there is none to be found."""
        name, node = self._culprit(said)
        while not self._spent():
            for child in _children(node):
                if self._spent():
                    return False
                objected = self._said(child)
                if objected:
                    said, name, node = objected, "", child
                    break
            else:
                return self._drop(node, said) or (name != "" and self._open(name, said))
        return False

    def _culprit(self, said: str) -> tuple[str, Any]:
        """The definition at fault, by what llguidance names in `said` or else by trying; the root if none."""
        defs = self._rewrite.defs
        named = [name for name in re.findall(r"#/\$defs/(\w+)", said) if name in defs]
        for name in dict.fromkeys([*named, *defs]):
            schema = defs[name]
            if self._spent():
                break
            if isinstance(schema, dict) and self._said({"$ref": f"#/$defs/{name}"}):
                alone = {key: value for key, value in schema.items() if key != "$ref"}
                if alone:
                    return name, schema
        return "", self._rewrite.root

    def _drop(self, node: dict[str, Any], said: str) -> bool:
        for keywords in _DROPPED:
            if keywords[0] not in node or self._spent():
                continue
            kept = {keyword: node.pop(keyword) for keyword in keywords if keyword in node}
            if not self._said(node):
                self._note(node, keywords[0], said)
                return True
            node.update(kept)
        if not node:
            return False
        keywords = [keyword for keyword in node if keyword != "type"]
        for keyword in keywords:
            del node[keyword]
            self._note(node, keyword, said)
        return bool(keywords)

    def _open(self, name: str, said: str) -> bool:
        self._note(self._rewrite.defs[name], "$ref", said)
        self._rewrite.defs[name] = True
        return True

    def _note(self, node: Any, keyword: str, said: str) -> None:
        shown = said if len(said) <= 200 else said[:200] + "…"
        pointer = self._rewrite.pointers.get(id(node), "")
        problem = SchemaProblem(
            pointer, keyword, f"the grammar cannot hold it: {shown}", "write it more simply"
        )
        if problem not in self._rewrite.loose:
            self._rewrite.loose.append(problem)


_DROPPED = (
    *((keyword,) for keyword in ("pattern", "multipleOf", "minimum", "maximum")),
    *((keyword,) for keyword in ("exclusiveMinimum", "exclusiveMaximum", "minProperties", "maxProperties")),
    *((keyword,) for keyword in ("maxLength", "minLength", "maxItems", "minItems", "additionalProperties")),
    ("patternProperties", "additionalProperties"),
    *((keyword,) for keyword in ("allOf", "anyOf", "const", "enum", "items")),
    ("prefixItems", "items"),
    ("required",),
    ("properties", "patternProperties", "additionalProperties"),
)
"""What to leave out, most harmless first. What says what the others are goes together with them."""


def _children(node: Any) -> Iterator[dict[str, Any]]:
    if not isinstance(node, dict):
        return
    given = cast("dict[str, Any]", node)
    parts: list[Any] = []
    for keyword in ("properties", "patternProperties"):
        parts += given.get(keyword, {}).values()
    for keyword in ("allOf", "anyOf", "prefixItems"):
        parts += given.get(keyword, ())
    parts += (given.get(keyword) for keyword in ("items", "additionalProperties"))
    yield from (part for part in parts if isinstance(part, dict))
