"""The array keywords, rewritten for llguidance, which knows items, prefixItems, minItems and maxItems."""

from __future__ import annotations

import itertools
from typing import TYPE_CHECKING, Any

from agentkit_server.turn.schema.keywords import Schema, types_of

if TYPE_CHECKING:
    from agentkit_server.turn.schema.rewrite import Rewrite

_MOST_PERMUTED = 4
"""Different values whose every order is written out."""
_MOST_PLACES = 8
"""Places of a `contains` that are written out."""


class Arrays:
    """Array keywords of the schemas of one rewrite."""

    def __init__(self, rewrite: Rewrite) -> None:
        self._rewrite = rewrite

    def rewrite(self, schema: dict[str, Any], made: dict[str, Any], more: list[Schema]) -> None:
        """Add to `made`, and to `more` what has to hold besides, what the array keywords ask for."""
        if "prefixItems" in schema:
            made["prefixItems"] = [self._rewrite.schema(part) for part in schema["prefixItems"]]
        if "items" in schema:
            made["items"] = self._rewrite.schema(schema["items"])
        if schema.get("uniqueItems"):
            self._unique(schema, more)
        if "contains" in schema:
            self._contains(schema, more)
        if "unevaluatedItems" in schema:
            self._unevaluated(schema, made)

    def _unique(self, schema: dict[str, Any], more: list[Schema]) -> None:
        if schema.get("maxItems", 2) <= 1 or "array" not in types_of(schema):
            return
        prefix: list[Schema] = schema.get("prefixItems", [])
        if prefix and schema.get("items") is False and self._rewrite.disjoint(prefix):
            return
        values = None if prefix else self._finite(schema.get("items", True))
        if values is None or len(values) > _MOST_PERMUTED:
            self._rewrite.allow_more(
                schema,
                "uniqueItems",
                "a grammar cannot remember the items before; a guard does while an answer is decoded",
                "leave it out",
            )
            return
        least, most = schema.get("minItems", 0), schema.get("maxItems", len(values))
        lengths = range(least, min(most, len(values)) + 1)
        lists = [list(some) for length in lengths for some in itertools.permutations(values, length)]
        if "array" in types_of(schema):
            others: list[Schema] = [{"type": kind} for kind in types_of(schema) if kind != "array"]
            more.append(
                {"anyOf": [*others, *({"const": some} for some in lists)]} if lists or others else False
            )

    def _finite(self, schema: Schema) -> list[Any] | None:
        """Every value of `schema` if it plainly lists them."""
        schema = self._rewrite.document.resolved(schema)
        if schema is False:
            return []
        if schema is True or not schema.keys() <= {"type", "enum", "const"}:
            return None
        types = types_of(schema)
        if "enum" in schema or "const" in schema:
            values: list[Any] = [schema["const"]] if "const" in schema else schema["enum"]
            plain = [value for value in values if value is None or isinstance(value, bool | str)]
            return (
                list(dict.fromkeys(plain)) if len(plain) == len(values) and _all_typed(plain, types) else None
            )
        listed = {"null": [None], "boolean": [False, True]}
        if all(kind in listed for kind in types):
            return [value for kind in types for value in listed[kind]]
        return None

    def _contains(self, schema: dict[str, Any], more: list[Schema]) -> None:
        least = schema.get("minContains", 1)
        if "maxContains" in schema:
            self._rewrite.allow_more(schema, "maxContains", "a grammar cannot count them", "use 'maxItems'")
        if least == 0 or (schema["contains"] is True and least <= schema.get("minItems", 0)):
            return
        most = schema.get("maxItems")
        if least != 1 or most is None or most > _MOST_PLACES:
            self._rewrite.allow_more(
                schema, "contains", "where the item is cannot be known", "put it first, with 'prefixItems'"
            )
            return
        wanted = self._rewrite.schema(schema["contains"])
        options: list[Schema] = [
            {"type": "array", "prefixItems": [*[True] * place, wanted], "minItems": place + 1}
            for place in range(most)
        ]
        others: list[Schema] = [{"type": kind} for kind in types_of(schema) if kind != "array"]
        more.append({"anyOf": [*others, *options]} if others or options else False)

    def _unevaluated(self, schema: dict[str, Any], made: dict[str, Any]) -> None:
        rest = schema["unevaluatedItems"]
        if rest is True or "items" in schema:
            return
        if schema.keys() & {"$ref", "allOf", "anyOf", "oneOf", "if", "not", "contains", "dependentSchemas"}:
            self._rewrite.allow_more(
                schema,
                "unevaluatedItems",
                "what the subschemas look at cannot be known beforehand",
                "use 'items'",
            )
            return
        made["items"] = self._rewrite.schema(rest)


def _all_typed(values: list[Any], types: tuple[str, ...]) -> bool:
    names = {type(None): "null", bool: "boolean", str: "string"}
    return all(names[type(value)] in types for value in values)
