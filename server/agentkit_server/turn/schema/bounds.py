"""Rewritten schemas that llguidance must not be given: reading them would overflow its stack or take it
minutes, neither of which it bounds by itself."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, cast

import msgspec

from agentkit_server.turn.schema.keywords import Schema

MAX_DEPTH = 400
"""Schemas one inside the other, through references too. llguidance reads them by recursion on a stack that a
few times as many overflow."""
MAX_LEXEMES = 5_000
"""Different property names and scalar schemas. llguidance 1.9.1 takes time by their square: 2 s for these."""


def obstacle(root: Schema, defs: Mapping[str, Schema]) -> str:
    """Why llguidance must not read `root` with `defs`; "" = it may. Takes the order in which it does, each
    reference followed where it is first met."""
    seen: set[str] = set()
    lexemes: set[str | bytes] = set()
    waiting: list[tuple[Any, int]] = [(root, 0)]
    while waiting:
        node, depth = waiting.pop()
        if depth > MAX_DEPTH:
            return f"more than {MAX_DEPTH} schemas are one inside the other"
        if not isinstance(node, dict):
            continue
        given = cast("dict[str, Any]", node)
        inner = list(_inside(given))
        name = str(given.get("$ref", "")).removeprefix("#/$defs/")
        if name in defs and name not in seen:
            seen.add(name)
            inner.append(defs[name])
        lexemes.update(given.get("properties", ()))
        lexemes.update(given.get("required", ()))
        if not inner:
            lexemes.add(msgspec.json.encode(given))
        if len(lexemes) > MAX_LEXEMES:
            return f"there are more than {MAX_LEXEMES} different property names and scalar schemas"
        waiting.extend((part, depth + 1) for part in reversed(inner))
    return ""


def _inside(given: dict[str, Any]) -> Iterator[Any]:
    for keyword in ("properties", "patternProperties"):
        yield from given.get(keyword, {}).values()
    for keyword in ("allOf", "anyOf", "prefixItems"):
        yield from given.get(keyword, ())
    for keyword in ("items", "additionalProperties"):
        if keyword in given:
            yield given[keyword]
