"""The complement of a schema, as a schema.

Where it cannot be written down exactly, what comes back allows more than the complement, and says so. It
never allows less.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from itertools import pairwise
from typing import Any

from agentkit_server.turn.schema.document import Document
from agentkit_server.turn.schema.keywords import Schema, types_of
from agentkit_server.turn.schema.lookahead import parts
from agentkit_server.turn.schema.patterns import all_but, strings_of

_DEEPEST = 8
_LARGEST = 300
"""Parts of a complement; a larger one is not worth its grammar."""

Negated = tuple[Schema, bool]
"""A schema that allows at least the complement, and whether it is exactly that."""


class Negation:
    """Complements of the schemas of one document."""

    def __init__(self, document: Document, disjoint: Callable[[list[Schema]], bool]) -> None:
        self._document = document
        self._disjoint = disjoint
        self._left = 0

    def of(self, schema: Schema) -> Negated:
        """The complement of `schema`."""
        self._left = _LARGEST
        negated = self._not(schema, 0)
        return negated if self._left > 0 else (True, False)

    def _not(self, schema: Schema, depth: int) -> Negated:
        self._left -= 1
        if isinstance(schema, bool):
            return not schema, True
        if depth > _DEEPEST or self._left <= 0:
            return True, False
        options: list[Schema] = []
        exact = True
        for keyword in schema:
            negated, known = self._keyword(schema, keyword, depth)
            if negated is True:
                return True, known and exact
            exact = exact and known
            if negated is not False:
                options.append(negated)
        return _any(options), exact

    def _keyword(self, schema: dict[str, Any], keyword: str, depth: int) -> Negated:
        value = schema[keyword]
        if keyword in _SIMPLE:
            return _SIMPLE[keyword](value)
        if keyword == "$ref":
            return self._not(self._document.target(value), depth + 1)
        if keyword == "not":
            return value, True
        if keyword in ("allOf", "anyOf", "oneOf"):
            return self._group(keyword, value, depth)
        if keyword == "if":
            return self._condition(schema, depth)
        if keyword in ("then", "else"):
            return False, True
        if keyword == "properties":
            return self._properties(value, depth)
        if keyword == "dependentSchemas":
            return self._dependent(value, depth)
        if keyword == "minContains":
            return False, True
        if keyword == "additionalProperties" and value is True:
            return False, True
        if keyword == "type":
            return _not_typed(schema)
        kind = "array" if keyword in _OF_ARRAYS else "object" if keyword in _OF_OBJECTS else ""
        return ({"type": kind}, False) if kind else (True, False)

    def _group(self, keyword: str, parts: list[Schema], depth: int) -> Negated:
        negated = [self._not(part, depth + 1) for part in parts]
        exact = all(known for _, known in negated)
        if keyword == "allOf":
            return _any([part for part, _ in negated]), exact
        if keyword == "oneOf" and not self._disjoint(parts):
            return True, False
        return {"allOf": [part for part, _ in negated]}, exact

    def _condition(self, schema: dict[str, Any], depth: int) -> Negated:
        options: list[Schema] = []
        exact = True
        if "then" in schema:
            then, known = self._not(schema["then"], depth + 1)
            options.append({"allOf": [schema["if"], then]})
            exact = known
        if "else" in schema:
            otherwise, known = self._not(schema["else"], depth + 1)
            unless, certain = self._not(schema["if"], depth + 1)
            options.append({"allOf": [unless, otherwise]})
            exact = exact and known and certain
        return _any(options), exact

    def _properties(self, properties: dict[str, Schema], depth: int) -> Negated:
        options: list[Schema] = []
        exact = True
        for name, schema in properties.items():
            negated, known = self._not(schema, depth + 1)
            exact = exact and known
            if negated is not False:
                options.append({"type": "object", "properties": {name: negated}, "required": [name]})
        return _any(options), exact

    def _dependent(self, schemas: dict[str, Schema], depth: int) -> Negated:
        options: list[Schema] = []
        exact = True
        for name, schema in schemas.items():
            negated, known = self._not(schema, depth + 1)
            exact = exact and known
            options.append({"type": "object", "required": [name], "allOf": [negated]})
        return _any(options), exact


def _any(options: list[Schema]) -> Schema:
    options = [option for option in options if option is not False]
    if not options:
        return False
    return options[0] if len(options) == 1 else {"anyOf": options}


def _not_typed(schema: dict[str, Any]) -> Negated:
    allowed = set(types_of(schema))
    left = [
        kind for kind in ("null", "boolean", "number", "string", "array", "object") if kind not in allowed
    ]
    if not left:
        return False, True
    # A number that is no integer cannot be asked for.
    return {"type": left}, "integer" not in allowed or "number" in allowed


def _not_values(values: list[Any]) -> Negated:
    options: list[Schema] = []
    exact = True
    strings = [value for value in values if isinstance(value, str)]
    options.append({"type": "string", "pattern": all_but(strings)} if strings else {"type": "string"})
    if None not in values:
        options.append({"type": "null"})
    options += [{"const": flag} for flag in (True, False) if not any(value is flag for value in values)]
    numbers = sorted(
        {
            value
            for value in values
            if isinstance(value, int | float) and value is not True and value is not False
        }
    )
    edges = [-math.inf, *numbers, math.inf]
    for low, high in pairwise(edges):
        between: dict[str, Any] = {"type": "number"}
        if math.isfinite(low):
            between["exclusiveMinimum"] = low
        if math.isfinite(high):
            between["exclusiveMaximum"] = high
        options.append(between)
    for kind, of_kind in (("array", list), ("object", dict)):
        listed: list[Any] = [value for value in values if isinstance(value, of_kind)]
        if not listed:
            options.append({"type": kind})
        elif listed == [of_kind()]:
            options.append({"type": kind, "minItems" if kind == "array" else "minProperties": 1})
        else:
            options.append({"type": kind})
            exact = False
    return _any(options), exact


def _not_required(names: list[str]) -> Negated:
    return _any([{"type": "object", "properties": {name: False}} for name in dict.fromkeys(names)]), True


def _not_dependent(required: dict[str, list[str]]) -> Negated:
    options: list[Schema] = [
        {"type": "object", "required": [name], "properties": {needed: False}}
        for name, listed in required.items()
        for needed in listed
        if needed != name
    ]
    return _any(options), True


def _not_pattern(pattern: str) -> Negated:
    plain = strings_of(pattern)
    split = parts(pattern)
    if len(split.none) == 1 and split.rest == "^" and not split.also:
        return {"type": "string", "pattern": split.none[0]}, True
    if plain is None:
        return {"type": "string"}, False
    strings, whole = plain
    return {"type": "string", "pattern": all_but(strings, prefixes=not whole)}, True


def _at_least(kind: str, keyword: str) -> Callable[[Any], Negated]:
    return lambda most: ({"type": kind, keyword: most + 1}, True)


def _below(kind: str, keyword: str) -> Callable[[Any], Negated]:
    return lambda least: ({"type": kind, keyword: least - 1}, True) if least > 0 else (False, True)


def _number(keyword: str) -> Callable[[Any], Negated]:
    return lambda edge: ({"type": "number", keyword: edge}, True)


_SIMPLE: dict[str, Callable[[Any], Negated]] = {
    "const": lambda value: _not_values([value]),
    "enum": _not_values,
    "required": _not_required,
    "dependentRequired": _not_dependent,
    "pattern": _not_pattern,
    "format": lambda value: ({"type": "string"}, False),
    "minimum": _number("exclusiveMaximum"),
    "maximum": _number("exclusiveMinimum"),
    "exclusiveMinimum": _number("maximum"),
    "exclusiveMaximum": _number("minimum"),
    "multipleOf": lambda value: ({"type": "number"}, False),
    "minLength": _below("string", "maxLength"),
    "maxLength": _at_least("string", "minLength"),
    "minItems": _below("array", "maxItems"),
    "maxItems": _at_least("array", "minItems"),
    "minProperties": _below("object", "maxProperties"),
    "maxProperties": _at_least("object", "minProperties"),
    "uniqueItems": lambda value: ({"type": "array", "minItems": 2}, False) if value else (False, True),
}
_OF_ARRAYS = frozenset({"items", "prefixItems", "contains", "maxContains", "unevaluatedItems"})
_OF_OBJECTS = frozenset(
    {"patternProperties", "additionalProperties", "propertyNames", "unevaluatedProperties"}
)
