"""A document rewritten into what llguidance takes: the same values where that can be proved (`exact`), more
where it cannot, with every such place listed.

The grammar never allows less than the schema, but for the order of keys, for spellings of numbers and
strings that JSON has several of, and for object names of which the schema says nothing.
"""

from __future__ import annotations

import itertools
import math
from fractions import Fraction
from typing import Any

from agentkit_server.errors import SchemaProblem
from agentkit_server.turn.schema import formats
from agentkit_server.turn.schema.arrays import Arrays
from agentkit_server.turn.schema.document import Document
from agentkit_server.turn.schema.facts import Knowledge
from agentkit_server.turn.schema.keywords import Schema
from agentkit_server.turn.schema.lookahead import parts
from agentkit_server.turn.schema.negation import Negation
from agentkit_server.turn.schema.objects import Objects
from agentkit_server.turn.schema.patterns import all_but, in_json, strings_of
from agentkit_server.turn.schema.validation import Validation

_EXACT_INTEGERS = 2**53
_MOST_REMAINDERS = 50_000
"""1 s and 70 MB."""
_MOST_COMPARED = 150
"""Branches of a `oneOf` that are compared with one another."""
_MOST_NEGATED = 24
"""… that are taken out of the others."""

_IN_PLACE = ("allOf", "anyOf", "$ref")
_COPIED = (
    "type",
    "required",
    "minLength",
    "maxLength",
    "minItems",
    "maxItems",
)


