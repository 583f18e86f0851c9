"""The keywords of JSON Schema: what each one's value has to be, and which say nothing about a value."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any, cast

Schema = dict[str, Any] | bool
"""A schema after `document.py`: 2020-12 keywords only, every `$ref` of the form `#/$defs/name`."""

TYPES = ("null", "boolean", "integer", "number", "string", "array", "object")

ONE = ("not", "if", "then", "else", "items", "additionalProperties", "contains", "propertyNames")
"""Keywords whose value is a schema."""
UNEVALUATED = ("unevaluatedItems", "unevaluatedProperties")
MANY = ("allOf", "anyOf", "oneOf", "prefixItems")
"""… a list of schemas."""
NAMED = ("properties", "patternProperties", "dependentSchemas")
"""… schemas by name."""

DATA = frozenset({"enum", "const", "default", "examples"})
"""… JSON that is no schema."""

DRAFT_3 = frozenset({"divisibleBy", "extends", "disallow"})
"""Constrained values in draft 3, and nothing since."""

NUMBER_KEYWORDS = ("minimum", "maximum", "exclusiveMinimum", "exclusiveMaximum", "multipleOf")
STRING_KEYWORDS = ("minLength", "maxLength", "pattern", "format")
ARRAY_KEYWORDS = (
    "items",
    "prefixItems",
    "minItems",
    "maxItems",
    "uniqueItems",
    "contains",
    "minContains",
    "maxContains",
    "unevaluatedItems",
)
OBJECT_KEYWORDS = (
    "properties",
    "patternProperties",
    "additionalProperties",
    "required",
    "minProperties",
    "maxProperties",
    "propertyNames",
    "dependentRequired",
    "dependentSchemas",
    "unevaluatedProperties",
)


def _count(value: Any) -> str:
    whole = isinstance(value, int | float) and not isinstance(value, bool) and float(value).is_integer()
    return "" if whole and value >= 0 else "has to be a whole number of 0 or more"


def _number(value: Any) -> str:
    fine = isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)
    return "" if fine else "has to be a number"


def _positive(value: Any) -> str:
    return _number(value) or ("" if value > 0 else "has to be above 0")


def _text(value: Any) -> str:
    return "" if isinstance(value, str) else "has to be a string"


def _flag(value: Any) -> str:
    return "" if isinstance(value, bool) else "has to be true or false"


def _names(value: Any) -> str:
    fine = isinstance(value, list) and all(isinstance(name, str) for name in cast("list[Any]", value))
    return "" if fine else "has to be a list of property names"


def _values(value: Any) -> str:
    return "" if isinstance(value, list) and value else "has to be a list of at least one value"


def _type(value: Any) -> str:
    named: list[Any] = cast("list[Any]", value) if isinstance(value, list) else [value]
    unknown: list[Any] = [name for name in named if name not in TYPES] if named else [value]
    return f"{unknown[0]!r} is no type; the types are {', '.join(TYPES)}" if unknown else ""


def _names_by_name(value: Any) -> str:
    fine = isinstance(value, dict) and not any(map(_names, cast("dict[str, Any]", value).values()))
    return "" if fine else "has to be an object of lists of property names"


PLAIN: dict[str, Callable[[Any], str]] = {
    "type": _type,
    "enum": _values,
    "const": lambda value: "",
    "minimum": _number,
    "maximum": _number,
    "exclusiveMinimum": _number,
    "exclusiveMaximum": _number,
    "multipleOf": _positive,
    "minLength": _count,
    "maxLength": _count,
    "pattern": _text,
    "format": _text,
    "minItems": _count,
    "maxItems": _count,
    "uniqueItems": _flag,
    "minContains": _count,
    "maxContains": _count,
    "required": _names,
    "minProperties": _count,
    "maxProperties": _count,
    "dependentRequired": _names_by_name,
}
"""Keywords whose value is no schema -> what is wrong with a value, "" = nothing."""

COUNTS = frozenset(keyword for keyword, check in PLAIN.items() if check is _count)


def types_of(schema: dict[str, Any]) -> tuple[str, ...]:
    """The types that keyword `type` allows; every type without it."""
    named: Any = schema.get("type", TYPES)
    return (named,) if isinstance(named, str) else tuple(cast("list[str]", named))


def escaped(part: str) -> str:
    """`part` as one step of a JSON pointer."""
    return part.replace("~", "~0").replace("/", "~1") if "/" in part or "~" in part else part
