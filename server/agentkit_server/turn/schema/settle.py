"""llguidance has the last word on a rewritten schema. Where it refuses one, the smallest part that it refuses
is loosened, and listed, until it takes the rest."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Any, cast

from agentkit_server.errors import SchemaProblem
from agentkit_server.turn.schema.bounds import obstacle
from agentkit_server.turn.schema.inline import inlined
from agentkit_server.turn.schema.rewrite import Rewrite
from agentkit_server.turn.schema.trials import Trials


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


class _Settling:
    def __init__(self, rewrite: Rewrite, options: dict[str, Any]) -> None:
        self._rewrite = rewrite
        self._trials = Trials(rewrite, options)
        self._written_out = False

    def run(self) -> Settled:
        while True:
            text = self._trials.text(self._rewrite.root)
            if reason := obstacle(self._rewrite.root, self._rewrite.defs, text):
                return self._refused("it is too large", reason, "split it, or nest less")
            said, text = self._trials.whole(text)
            if not said:
                return Settled(text)
            if said.startswith("circular") and not self._written_out:
                self._written_out = True
                rewrite = self._rewrite
                rewrite.root, rewrite.defs = inlined(rewrite.root, rewrite.defs, rewrite.pointers)
                self._trials.changed()
                continue
            if said.startswith("Unsatisfiable"):
                refused = self._refused("no value can satisfy it", said, "remove what contradicts itself")
                return replace(refused, hopeless=True)
            if not self._loosen(said):
                return self._refused("llguidance cannot take it", said, "make it smaller or simpler")

    def _refused(self, reason: str, said: str, rewrite: str) -> Settled:
        shown = said if len(said) <= 300 else said[:300] + "…"
        return Settled(refused=(SchemaProblem("", "schema", f"{reason}: {shown}", rewrite),))

    def _loosen(self, said: str) -> bool:
        """Loosen one part. False when there is none to be found."""
        name, node = self._culprit(said)
        while not self._trials.spent:
            for child in _children(node):
                if self._trials.spent:
                    return False
                objected = self._trials.part(child)
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
            if self._trials.spent:
                break
            if isinstance(schema, dict) and self._trials.part({"$ref": f"#/$defs/{name}"}):
                alone = {key: value for key, value in schema.items() if key != "$ref"}
                if alone:
                    return name, schema
        return "", self._rewrite.root

    def _drop(self, node: dict[str, Any], said: str) -> bool:
        for keywords in _DROPPED:
            if keywords[0] not in node or self._trials.spent:
                continue
            kept = {keyword: node.pop(keyword) for keyword in keywords if keyword in node}
            self._trials.changed()
            if not self._trials.part(node):
                self._note(node, keywords[0], said)
                return True
            node.update(kept)
            self._trials.changed()
        if not node:
            return False
        keywords = [keyword for keyword in node if keyword != "type"]
        for keyword in keywords:
            del node[keyword]
            self._trials.changed()
            self._note(node, keyword, said)
        return bool(keywords)

    def _open(self, name: str, said: str) -> bool:
        self._note(self._rewrite.defs[name], "$ref", said)
        self._rewrite.defs[name] = True
        self._trials.changed()
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