class Rewrite:
    """One document, rewritten: `root` and `defs` are for llguidance, `loose` says where they allow more.
    `plain` leaves out complements, which can make a grammar large."""

    def __init__(self, document: Document, *, plain: bool = False) -> None:
        self.document = document
        self._plain = plain
        self.loose: list[SchemaProblem] = []
        self.pointers: dict[int, str] = {}
        """id() of a rewritten schema -> pointer of what it was made from."""
        self.names_may_be_respelled = False
        """Some object has named properties and open ones, so that a name may be met as one of the latter."""
        self._steps = Fraction(0)
        self._here = ""
        self._asking = 0
        self.negation = Negation(document, self.disjoint)
        self.validation = Validation(document)
        self.knowledge = Knowledge(document, lambda schema: self.negation.of(schema)[0])
        self._objects = Objects(self)
        self._arrays = Arrays(self)
        self.root = self.schema(document.root)
        self.defs = {name: self.schema(schema) for name, schema in document.defs.items()}

    def disjoint(self, parts: list[Schema]) -> bool:
        """Is no value allowed by two of `parts`?"""
        if len(parts) > _MOST_NEGATED or self._asking > 2:
            return False
        self._asking += 1
        try:
            facts = [self.knowledge.ask(part) for part in parts]
            pairs = itertools.combinations(facts, 2)
            return all(self.knowledge.disjoint(one, other) for one, other in pairs)
        finally:
            self._asking -= 1

    def allow_more(self, schema: Schema, keyword: str, reason: str, rewrite: str = "") -> None:
        """Say that the grammar allows more than `schema`, and why."""
        pointer = self.document.pointers.get(id(schema), self._here)
        problem = SchemaProblem(pointer, keyword, reason, rewrite)
        if problem not in self.loose:
            self.loose.append(problem)

    def schema(self, schema: Schema) -> Schema:
        """`schema` for llguidance."""
        if isinstance(schema, bool):
            return schema
        outer, self._here = self._here, self.document.pointers.get(id(schema), self._here)
        made = self._made(schema)
        self.pointers[id(made)] = self._here
        self._here = outer
        return made

    def _made(self, schema: dict[str, Any]) -> dict[str, Any]:
        made: dict[str, Any] = {}
        more: list[Schema] = []
        for keyword, value in schema.items():
            if keyword in _COPIED or keyword == "$ref":
                made[keyword] = value
            elif keyword in ("allOf", "anyOf"):
                made[keyword] = [self.schema(part) for part in value]
            elif keyword in _HANDLED:
                _HANDLED[keyword](self, schema, made, more)
        self._objects.rewrite(schema, made, more)
        self._arrays.rewrite(schema, made, more)
        return self._in_order(schema, made, more)

    def _in_order(self, schema: dict[str, Any], made: dict[str, Any], more: list[Schema]) -> dict[str, Any]:
        """`made` and `more` as one schema. llguidance takes properties in the order in which it meets them,
        but those of `anyOf` and `$ref` before those beside them; in `allOf` it keeps to the order."""
        if "properties" not in made or not (more or any(name in made for name in _IN_PLACE)):
            if more:
                whole = "allOf" not in made
                made = {**made, "allOf": more} if whole else {"allOf": [self._placed(made), *more]}
            return made
        places = {("anyOf" if name == "oneOf" else name): at for at, name in enumerate(schema)}
        inner = sorted(
            (name for name in made if name in _IN_PLACE), key=lambda name: places.get(name, len(places))
        )
        own = {name: value for name, value in made.items() if name not in _IN_PLACE}
        before = [name for name in inner if places.get(name, len(places)) < places.get("properties", -1)]
        parts = [*self._parts(made, before), self._placed(own)]
        parts += self._parts(made, [name for name in inner if name not in before])
        return {"allOf": [*parts, *more]}

    def _parts(self, made: dict[str, Any], names: list[str]) -> list[Schema]:
        parts: list[Schema] = []
        for name in names:
            parts.extend(made[name] if name == "allOf" else [self._placed({name: made[name]})])
        return parts

    def _placed(self, schema: dict[str, Any]) -> dict[str, Any]:
        self.pointers[id(schema)] = self._here
        return schema

    def values(self, schema: dict[str, Any], made: dict[str, Any], more: list[Schema]) -> None:
        for keyword in ("const", "enum"):
            if keyword in schema:
                value = schema[keyword]
                made[keyword] = value
                if _beyond_floats(value):
                    self.allow_more(
                        schema, keyword, "an integer above 2^53 is matched as a float", "use a string"
                    )

    def bound(self, schema: dict[str, Any], made: dict[str, Any], more: list[Schema]) -> None:
        for keyword in ("minimum", "maximum", "exclusiveMinimum", "exclusiveMaximum"):
            if keyword not in schema or keyword in made:
                continue
            value = schema[keyword]
            if abs(value) <= _EXACT_INTEGERS:
                made[keyword] = value
            elif (near := _narrowed(value, up="inimum" in keyword)) is not None:
                made[keyword] = near
            else:
                self.allow_more(
                    schema, keyword, f"{value!r} is beyond what the grammar counts", "choose one below 2^63"
                )

    def step(self, schema: dict[str, Any], made: dict[str, Any], more: list[Schema]) -> None:
        """llguidance keeps a state for each remainder, and intersects two steps into their least common
        multiple whatever that costs: so that of all the document's steps is held within bounds."""
        step = Fraction(repr(schema["multipleOf"]))
        whole = step
        if self._steps:
            over = math.lcm(self._steps.numerator, step.numerator)
            whole = Fraction(over, math.gcd(self._steps.denominator, step.denominator))
        if _remainders(whole) > _MOST_REMAINDERS:
            self.allow_more(schema, "multipleOf", "there are too many remainders", "use a smaller step")
        else:
            self._steps = whole
            made["multipleOf"] = schema["multipleOf"]

    def pattern(self, schema: dict[str, Any], made: dict[str, Any], more: list[Schema]) -> None:
        split = parts(schema["pattern"])
        made["pattern"] = in_json(split.rest)
        more.extend({"pattern": in_json(part)} for part in split.also)
        for part in split.none:
            plain = strings_of(part)
            if plain is None:
                self.allow_more(
                    schema, "pattern", "a negative look-ahead is not in the grammar", "say what may be there"
                )
            else:
                strings, whole = plain
                more.append({"pattern": in_json(all_but(strings, prefixes=not whole))})

    def format(self, schema: dict[str, Any], made: dict[str, Any], more: list[Schema]) -> None:
        name = schema["format"]
        written: dict[str, Any] = {"pattern": formats.PATTERNS[name]}
        if name in formats.LENGTHS:
            written["maxLength"] = formats.LENGTHS[name]
        more.append(written)
        if name in formats.LOOSE:
            self.allow_more(
                schema, "format", f"the grammar does not know {formats.LOOSE[name]}", "use 'pattern'"
            )

    def complement(self, schema: dict[str, Any], made: dict[str, Any], more: list[Schema]) -> None:
        negated, exact = (True, False) if self._plain else self.negation.of(schema["not"])
        if negated is not True:
            more.append(self.schema(negated))
        if not exact:
            self.allow_more(
                schema,
                "not",
                "the complement of this schema cannot be written down",
                "say what is allowed instead",
            )

    def condition(self, schema: dict[str, Any], made: dict[str, Any], more: list[Schema]) -> None:
        if "then" not in schema and "else" not in schema:
            return
        unless, exact = (True, False) if self._plain else self.negation.of(schema["if"])
        if not exact:
            self.allow_more(
                schema, "if", "the complement of its schema cannot be written down", "use anyOf with 'const'"
            )
        options: list[Schema] = []
        for test, consequence in (
            (schema["if"], schema.get("then", True)),
            (unless, schema.get("else", True)),
        ):
            if test is not False and consequence is not False:
                options.append(self._both(test, consequence))
        more.append({"anyOf": options} if options else False)

    def _both(self, test: Schema, consequence: Schema) -> Schema:
        if test is True or consequence is True:
            return self.schema(consequence if test is True else test)
        return {"allOf": [self.schema(test), self.schema(consequence)]}

    def one_of(self, schema: dict[str, Any], made: dict[str, Any], more: list[Schema]) -> None:
        options: list[Schema] = schema["oneOf"]
        overlaps = self._overlaps(schema, options)
        branches = self._branches(schema, options, overlaps)
        if "anyOf" in schema or not branches:
            more.append({"anyOf": branches} if branches else False)
        else:
            made["anyOf"] = branches

    def _overlaps(self, schema: dict[str, Any], options: list[Schema]) -> list[set[int] | None]:
        """For each branch, the others that may hold with it; None for one that cannot hold."""
        if len(options) > _MOST_COMPARED:
            return [set(range(len(options))) - {at} for at in range(len(options))]
        around = self.knowledge.ask(
            {keyword: value for keyword, value in schema.items() if keyword != "oneOf"}
        )
        facts = [self.knowledge.meet(around, self.knowledge.ask(option)) for option in options]
        overlaps: list[set[int] | None] = [set() if known else None for known in facts]
        for (one, mine), (other, others) in itertools.combinations(enumerate(overlaps), 2):
            if mine is None or others is None or self.knowledge.disjoint(facts[one], facts[other]):
                continue
            mine.add(other)
            others.add(one)
        return overlaps

    def _branches(
        self, schema: dict[str, Any], options: list[Schema], overlaps: list[set[int] | None]
    ) -> list[Schema]:
        """`options`, each without those that overlap it, as far as their complements are known."""
        unknown: list[tuple[int, int]] = []
        limits: dict[int, Schema] = {}
        some = {other for others in overlaps for other in others or ()}
        for at in sorted(some) if len(some) <= _MOST_NEGATED and not self._plain else ():
            negated, exact = self.negation.of(options[at])
            if exact:
                limits[at] = negated
        branches: list[Schema] = []
        for at, others in enumerate(overlaps):
            if others is None:
                continue
            mine = self.schema(options[at])
            unless = [self.schema(limits[other]) for other in sorted(others) if other in limits]
            branches.append({"allOf": [mine, *unless]} if unless else mine)
            unknown += [(min(at, other), max(at, other)) for other in others if other not in limits]
        if unknown:
            first, second = min(unknown)
            pairs = len(set(unknown)) - 1
            besides = f", and those of {pairs} other pairs" if pairs else ""
            self.allow_more(
                schema,
                "oneOf",
                f"branches {first} and {second} may both hold{besides}",
                "use 'anyOf', or give each branch a required property with its own 'const'",
            )
        return branches


