"""What is known of the values that a schema allows: enough to prove that no value is allowed by two.

Facts are an over-approximation: every value of the schema fits one of the shapes, and others may too. So
"no shape of one meets a shape of the other" proves that two schemas are disjoint, and no shape at all that a
schema allows nothing.
"""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Iterable, Mapping
from types import MappingProxyType
from typing import Any, NamedTuple

from agentkit_server.turn.schema.document import Document
from agentkit_server.turn.schema.keywords import Schema, types_of
from agentkit_server.turn.schema.lookahead import finder
from agentkit_server.turn.schema.patterns import NotRegular

KINDS = ("null", "boolean", "number", "string", "array", "object")
_MOST_SHAPES = 24
_DEEPEST = 12
_MOST_STEPS = 100_000
"""Schemas and shapes looked at for one document; past that nothing is known."""
_STEPS_AT_ONCE = 4_000
"""… for one question."""
_DEEPEST_MEETING = 3


Closure = tuple[frozenset[str], tuple[str, ...], Schema]
"""(names, patterns, schema of every other property)."""


class Shape(NamedTuple):
    """Values of one kind. Every field that is not given leaves them open. A tuple: thousands are made."""

    only: frozenset[str] | None = None
    """Their JSON, where they can be listed."""
    low: tuple[float, bool] = (-math.inf, False)
    """Least number, or length of a string or array; and whether that one is itself left out."""
    high: tuple[float, bool] = (math.inf, False)
    patterns: tuple[str, ...] = ()
    required: frozenset[str] = frozenset()
    properties: Mapping[str, tuple[Schema, ...]] = MappingProxyType({})
    closures: tuple[Closure, ...] = ()
    prefix: tuple[tuple[Schema, ...], ...] = ()
    """The first items."""


Facts = Mapping[str, tuple[Shape, ...]]
"""Kind -> shapes of its values; a kind that is not there does not occur."""

_OPEN = Shape()
ANYTHING: Facts = dict.fromkeys(KINDS, (_OPEN,))


