"""Rewritten schemas that llguidance must not be given: reading them would overflow its stack or take it
minutes, neither of which it bounds by itself."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import msgspec

from agentkit_server.turn.schema.keywords import Schema

MAX_DEPTH = 400
"""Schemas one inside the other, through references too. llguidance reads them by recursion on a stack that a
few times as many overflow."""
MAX_LEXEMES = 5_000
"""Different property names and scalar schemas. llguidance 1.9.1 takes time by their square: 2 s for these."""


def obstacle(root: Schema, defs: Mapping[str, Schema], text: str) -> str:
    """Why llguidance must not read `root` with `defs`, together `text` as JSON; "" = it may. Takes the order
    in which it does, each reference followed where it is first met."""
    # To count in the text takes no time, and nearly all schemas have too few of everything anyway.
    schemas = text.count("{")
    many = schemas + text.count('"') // 2 > MAX_LEXEMES
    if schemas <= MAX_DEPTH and not many:
        return ""
    seen: set[str] = set()
    lexemes: set[str | bytes] = set()
    waiting: list[tuple[dict[str, Any], int]] = [(root, 0)] if isinstance(root, dict) else []
    while waiting:
        given, depth = waiting.pop()
        if depth > MAX_DEPTH:
            return f"more than {MAX_DEPTH} schemas are one inside the other"
        inner = _inside(given)
        name = str(given["$ref"]).removeprefix("#/$defs/") if "$ref" in given else ""
        if name in defs and name not in seen:
            seen.add(name)
            inner.append(defs[name])
        if many:
            lexemes.update(given.get("properties", ()))
            lexemes.update(given.get("required", ()))
            if not inner:
                lexemes.add(msgspec.json.encode(given))
            if len(lexemes) > MAX_LEXEMES:
                return f"there are more than {MAX_LEXEMES} different property names and scalar schemas"
        waiting += [(part, depth + 1) for part in reversed(inner) if isinstance(part, dict)]
    return ""


def _inside(given: dict[str, Any]) -> list[Any]:
    inner: list[Any] = []
    for keyword, value in given.items():
        if keyword in ("properties", "patternProperties"):
            inner += value.values()
        elif keyword in ("allOf", "anyOf", "prefixItems"):
            inner += value
        elif keyword in ("items", "additionalProperties"):
            inner.append(value)
    return inner
