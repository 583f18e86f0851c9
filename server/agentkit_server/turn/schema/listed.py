"""Values that a schema lists, directly or as a short range of integers."""

from __future__ import annotations

import json
import math
from typing import Any

from agentkit_server.turn.schema.document import Document
from agentkit_server.turn.schema.keywords import Schema

MOST_LISTED = 1_000
_MOST_IN_RANGE = 256
_DEEPEST = 20


def listed(document: Document, schema: Schema, depth: int = 0) -> frozenset[str] | None:
    """JSON texts of strings, integers and literals, of which every value of `schema` is one; None where they
    are not known or too many."""
    if schema is False:
        return frozenset()
    if schema is True or depth > _DEEPEST:
        return None
    found = _own(schema)
    if found is None:
        also: list[Schema] = [*schema.get("allOf", ())]
        if "$ref" in schema:
            also.append(document.target(schema["$ref"]))
        every = (listed(document, part, depth + 1) for part in also)
        found = next((one for one in every if one is not None), None)
    for keyword in ("anyOf", "oneOf"):
        if found is None and keyword in schema:
            found = _union(document, schema[keyword], depth)
    return found if found is None or len(found) <= MOST_LISTED else None


def _union(document: Document, parts: list[Schema], depth: int) -> frozenset[str] | None:
    found: set[str] = set()
    for part in parts:
        some = listed(document, part, depth + 1)
        if some is None:
            return None
        found |= some
    return frozenset(found)


def _own(schema: dict[str, Any]) -> frozenset[str] | None:
    if "const" in schema or "enum" in schema:
        values: list[Any] = [schema["const"]] if "const" in schema else schema["enum"]
        if all(value is None or isinstance(value, bool | str | int) for value in values):
            return frozenset(json.dumps(value, ensure_ascii=False) for value in values)
        return None
    return _range(schema) if schema.get("type") == "integer" else None


def _range(schema: dict[str, Any]) -> frozenset[str] | None:
    least = max(schema.get("minimum", -math.inf), schema.get("exclusiveMinimum", -math.inf))
    most = min(schema.get("maximum", math.inf), schema.get("exclusiveMaximum", math.inf))
    if not 0 <= most - least < _MOST_IN_RANGE:
        return None
    return frozenset(str(value) for value in range(math.ceil(least), math.floor(most) + 1))