class Knowledge:
    """Facts about the schemas of one document."""

    def __init__(self, document: Document, negated: Callable[[Schema], Schema]) -> None:
        self._document = document
        self._negated = negated
        self._known: dict[int, tuple[Schema, Facts]] = {}
        self._steps = _MOST_STEPS
        self._left = 0

    def disjoint(self, one: Facts, other: Facts) -> bool:
        """Is there provably no value that fits both?"""
        self._left = _STEPS_AT_ONCE
        return self._steps > 0 and not self._meets(one, other, 0)

    def ask(self, schema: Schema) -> Facts:
        """The facts of `schema`."""
        self._left = _STEPS_AT_ONCE
        return self._facts(schema, 0)

    def meet(self, one: Facts, other: Facts) -> Facts:
        """The facts of what is allowed by both."""
        self._left = _STEPS_AT_ONCE
        return self._met(one, other, 0)

    def _met(self, one: Facts, other: Facts, depth: int) -> Facts:
        if one is ANYTHING or other is ANYTHING:
            return other if one is ANYTHING else one
        met: dict[str, tuple[Shape, ...]] = {}
        for kind, mine in one.items():
            pairs = [(a, b) for a in mine for b in other.get(kind, ())]
            shapes = [shape for a, b in pairs if (shape := self._both(kind, a, b, depth)) is not None]
            if shapes:
                met[kind] = _few(shapes)
        return met

    def _meets(self, one: Facts, other: Facts, depth: int) -> bool:
        """Is there anything in `_met`? Most of what was worked out to know that was thrown away."""
        return any(
            self._both(kind, a, b, depth) is not None
            for kind, mine in one.items()
            for a in mine
            for b in other.get(kind, ())
        )

    def _facts(self, schema: Schema, depth: int) -> Facts:
        if schema is True or schema == {}:
            return ANYTHING
        if schema is False:
            return {}
        known = self._known.get(id(schema))
        if known is not None:
            return known[1]
        if depth > _DEEPEST or not self._step():
            return ANYTHING
        # Whoever asks again while the answer is being found is told nothing: so cycles end.
        self._known[id(schema)] = (schema, ANYTHING)
        facts = self._found(schema, depth)
        self._known[id(schema)] = (schema, facts)
        return facts

    def _step(self) -> bool:
        self._steps -= 1
        self._left -= 1
        return self._steps > 0 and self._left > 0

    def _found(self, schema: dict[str, Any], depth: int) -> Facts:
        facts = self._own(schema, depth)
        if "$ref" in schema:
            facts = self._met(facts, self._facts(self._document.target(schema["$ref"]), depth + 1), depth)
        for part in schema.get("allOf", ()):
            facts = self._met(facts, self._facts(part, depth + 1), depth)
        for keyword in ("anyOf", "oneOf"):
            if keyword in schema:
                parts = [self._met(facts, self._facts(part, depth + 1), depth) for part in schema[keyword]]
                facts = _either(parts)
        if "not" in schema:
            facts = self._met(facts, self._facts(self._negated(schema["not"]), depth + 1), depth)
        return facts

    def _own(self, schema: dict[str, Any], depth: int) -> Facts:
        values = [schema["const"]] if "const" in schema else schema.get("enum")
        types = types_of(schema)
        kinds = {"number" if name == "integer" else name for name in types}
        facts: dict[str, tuple[Shape, ...]] = {}
        for kind in KINDS:
            if kind not in kinds:
                continue
            shape = _bounded(kind, schema)
            if values is not None:
                own = [value for value in values if _kind(value) == kind and _typed(value, types)]
                shape = shape._replace(only=frozenset(map(_written, own)))
            possible = self._possible(kind, shape, depth)
            if possible is not None:
                facts[kind] = (possible,)
        return facts

    def _possible(self, kind: str, shape: Shape, depth: int) -> Shape | None:
        """`shape`, or what is left of it; None if that is provably nothing."""
        self._steps -= 1
        if _nothing_between(shape.low, shape.high):
            return None
        if shape.only is not None:
            return self._listed(kind, shape)
        if depth > _DEEPEST_MEETING or not self._step():
            return shape
        if kind == "object" and any(not self._some(_said(shape, name), depth) for name in shape.required):
            return None
        return None if kind == "array" and self._no_items(shape, depth) else shape

    def _both(self, kind: str, one: Shape, other: Shape, depth: int) -> Shape | None:
        """What both shapes, each possible by itself, allow; None if that is provably nothing."""
        if one is _OPEN or other is _OPEN:
            return other if one is _OPEN else one
        self._steps -= 1
        only = one.only if other.only is None else other.only if one.only is None else one.only & other.only
        low, high = max(one.low, other.low), min(one.high, other.high, key=_upper)
        if (only is not None and not only) or _nothing_between(low, high):
            return None
        looks = only is None and depth <= _DEEPEST_MEETING and self._step()
        # Before anything is joined: objects that a property tells apart are most of what is asked about.
        if looks and kind == "object" and self._apart(one, other, depth):
            return None
        met = Shape(
            only=only,
            low=low,
            high=high,
            patterns=tuple(dict.fromkeys((*one.patterns, *other.patterns))),
            required=one.required | other.required,
            properties=_joined(one.properties, other.properties),
            closures=_also(one.closures, other.closures),
            prefix=_zipped(one.prefix, other.prefix),
        )
        if only is not None:
            return self._listed(kind, met)
        return None if looks and kind == "array" and self._no_items(met, depth) else met

    def _listed(self, kind: str, shape: Shape) -> Shape | None:
        """`shape` with those of its values that fit it."""
        left = frozenset(text for text in shape.only or () if self._fits(kind, json.loads(text), shape))
        return shape._replace(only=left) if left else None

    def _apart(self, one: Shape, other: Shape, depth: int) -> bool:
        """Can some property not be there that has to be? What one of them says by itself is known already."""
        for name in one.required | other.required:
            mine, others = _said(one, name), _said(other, name)
            new = (mine and name not in one.required) or (others and name not in other.required)
            if (new or (mine and others)) and not self._some((*mine, *others), depth):
                return True
        return False

    def _no_items(self, shape: Shape, depth: int) -> bool:
        least = min(int(shape.low[0]) if shape.low[0] > 0 else 0, len(shape.prefix))
        return any(not self._some(schemas, depth) for schemas in shape.prefix[:least])

    def _some(self, schemas: Iterable[Schema], depth: int) -> bool:
        """Is there a value, for all that is known, that all of `schemas` allow?"""
        different = {id(schema): schema for schema in schemas}.values()
        met = last = ANYTHING
        for schema in different:
            met, last = self._met(met, last, depth + 1), self._facts(schema, depth + 1)
        return self._meets(met, last, depth + 1)

    def _fits(self, kind: str, value: Any, shape: Shape) -> bool:
        if kind in ("string", "array", "number"):
            size = value if kind == "number" else len(value)
            if not _between(size, shape):
                return False
        if kind == "string":
            return all(_finds(pattern, value) for pattern in shape.patterns)
        if kind == "object":
            return shape.required <= value.keys() and not any(
                False in schemas for name, schemas in shape.properties.items() if name in value
            )
        return True


def _few(shapes: list[Shape]) -> tuple[Shape, ...]:
    """Not more than can be compared; too many are worth one open shape."""
    if len(shapes) == 1:
        return (shapes[0],)
    unique = [shape for at, shape in enumerate(shapes) if shape not in shapes[:at]]
    return tuple(unique) if len(unique) <= _MOST_SHAPES else (_OPEN,)


def _either(parts: list[Facts]) -> Facts:
    joined: dict[str, list[Shape]] = {}
    for facts in parts:
        for kind, shapes in facts.items():
            joined.setdefault(kind, []).extend(shapes)
    return {kind: _few(shapes) for kind, shapes in joined.items()}


