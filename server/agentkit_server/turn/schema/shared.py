"""Strings with patterns or lengths that a schema has several times, made into one definition each.

llguidance compiles such a string, and looks whether anything matches it, wherever it meets it: 5 ms for a
URI. Schemas with thirty of them took most of their time there.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping
from typing import Any, cast

import msgspec

from agentkit_server.turn.schema.keywords import Schema

_COSTLY = ("pattern", "minLength", "maxLength")
_SCALAR = frozenset({"type", "const", "enum", "allOf", "anyOf", *_COSTLY})

_Replace = Callable[[dict[str, Any]], dict[str, Any]]


def shared(root: Schema, defs: Mapping[str, Schema]) -> tuple[Schema, dict[str, Schema]] | None:
    """`root` and `defs` with such strings replaced by references; None where none comes twice.

    One that nothing matches is left out where it is optional, and cannot be as a definition.
    """
    found: dict[bytes, tuple[str, dict[str, Any]]] = {}
    counts: Counter[bytes] = Counter()
    keys: dict[int, bytes] = {}

    def count(string: dict[str, Any]) -> dict[str, Any]:
        key = keys[id(string)] = msgspec.json.encode(string)
        counts[key] += 1
        return string

    def replace(string: dict[str, Any]) -> dict[str, Any]:
        key = keys[id(string)]
        if counts[key] == 1:
            return string
        name, _ = found.setdefault(key, (f"s{len(found)}", string))
        return {"$ref": f"#/$defs/{name}"}

    _all(root, defs, count)
    if not counts or max(counts.values()) == 1:
        return None
    made, others = _all(root, defs, replace)
    return made, {**others, **dict(found.values())}


def _all(root: Schema, defs: Mapping[str, Schema], replace: _Replace) -> tuple[Schema, dict[str, Schema]]:
    # The root itself stays: options of the grammar are written into it.
    return _inside(root, replace), {name: _inside(schema, replace) for name, schema in defs.items()}


def _value(schema: Any, replace: _Replace) -> Any:
    """The schema of a value of its own."""
    return replace(schema) if _is_costly(schema) else _inside(schema, replace)


def _inside(schema: Any, replace: _Replace) -> Any:
    """`schema` with the values in it replaced; itself where it holds none."""
    if not isinstance(schema, dict):
        return schema
    given = cast("dict[str, Any]", schema)
    made: dict[str, Any] | None = None
    for keyword, value in given.items():
        new = value
        if keyword in ("properties", "patternProperties"):
            new = {name: _value(part, replace) for name, part in value.items()}
        elif keyword == "prefixItems":
            new = [_value(part, replace) for part in value]
        elif keyword in ("items", "additionalProperties"):
            new = _value(value, replace)
        elif keyword in ("allOf", "anyOf"):
            new = [_inside(part, replace) for part in value]
        if new is not value:
            made = made or dict(given)
            made[keyword] = new
    return made or given


def _is_costly(schema: Any) -> bool:
    return _is_scalar(schema) and _has_costly(schema)


def _is_scalar(schema: Any) -> bool:
    if not isinstance(schema, dict):
        return True
    given = cast("dict[str, Any]", schema)
    return given.keys() <= _SCALAR and all(
        _is_scalar(part) for keyword in ("allOf", "anyOf") for part in given.get(keyword, ())
    )


def _has_costly(schema: Any) -> bool:
    if not isinstance(schema, dict):
        return False
    given = cast("dict[str, Any]", schema)
    return any(keyword in given for keyword in _COSTLY) or any(
        _has_costly(part) for keyword in ("allOf", "anyOf") for part in given.get(keyword, ())
    )
