"""A part of a JSON Schema taken by itself: its definitions carried along, its JSON types, and the part of it
that speaks of some types only."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, cast
from urllib.parse import unquote

Schema = dict[str, Any] | bool

TYPES = frozenset({"null", "boolean", "number", "string", "array", "object"})
"""`integer` counts as `number` here."""

MOST = 20_000
"""Objects and lists of a schema that are looked at for references."""


def type_of(value: Any) -> str:
    """The JSON type of a Python value."""
    match value:
        case None:
            return "null"
        case bool():
            return "boolean"
        case int() | float():
            return "number"
        case str():
            return "string"
        case Mapping():
            return "object"
        case _:
            return "array"


def target(root: Schema, reference: str) -> Schema | None:
    """What a `$ref` within `root` points to; None for a reference that leaves it, or leads nowhere."""
    if reference != "#" and not reference.startswith("#/"):
        return None
    at: Any = root
    for step in unquote(reference).split("/")[1:]:
        key = step.replace("~1", "/").replace("~0", "~")
        if isinstance(at, dict) and key in at:
            at = cast(dict[str, Any], at)[key]
        elif isinstance(at, list) and key.isdecimal() and int(key) < len(cast(list[Any], at)):
            at = cast(list[Any], at)[int(key)]
        else:
            return None
    return cast(Schema, at) if isinstance(at, (dict, bool)) else None


def stands_alone(schema: Schema, root: Schema) -> Schema:
    """`schema`, a part of `root`, as a schema of its own: references lead where they led."""
    if isinstance(schema, bool) or isinstance(root, bool) or schema is root:
        return schema
    references = list(_references(schema))
    if not references:
        return schema
    carried = {key: root[key] for key in (*_DEFINITIONS, "$schema") if key in root}
    alone = {**schema, **carried}
    if all(_is_carried(reference) for reference in (*references, *_references(carried))):
        return alone
    whole = _moved({key: value for key, value in root.items() if key not in _DEFINITIONS})
    moved = cast(dict[str, Any], _moved(alone))
    return {**moved, "$defs": {**cast(dict[str, Any], moved.get("$defs", {})), _ROOT: whole}}


def types(schema: Schema, root: Schema) -> frozenset[str]:
    """The JSON types that `schema`, a part of `root`, may allow; never too few."""
    return _types(schema, root, {})


def only(schema: Schema, wanted: frozenset[str], root: Schema) -> Schema:
    """The part of `schema` that speaks of the types `wanted`."""
    allowed = types(schema, root)
    if allowed <= wanted or isinstance(schema, bool):
        return schema if allowed <= wanted else {"type": sorted(allowed & wanted)}
    for keyword in ("anyOf", "oneOf"):
        if keyword in schema and not schema.keys() & {"type", "enum", "const", "$ref", "allOf"}:
            branches = cast(list[Schema], schema[keyword])
            kept = [only(branch, wanted, root) for branch in branches if types(branch, root) & wanted]
            return {**schema, keyword: kept}
    return {**schema, "type": _narrowed(schema.get("type"), allowed & wanted)}


def merged(schemas: Sequence[Schema], ignored: frozenset[str]) -> Schema | None:
    """One schema that says what all of `schemas` say; None where two speak by the same keyword. Keywords in
    `ignored` say nothing."""
    whole: dict[str, Any] = {}
    for schema in schemas:
        if schema is False:
            return False
        for keyword, value in schema.items() if isinstance(schema, dict) else ():
            if keyword in ignored:
                continue
            if keyword == "type" and keyword in whole:
                both = _named(whole[keyword]) & _named(value)
                value = _narrowed(value if "integer" in _listed(value) else whole[keyword], both)
            elif keyword in whole and whole[keyword] != value:
                return None
            whole[keyword] = value
    return whole


def _listed(stated: Any) -> list[str]:
    return cast(list[str], stated if isinstance(stated, list) else [stated])


def _narrowed(stated: Any, allowed: frozenset[str]) -> list[str]:
    listed = _listed(stated) if stated else sorted(allowed)
    return [name for name in listed if ("number" if name == "integer" else name) in allowed]


def _types(schema: Schema, root: Schema, seen: dict[str, frozenset[str]]) -> frozenset[str]:
    if isinstance(schema, bool):
        return TYPES if schema else frozenset()
    found = TYPES
    if "type" in schema:
        found &= _named(schema["type"])
    if "const" in schema:
        found &= {type_of(schema["const"])}
    if "enum" in schema:
        found &= {type_of(value) for value in cast(list[Any], schema["enum"])}
    reference = schema.get("$ref")
    if isinstance(reference, str):
        there = target(root, reference)
        if reference not in seen:
            seen[reference] = TYPES
            seen[reference] = TYPES if there is None else _types(there, root, seen)
        found &= seen[reference]
    for keyword in ("anyOf", "oneOf"):
        if keyword in schema:
            branches = cast(list[Schema], schema[keyword])
            found &= frozenset[str]().union(*(_types(branch, root, seen) for branch in branches))
    for branch in cast(list[Schema], schema.get("allOf", [])):
        found &= _types(branch, root, seen)
    return found


def _named(stated: Any) -> frozenset[str]:
    listed = _listed(stated)
    return frozenset("number" if name == "integer" else name for name in listed)


def _references(schema: Any) -> Iterator[str]:
    waiting: list[Any] = [schema]
    for _ in range(MOST):
        if not waiting:
            return
        one = waiting.pop()
        if isinstance(one, dict):
            found = cast(dict[str, Any], one).get("$ref")
            if isinstance(found, str):
                yield found
            waiting += cast(dict[str, Any], one).values()
        elif isinstance(one, list):
            waiting += cast(list[Any], one)


def _is_carried(reference: str) -> bool:
    return not reference.startswith("#") or reference.startswith(tuple(f"#/{key}/" for key in _DEFINITIONS))


def _moved(node: Any) -> Any:
    """`node` with every reference that is not carried pointed into the copy of the root."""
    if isinstance(node, list):
        return [_moved(one) for one in cast(list[Any], node)]
    if not isinstance(node, dict):
        return node
    moved = {key: _moved(value) for key, value in cast(dict[str, Any], node).items()}
    reference = moved.get("$ref")
    if isinstance(reference, str) and not _is_carried(reference):
        moved["$ref"] = f"#/$defs/{_ROOT}{reference[1:]}"
    return moved


_DEFINITIONS = ("$defs", "definitions")
_ROOT = "whole-schema"