def _bounded(kind: str, schema: dict[str, Any]) -> Shape:
    if kind == "number":
        low = max(
            (schema.get("minimum", -math.inf), False), (schema.get("exclusiveMinimum", -math.inf), True)
        )
        high = min(
            (schema.get("maximum", math.inf), False),
            (schema.get("exclusiveMaximum", math.inf), True),
            key=_upper,
        )
        return Shape(low=_finite(low), high=_finite(high))
    if kind == "string":
        patterns = (schema["pattern"],) if "pattern" in schema else ()
        return Shape(
            low=(schema.get("minLength", 0), False),
            high=(schema.get("maxLength", math.inf), False),
            patterns=patterns,
        )
    if kind == "array":
        return Shape(
            low=(schema.get("minItems", 0), False),
            high=(schema.get("maxItems", math.inf), False),
            prefix=tuple((part,) for part in schema.get("prefixItems", ())),
        )
    return _object(schema) if kind == "object" else _OPEN


def _upper(edge: tuple[float, bool]) -> tuple[float, bool]:
    """Sorts upper bounds: one that is itself left out is below the same one that is not."""
    return edge[0], not edge[1]


def _nothing_between(low: tuple[float, bool], high: tuple[float, bool]) -> bool:
    return low[0] > high[0] or (low[0] == high[0] and (low[1] or high[1]))


def _said(shape: Shape, name: str) -> tuple[Schema, ...]:
    """What `shape` says of its property `name`."""
    said = shape.properties.get(name, ())
    for names, patterns, rest in shape.closures:
        if name not in names and not any(_finds(pattern, name) for pattern in patterns):
            said = (*said, rest)
    return said


def _finite(edge: tuple[float, bool]) -> tuple[float, bool]:
    return edge if math.isfinite(edge[0]) else (edge[0], False)


def _object(schema: dict[str, Any]) -> Shape:
    properties: dict[str, Schema] = schema.get("properties", {})
    patterns: dict[str, Schema] = schema.get("patternProperties", {})
    closures = ()
    if schema.get("additionalProperties", True) is not True:
        closures = ((frozenset(properties), tuple(patterns), schema["additionalProperties"]),)
    return Shape(
        required=frozenset(schema.get("required", ())),
        properties={name: (value,) for name, value in properties.items() if value is not True},
        closures=closures,
    )


def _also(one: tuple[Closure, ...], other: tuple[Closure, ...]) -> tuple[Closure, ...]:
    if not one or not other:
        return one or other
    return (*one, *(closure for closure in other if closure not in one))


def _joined(
    one: Mapping[str, tuple[Schema, ...]], other: Mapping[str, tuple[Schema, ...]]
) -> Mapping[str, tuple[Schema, ...]]:
    if not one or not other:
        return one or other
    joined = dict(one)
    for name, schemas in other.items():
        mine = joined.get(name, ())
        joined[name] = (*mine, *(schema for schema in schemas if not any(schema is known for known in mine)))
    return joined


def _zipped(
    one: tuple[tuple[Schema, ...], ...], other: tuple[tuple[Schema, ...], ...]
) -> tuple[tuple[Schema, ...], ...]:
    if not one or not other:
        return one or other
    longer, shorter = (one, other) if len(one) >= len(other) else (other, one)
    return tuple((*part, *(shorter[at] if at < len(shorter) else ())) for at, part in enumerate(longer))


def _between(size: float, shape: Shape) -> bool:
    above = size > shape.low[0] or (size == shape.low[0] and not shape.low[1])
    return above and (size < shape.high[0] or (size == shape.high[0] and not shape.high[1]))


def _finds(pattern: str, text: str) -> bool:
    """Not False unless `pattern` is known not to be in `text`."""
    try:
        return finder(pattern)(text)
    except NotRegular:
        return True


def _kind(value: Any) -> str:
    if value is None:
        return "null"
    kinds = {bool: "boolean", int: "number", float: "number", str: "string", list: "array", dict: "object"}
    return kinds[type(value)]


def _typed(value: Any, types: tuple[str, ...]) -> bool:
    """Does `value`, of a kind among `types`, have one of them? `integer` is narrower than its kind."""
    whole = isinstance(value, int) or (isinstance(value, float) and value.is_integer())
    return _kind(value) != "number" or "number" in types or ("integer" in types and whole)


def _written(value: Any) -> str:
    """Equal JSON values have equal text: 1.0 is 1, and the order of keys does not count."""
    return json.dumps(_plain(value), sort_keys=True)


def _plain(value: Any) -> Any:
    if isinstance(value, float) and value.is_integer():
        return int(value)
    if isinstance(value, dict):
        return {name: _plain(part) for name, part in value.items()}  # pyright: ignore[reportUnknownVariableType]
    if isinstance(value, list):
        return [_plain(part) for part in value]  # pyright: ignore[reportUnknownVariableType]
    return value