def _remainders(step: Fraction) -> int:
    """Remainders by `step`, written without a decimal point; powers of ten need none."""
    while step.denominator > 1:
        step *= 10
    return 1 if str(step.numerator).rstrip("0") == "1" else step.numerator


def _narrowed(bound: float, *, up: bool) -> int | None:
    """The nearest bound inside of `bound` that is a float and below 2^63; None if there is none."""
    most = 2**63 - 1024
    if (up and bound > most) or (not up and bound < -most):
        return None
    near = float(max(-most, min(most, bound)))
    if (up and near < bound) or (not up and near > bound):
        near = math.nextafter(near, math.inf if up else -math.inf)
    return int(near)


def _beyond_floats(value: Any) -> bool:
    if isinstance(value, bool):
        return False
    if isinstance(value, int):
        return abs(value) > _EXACT_INTEGERS
    if isinstance(value, list):
        return any(map(_beyond_floats, value))  # pyright: ignore[reportUnknownArgumentType]
    if isinstance(value, dict):
        return any(map(_beyond_floats, value.values()))  # pyright: ignore[reportUnknownArgumentType]
    return False


_HANDLED = {
    "const": Rewrite.values,
    "enum": Rewrite.values,
    "minimum": Rewrite.bound,
    "maximum": Rewrite.bound,
    "exclusiveMinimum": Rewrite.bound,
    "exclusiveMaximum": Rewrite.bound,
    "multipleOf": Rewrite.step,
    "pattern": Rewrite.pattern,
    "format": Rewrite.format,
    "not": Rewrite.complement,
    "if": Rewrite.condition,
    "oneOf": Rewrite.one_of,
}
