"""What jsonschema says of a value, in bounded time: patterns and formats are matched in time linear in the
text, the number of keywords that are looked at is limited, and nothing is fetched."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator, Mapping
from decimal import Decimal
from functools import cached_property
from typing import Any, cast

from jsonschema import Draft202012Validator, ValidationError, validators
from jsonschema.exceptions import relevance
from referencing import Registry

from agentkit_server.turn.schema import formats
from agentkit_server.turn.schema.document import Document
from agentkit_server.turn.schema.keywords import Schema
from agentkit_server.turn.schema.lookahead import finder

MAX_STEPS = 60_000
"""Keywords looked at for one value."""
MOST_PROBLEMS = 20

_Keyword = Callable[[Any, Any, Any, Any], Iterator[ValidationError] | None]


class Validation:
    """A validator of one document."""

    def __init__(self, document: Document) -> None:
        self._document = document

    def problems(self, value: Any) -> list[str]:
        """What is wrong with `value`, most important first; [] when it is valid."""
        return self._run(self._validator, value, MOST_PROBLEMS)

    def valid(self, schema: Schema, value: Any) -> bool:
        """Is `value` valid for `schema`, a part of the document?"""
        return not self._run(self._validator.evolve(schema=self._with_defs(schema)), value, 1)

    @cached_property
    def _validator(self) -> Any:
        return _BOUNDED(self._with_defs(self._document.root), registry=_NOTHING)

    def _with_defs(self, schema: Schema) -> Schema:
        if isinstance(schema, bool) or not self._document.defs:
            return schema
        return {**schema, "$defs": self._document.defs}

    def _run(self, validator: Any, value: Any, most: int) -> list[str]:
        _budget.steps = MAX_STEPS
        errors: list[ValidationError] = []
        try:
            for error in validator.iter_errors(value):
                errors.append(error)
                if len(errors) >= most:
                    break
        except (_Exhausted, RecursionError):
            if not errors:
                return ["the value could not be checked within the steps allowed; write a simpler schema"]
        errors.sort(key=relevance)
        return [_told(error) for error in errors]


def _told(error: ValidationError) -> str:
    where = "".join(f"[{part}]" if isinstance(part, int) else f".{part}" for part in error.absolute_path)
    message = error.message if len(error.message) <= 400 else error.message[:400] + "…"
    return f"${where}: {message}" if where else message


class _Exhausted(Exception):
    """The steps allowed were not enough."""


class _Budget(threading.local):
    steps = MAX_STEPS


_budget = _Budget()


def _counted(keyword: _Keyword) -> _Keyword:
    def run(validator: Any, value: Any, instance: Any, schema: Any) -> Iterator[ValidationError]:
        _budget.steps -= 1
        if _budget.steps < 0:
            raise _Exhausted
        yield from keyword(validator, value, instance, schema) or ()

    return run


def _pattern(validator: Any, pattern: str, instance: Any, schema: Any) -> Iterator[ValidationError]:
    if isinstance(instance, str) and not finder(pattern)(instance):
        yield ValidationError(f"{instance!r} does not match {pattern!r}")


def _format(validator: Any, name: str, instance: Any, schema: Any) -> Iterator[ValidationError]:
    if isinstance(instance, str) and not formats.holds(name, instance):
        yield ValidationError(f"{instance!r} is no {name}")


def _multiple_of(validator: Any, step: float, instance: Any, schema: Any) -> Iterator[ValidationError]:
    """By decimal digits, as the grammar has it: 0.3 is a multiple of 0.1."""
    if not isinstance(instance, int | float) or isinstance(instance, bool):
        return
    given, unit = Decimal(repr(instance)), Decimal(repr(step))
    if not given.is_finite() or abs(given.adjusted() - unit.adjusted()) > 400 or not _divides(unit, given):
        yield ValidationError(f"{instance!r} is not a multiple of {step!r}")


def _divides(unit: Decimal, given: Decimal) -> bool:
    shift = min(int(unit.as_tuple().exponent), int(given.as_tuple().exponent), 0)
    return int(given.scaleb(-shift)) % int(unit.scaleb(-shift)) == 0


def _pattern_properties(
    validator: Any, patterns: Mapping[str, Any], instance: Any, schema: Any
) -> Iterator[ValidationError]:
    if not isinstance(instance, dict):
        return
    for pattern, inner in patterns.items():
        finds = finder(pattern)
        for name, value in cast("dict[str, Any]", instance).items():
            if finds(name):
                yield from validator.descend(value, inner, path=name, schema_path=pattern)


def _additional(validator: Any, rest: Any, instance: Any, schema: Any) -> Iterator[ValidationError]:
    if not isinstance(instance, dict):
        return
    named = schema.get("properties", {})
    patterns = [finder(pattern) for pattern in schema.get("patternProperties", ())]
    for name, value in cast("dict[str, Any]", instance).items():
        if name in named or any(finds(name) for finds in patterns):
            continue
        if rest is False:
            yield ValidationError(f"{name!r} is not one of its properties", path=())
        else:
            yield from validator.descend(value, rest, path=name)


_OWN: dict[str, Any] = {
    "pattern": _pattern,
    "format": _format,
    "multipleOf": _multiple_of,
    "patternProperties": _pattern_properties,
    "additionalProperties": _additional,
}
_NOTHING: Any = cast("Any", Registry)()
_extend: Any = vars(validators)["extend"]
_BOUNDED: Any = _extend(
    Draft202012Validator,
    {name: _counted(_OWN.get(name, keyword)) for name, keyword in Draft202012Validator.VALIDATORS.items()},
)
