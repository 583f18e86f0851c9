"""The grammar of values in a notation of nested literals: strings, numbers, constants, lists and objects,
each from its JSON Schema.

What a schema says that the grammar cannot is collected in `loose`; the grammar then allows too much.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any, cast

from agentkit_server.errors import SchemaProblem, SchemaRefused
from agentkit_server.turn.schema.prepare import prepare
from agentkit_server.turn.syntaxes.pieces import quoted
from agentkit_server.turn.syntaxes.styles.parameters import Parameters, of_object
from agentkit_server.turn.syntaxes.styles.subschema import (
    TYPES,
    Schema,
    merged,
    stands_alone,
    target,
    types,
)

MOST_RULES = 4000
"""Rules for one tool; past that a value may be anything, and is checked afterwards."""
LONGEST_LIST = 1000
"""Items that a grammar counts."""


@dataclass(frozen=True, kw_only=True)
class Notation:
    """How values are written, as Lark expressions."""

    string: Callable[[str, dict[str, Any]], tuple[str, tuple[str, ...]]]
    """(rule, schema of a string) -> (Lark source of the rule, what it leaves open)."""
    spelled: Callable[[Any], str | None]
    """Each way of writing one value; None if there is none."""
    key: Callable[[str], str | None]
    """A declared key, with what separates it from the value; None if it cannot be written."""
    other_key: Callable[[str, Sequence[str]], str]
    """(rule, declared names) -> Lark source of the rule: any other key, with the separator."""
    null: str
    true: str
    false: str
    comma: str
    in_order: Callable[[str], str] | None = None
    """Sort key for the names of an object; None = as the schema has them."""


@dataclass
class Literals:
    """Rules for the values of one tool, all under names that begin with `base` and two underscores."""

    notation: Notation
    root: Schema
    base: str
    lines: list[str] = field(default_factory=list[str])
    loose: list[str] = field(default_factory=list[str])
    _count: int = 0
    _references: dict[str, str] = field(default_factory=dict[str, str])
    _anything: str = ""

    def entries(self, schema: Schema, place: str, *, notation: Notation | None = None) -> str:
        """Expression of what stands between the braces of an object. `notation`: for its keys, where they
        are written in another way than further inside."""
        keys = notation or self.notation
        known = of_object(schema, self.root, alone=False)
        self.loose += [f"{place}: {why}" if place else why for why in known.loose]
        listed = list(known.declared)
        if keys.in_order is not None:
            in_order = keys.in_order
            listed.sort(key=lambda one: in_order(one.name))
        found: list[tuple[str, bool]] = []
        for one in listed:
            inner = f"{place}.{one.name}" if place else one.name
            key = keys.key(one.name)
            value = None if key is None else self.value(one.schema, inner)
            if value is not None:
                found.append((f"{key} {value}", one.required))
            elif one.required:
                raise SchemaRefused([_unwritable(inner)])
        others = self._others(schema, known, keys, place)
        return self._sequence(found, others)

    def value(self, schema: Schema, place: str) -> str | None:
        """Expression of a value of `schema`, None when there is none."""
        if not types(schema, self.root):
            return None
        if self._count > MOST_RULES:
            self._say(place, "the schema is too large for a grammar of it")
            return self._any()
        if isinstance(schema, bool) or not schema.keys() - _ANNOTATIONS:
            return self._any()
        if "$ref" in schema and not schema.keys() - _ANNOTATIONS - {"$ref"}:
            return self._reference(cast(str, schema["$ref"]), place)
        if "$ref" in schema or "allOf" in schema:
            return self._conjunction(schema, place)
        if "enum" in schema or "const" in schema:
            return self._listed(schema)
        for keyword in ("anyOf", "oneOf"):
            if keyword in schema:
                return self._alternatives(schema, keyword, place)
        return self._typed(schema, place)

    def rule(self, expression: str, name: str = "") -> str:
        """A new rule."""
        name = name or self._name()
        self.lines.append(f"{name}: {expression or quoted('')}\n")
        return name

    def _name(self) -> str:
        self._count += 1
        return f"{self.base}__{self._count}"

    def _say(self, place: str, why: str) -> None:
        self.loose.append(f"{place or 'the arguments'}: {why}; it is checked afterwards")

    def _any(self) -> str:
        if not self._anything:
            self._anything = self._name()
            branches = [self._typed({"type": name}, "a value") for name in sorted(TYPES)]
            self.rule(" | ".join(branch for branch in branches if branch), self._anything)
        return self._anything

    def _reference(self, reference: str, place: str) -> str | None:
        if reference in self._references:
            return self._references[reference]
        there = target(self.root, reference)
        if there is None:
            self._say(place, f"the reference {reference!r} is not followed")
            return self._any()
        name = self._references[reference] = self._name()
        self.rule(self.value(there, place) or self._any(), name)
        return name

    def _conjunction(self, schema: dict[str, Any], place: str) -> str | None:
        """All of several schemas, where they say different things."""
        parts: list[Schema] = [{key: schema[key] for key in schema if key not in ("$ref", "allOf")}]
        parts += cast(list[Schema], schema.get("allOf", []))
        there = target(self.root, cast(str, schema["$ref"])) if "$ref" in schema else True
        whole = merged([*parts, True if there is None else there], _ANNOTATIONS)
        if whole is None or there is None or self._count > MOST_RULES:
            self._say(place, "not every part of 'allOf' or beside '$ref' is in the grammar")
            self._count += 1
            first = next((part for part in (*parts, there) if isinstance(part, dict) and part), True)
            return self.value({"type": sorted(types(schema, self.root))} if first is True else first, place)
        self._count += 1
        return self.value(whole, place)

    def _listed(self, schema: dict[str, Any]) -> str | None:
        values = [schema["const"]] if "const" in schema else cast(list[Any], schema["enum"])
        if schema.keys() - _ANNOTATIONS - {"enum", "const"}:
            problems = prepare(stands_alone(schema, self.root)).problems
            values = [value for value in values if not problems(value)]
        spelled = [text for text in map(self.notation.spelled, values) if text is not None]
        return self.rule(" | ".join(dict.fromkeys(spelled))) if spelled else None

    def _alternatives(self, schema: dict[str, Any], keyword: str, place: str) -> str | None:
        branches = cast(list[Schema], schema[keyword])
        base = {key: schema[key] for key in schema if key != keyword}
        wholes = [merged([base, branch], _ANNOTATIONS) for branch in branches]
        if any(whole is None for whole in wholes):
            self._say(place, f"what stands beside {keyword!r} is not all in the grammar")
        kept = [branch if whole is None else whole for whole, branch in zip(wholes, branches, strict=True)]
        kinds = [types(one, self.root) for one in kept]
        if keyword == "oneOf" and sum(map(len, kinds)) > len(frozenset[str]().union(*kinds)):
            self._say(place, "more than one branch of 'oneOf' may hold")
        found = [one for one in (self.value(branch, place) for branch in kept) if one is not None]
        return self.rule(" | ".join(found)) if found else None

    def _typed(self, schema: dict[str, Any], place: str) -> str | None:
        beyond = schema.keys() & _BEYOND
        if beyond:
            self._say(place, f"{sorted(beyond)[0]!r} is not in the grammar")
        kinds = types(schema, self.root)
        constants = {"null": [self.notation.null], "boolean": [self.notation.true, self.notation.false]}
        found = [one for kind in constants if kind in kinds for one in constants[kind]]
        if "number" in kinds:
            found.append(self._number(schema, place))
        if "string" in kinds:
            name = self._name()
            source, open_ends = self.notation.string(name, schema)
            self.lines.append(source)
            self.loose += [f"{place}: {why}" for why in open_ends]
            found.append(name)
        if "array" in kinds:
            found.append(self._array(schema, place))
        if "object" in kinds:
            found.append(self.rule(f'"{{" {self.entries(schema, place)} "}}"'))
        return found[0] if len(found) == 1 and " " not in found[0] else self.rule(" | ".join(found))

    def _number(self, schema: dict[str, Any], place: str) -> str:
        stated = schema.get("type", "number")
        kind = "number" if "number" in stated else "integer"
        bounds = {key: schema[key] for key in schema if key in _ON_NUMBERS}
        part = prepare({"type": kind, **bounds}, compact=True)
        self.loose += [f"{place}: checked afterwards: {problem}" for problem in part.loose]
        name = self._name()
        self.lines.append(part.fragment(name))
        return name

    def _array(self, schema: dict[str, Any], place: str) -> str:
        beyond = [word for word in ("contains", "uniqueItems", "unevaluatedItems") if schema.get(word)]
        least, most = schema.get("minItems", 0), schema.get("maxItems")
        prefix = cast(list[Schema], schema.get("prefixItems", []))
        first = [one for one in (self.value(part, place) for part in prefix) if one is not None]
        counted = max(least, most or 0) <= LONGEST_LIST
        if beyond or not counted or len(first) < len(prefix) or (prefix and (most is not None or least)):
            self._say(
                place, f"{beyond[0]!r} is not in the grammar" if beyond else "the length is not all counted"
            )
        item = self.value(cast(Schema, schema.get("items", True)), f"{place}[]")
        if prefix:
            return self.rule(f'"[" {self._prefixed(first, item)} "]"')
        if item is None or most == 0:
            return self.rule('"[" "]"')
        low, high = (least, most) if counted else (0, None)
        comma = self.notation.comma
        more = f"({comma} {item}){{{max(low - 1, 0)},{'' if high is None else high - 1}}}"
        body = f"{item} {more}" if low else f"({item} {more})?"
        return self.rule(f'"[" {body} "]"')

    def _prefixed(self, first: list[str], item: str | None) -> str:
        comma = self.notation.comma
        inner = "" if item is None else f"({comma} {item})*"
        for at in range(len(first) - 1, -1, -1):
            inner = f"({comma if at else ''} {first[at]} {inner})?"
        return inner

    def _others(self, schema: Schema, known: Parameters, keys: Notation, place: str) -> str | None:
        """Expression of an undeclared property, None where there is none."""
        free = isinstance(schema, dict) and bool(place) and not _CLOSING & schema.keys()
        if known.undeclared is None and (known.declared or not free):
            return None
        value = self.value(True if known.undeclared is None else known.undeclared, f"{place}.*")
        if value is None:
            return None
        name = self._name()
        self.lines.append(keys.other_key(name, [one.name for one in known.declared]))
        return self.rule(f"{name} {value}")

    def _sequence(self, entries: list[tuple[str, bool]], others: str | None) -> str:
        """Entries in order with commas between those that are there."""
        comma = self.notation.comma
        first = "" if others is None else self.rule(f"({others} ({comma} {others})*)?")
        later = "" if others is None else self.rule(f"({comma} {others})*")
        for entry, required in reversed(entries):
            first = self.rule(f"{entry} {later}" if required else f"{entry} {later} | {first or quoted('')}")
            later = self.rule(f"{comma} {entry} {later}" if required else f"({comma} {entry})? {later}")
        return first


def _unwritable(place: str) -> SchemaProblem:
    return SchemaProblem(
        f"/properties/{place}",
        "properties",
        "in this model's syntax the name or the value of this required property cannot be written",
        "name it with letters and _",
    )


_ANNOTATIONS = frozenset(
    {
        "$anchor",
        "$comment",
        "$defs",
        "$id",
        "$schema",
        "default",
        "definitions",
        "deprecated",
        "description",
        "examples",
        "readOnly",
        "title",
        "writeOnly",
    }
)
_ON_NUMBERS = frozenset({"minimum", "maximum", "exclusiveMinimum", "exclusiveMaximum", "multipleOf"})
_BEYOND = frozenset({"not", "if", "$dynamicRef"})
_CLOSING = frozenset({"additionalProperties", "unevaluatedProperties", "properties"})
