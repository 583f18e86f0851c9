"""Schemas that lead back to themselves: those that say nothing because of it, and those that no finite value
satisfies."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, cast

from agentkit_server.errors import SchemaProblem
from agentkit_server.turn.schema.document import Document
from agentkit_server.turn.schema.keywords import Schema, types_of

_IN_PLACE = ("allOf", "anyOf", "oneOf")
_IN_PLACE_ONE = ("not", "if", "then", "else")


def endless(document: Document) -> list[SchemaProblem]:
    """References that lead back to where they are without going into the value."""
    done: set[str] = set()
    problems: list[SchemaProblem] = []
    for name in document.defs:
        found = _returns(document, name, done)
        if found is not None:
            reason = "leads back to itself without going into the value"
            rewrite = "refer to it from a property or an item"
            problems.append(SchemaProblem(document.pointer(document.defs[found]), "$ref", reason, rewrite))
    return problems


def _returns(document: Document, start: str, done: set[str]) -> str | None:
    """A definition that is met again inside itself, coming from `start`."""
    trail: list[tuple[str, Iterator[str]]] = []
    on_trail: set[str] = set()

    def enter(name: str) -> None:
        trail.append((name, iter(_references(document.defs[name]))))
        on_trail.add(name)

    if start not in done:
        enter(start)
    while trail:
        name, references = trail[-1]
        following = next(references, None)
        if following is None:
            trail.pop()
            on_trail.discard(name)
            done.add(name)
        elif following in on_trail:
            done.update(on_trail)
            return following
        elif following not in done:
            enter(following)
    return None


def _references(schema: Any) -> list[str]:
    """The definitions that `schema` says something through, of the value itself."""
    found: list[str] = []
    waiting = [schema]
    while waiting:
        node = waiting.pop()
        if not isinstance(node, dict):
            continue
        given = cast("dict[str, Any]", node)
        if "$ref" in given:
            found.append(str(given["$ref"]).removeprefix("#/$defs/"))
        for keyword in _IN_PLACE:
            waiting.extend(given.get(keyword, ()))
        waiting.extend(given[keyword] for keyword in _IN_PLACE_ONE if keyword in given)
        waiting.extend(given.get("dependentSchemas", {}).values())
    return found


def is_finite(root: Schema, defs: Mapping[str, Schema]) -> bool:
    """Has a rewritten schema a value that ends? False only where every one would have to go on for ever."""
    ending = dict.fromkeys(defs, False)
    changed = True
    while changed:
        changed = False
        for name, schema in defs.items():
            if not ending[name] and _ends(schema, ending):
                ending[name] = changed = True
    return _ends(root, ending)


def _ends(schema: Any, ending: Mapping[str, bool]) -> bool:
    if not isinstance(schema, dict):
        return schema is not False
    given = cast("dict[str, Any]", schema)
    if "$ref" in given and not ending.get(str(given["$ref"]).removeprefix("#/$defs/"), True):
        return False
    if not all(_ends(part, ending) for part in given.get("allOf", ())):
        return False
    if "anyOf" in given and not any(_ends(part, ending) for part in given["anyOf"]):
        return False
    kinds = types_of(given)
    return any(kind not in ("object", "array") for kind in kinds) or any(
        _object_ends(given, ending) if kind == "object" else _array_ends(given, ending) for kind in kinds
    )


def _object_ends(given: dict[str, Any], ending: Mapping[str, bool]) -> bool:
    properties: dict[str, Any] = given.get("properties", {})
    required = [properties[name] for name in given.get("required", ()) if name in properties]
    return all(_ends(part, ending) for part in required)


def _array_ends(given: dict[str, Any], ending: Mapping[str, bool]) -> bool:
    least: int = given.get("minItems", 0)
    prefix: list[Any] = given.get("prefixItems", [])
    parts = prefix[:least]
    if least > len(prefix):
        parts.append(given.get("items", True))
    return all(_ends(part, ending) for part in parts)
