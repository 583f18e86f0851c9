"""Which arrays of a value must have distinct items: a schema made into rules by place, for the guard beside
the grammar (engine/distinct.py).

The rules refuse nothing that the schema allows. A place demands only what every way of satisfying the schema
demands there; where that is not known, or would be too much to write down, it demands nothing.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from functools import partial
from typing import Any, Literal

import msgspec

from agentkit_server.engine.types import Distinct, ItemsRule
from agentkit_server.turn.schema.document import Document
from agentkit_server.turn.schema.keywords import Schema, types_of
from agentkit_server.turn.schema.listed import MOST_LISTED, listed
from agentkit_server.turn.schema.lookahead import finder

_MOST_PLACES = 2_000
_MOST_WAYS = 64
_MOST_STEPS = 200_000
"""A second at most."""
_MOST_FIRST = 64

Kind = Literal["array", "object"]
_KINDS: tuple[Kind, ...] = ("array", "object")
Ways = frozenset[frozenset[int]]
"""The ways in which a value of one kind can satisfy a schema, each as the id() of the schemas that hold in it
and demand something. No way: there is no such value. An empty way: nothing is demanded."""
_FREE: Ways = frozenset([frozenset[int]()])
_NEVER: Ways = frozenset()
Place = tuple[Ways, Ways]
"""The ways for arrays, and those for objects."""


Leaves = Sequence[Sequence[dict[str, Any]]]


class _TooMuch(Exception):
    pass


def distinct(document: Document) -> Distinct | None:
    """The rules of `document`; None when there are none."""
    # Most have none, and to look into every schema takes longer than to read some.
    if b'"uniqueItems":true' not in msgspec.json.encode((document.root, document.defs)):
        return None
    demanding = _demanding(document)
    if not demanding:
        return None
    try:
        places = _Rules(document, demanding).run()
    except (_TooMuch, RecursionError):
        return None
    return Distinct(places=places) if any(rule.unique for rule in places) else None


def joined(
    answer: Distinct | None, arguments: Sequence[Distinct | None]
) -> tuple[list[ItemsRule], list[int]]:
    """The rules of an answer, and behind them those of several arguments; and where each of these begin, -1
    for ones that have none. No rules at all where nobody has any."""
    rules = [ItemsRule()] if answer is None else [*answer.places]
    places: list[int] = []
    for one in arguments:
        places.append(-1 if one is None else len(rules))
        rules += [] if one is None else [_moved(rule, len(rules)) for rule in one.places]
    return (rules if answer or any(arguments) else []), places


def _moved(rule: ItemsRule, by: int) -> ItemsRule:
    """`rule` in a list where its places come `by` later."""

    def moved(place: int) -> int:
        return place + by if place >= 0 else place

    return msgspec.structs.replace(
        rule,
        first=[*map(moved, rule.first)],
        items=moved(rule.items),
        names={name: moved(place) for name, place in rule.names.items()},
        rest=moved(rule.rest),
    )


def _demanding(document: Document) -> dict[int, dict[str, Any]]:
    """The schemas, by id(), that demand distinct items of the value that they are about, or of a part."""
    parents: dict[int, list[int]] = {}
    seen: dict[int, dict[str, Any]] = {}
    waiting: list[Schema] = [document.root, *document.defs.values()]
    while waiting:
        schema = waiting.pop()
        if isinstance(schema, bool) or id(schema) in seen:
            continue
        seen[id(schema)] = schema
        for part in _parts(document, schema):
            parents.setdefault(id(part), []).append(id(schema))
            waiting.append(part)
    found = [place for place, schema in seen.items() if schema.get("uniqueItems")]
    demanding = set(found)
    while found:
        more = [parent for parent in parents.get(found.pop(), ()) if parent not in demanding]
        demanding.update(more)
        found += more
    return {place: seen[place] for place in demanding}


def _parts(document: Document, schema: dict[str, Any]) -> Iterator[Schema]:
    if "$ref" in schema:
        yield document.target(schema["$ref"])
    for keyword in ("if", "then", "else"):
        if keyword in schema:
            yield schema[keyword]
    for keyword in ("allOf", "anyOf", "oneOf"):
        yield from schema.get(keyword, ())
    for kind in _KINDS:
        yield from _inner(schema, kind)


def _either(ways: Iterable[Ways]) -> Ways:
    return _least(frozenset[frozenset[int]]().union(*ways))


def _least(ways: Ways) -> Ways:
    """`ways` without those that demand all that another one does, and more."""
    if len(ways) > _MOST_WAYS or frozenset[int]() in ways:
        return _FREE
    return frozenset(way for way in ways if not any(other < way for other in ways))


class _Rules:
    def __init__(self, document: Document, demanding: dict[int, dict[str, Any]]) -> None:
        self._document = document
        self._demanding = demanding
        self._known: dict[tuple[int, Kind], Ways] = {}
        self._numbers: dict[Place, int] = {}
        self._places: list[Place] = []
        self._steps = 0

    def run(self) -> list[ItemsRule]:
        """The rules, the one of the whole value first."""
        root = self._document.root
        self._number((self._ways(root, "array"), self._ways(root, "object")))
        # In the order of their numbers: the list grows while it is read.
        return [self._rule(place) for place in self._places]

    def _count(self, steps: int) -> None:
        self._steps += steps
        if self._steps > _MOST_STEPS:
            raise _TooMuch

    def _number(self, place: Place) -> int:
        """Of `place`; -1 where nothing is demanded."""
        if all(ways in (_FREE, _NEVER) for ways in place):
            return -1
        if place not in self._numbers:
            if len(self._numbers) >= _MOST_PLACES:
                raise _TooMuch
            self._numbers[place] = len(self._numbers)
            self._places.append(place)
        return self._numbers[place]

    # The ways of a schema

    def _ways(self, schema: Schema, kind: Kind) -> Ways:
        if isinstance(schema, bool):
            return _FREE if schema else _NEVER
        key = id(schema), kind
        if key not in self._known:
            self._known[key] = self._found(schema, kind)
        return self._known[key]

    def _found(self, schema: dict[str, Any], kind: Kind) -> Ways:
        if kind not in types_of(schema) or not _has_values(schema, kind):
            return _NEVER
        demands = (kind == "array" and schema.get("uniqueItems")) or any(
            id(part) in self._demanding for part in _inner(schema, kind)
        )
        parts: list[Ways] = [frozenset([frozenset([id(schema)])]) if demands else _FREE]
        parts += [self._ways(part, kind) for part in schema.get("allOf", ())]
        if "$ref" in schema:
            parts.append(self._ways(self._document.target(schema["$ref"]), kind))
        for keyword in ("anyOf", "oneOf"):
            if keyword in schema:
                parts.append(_either(self._ways(part, kind) for part in schema[keyword]))
        if "if" in schema:
            then = self._both([self._ways(schema["if"], kind), self._ways(schema.get("then", True), kind)])
            parts.append(_either([then, self._ways(schema.get("else", True), kind)]))
        return self._both(parts)

    def _both(self, parts: Iterable[Ways]) -> Ways:
        whole = _FREE
        for ways in parts:
            self._count(len(whole) * len(ways) + 1)
            # What would be too many ways is left out: then less is demanded.
            if ways != _FREE and len(whole) * len(ways) <= _MOST_WAYS:
                whole = _least(frozenset(one | other for one in whole for other in ways))
        return whole

    # The rule of a place

    def _rule(self, place: Place) -> ItemsRule:
        arrays, objects = ([[self._demanding[one] for one in way] for way in ways] for ways in place)
        unique = bool(arrays) and all(any(one.get("uniqueItems") for one in way) for way in arrays)
        values = self._values(arrays) if unique else None
        count = max((len(one.get("prefixItems", ())) for way in arrays for one in way), default=0)
        if count > _MOST_FIRST:
            arrays, count = [], 0
        names = dict.fromkeys(name for way in objects for one in way for name in one.get("properties", ()))
        rest = self._part(objects, self._rest)
        known = {name: self._part(objects, partial(self._property, name)) for name in names}
        return ItemsRule(
            unique=unique,
            values=sorted(values or ()),
            first=[self._part(arrays, partial(self._item, at)) for at in range(count)],
            items=self._part(arrays, partial(self._item, count)),
            names={name: number for name, number in known.items() if number != rest},
            rest=rest,
        )

    def _part(self, ways: Leaves, inside: Callable[[dict[str, Any], Kind], Ways]) -> int:
        """The place inside of one with `ways` that each of its schemas says `inside` of."""
        arrays, objects = (
            _either(self._both(inside(one, kind) for one in way) for way in ways) for kind in _KINDS
        )
        return self._number((arrays, objects))

    def _item(self, at: int, schema: dict[str, Any], kind: Kind) -> Ways:
        first = schema.get("prefixItems", ())
        return self._ways(first[at] if at < len(first) else schema.get("items", True), kind)

    def _property(self, name: str, schema: dict[str, Any], kind: Kind) -> Ways:
        patterns = schema.get("patternProperties", {}).items()
        self._count(len(patterns))
        said = [part for pattern, part in patterns if finder(pattern)(name)]
        if name in schema.get("properties", {}):
            said.append(schema["properties"][name])
        said = said or [schema.get("additionalProperties", True)]
        return self._both(self._ways(part, kind) for part in said)

    def _rest(self, schema: dict[str, Any], kind: Kind) -> Ways:
        """Of a name that no schema here lists: which of the patterns are in it is not known."""
        said = [*schema.get("patternProperties", {}).values(), schema.get("additionalProperties", True)]
        return _either(self._ways(part, kind) for part in said)

    def _values(self, ways: Leaves) -> frozenset[str] | None:
        """What an item can be."""
        every: set[str] = set()
        for way in ways:
            some = (
                listed(self._document, one["items"])
                for one in way
                if "items" in one and not one.get("prefixItems")
            )
            found = next((one for one in some if one is not None), None)
            if found is None or len(every | found) > MOST_LISTED:
                return None
            every |= found
        return frozenset(every)


def _has_values(schema: dict[str, Any], kind: Kind) -> bool:
    if "const" not in schema and "enum" not in schema:
        return True
    values = [schema["const"]] if "const" in schema else schema["enum"]
    return any(isinstance(value, list if kind == "array" else dict) for value in values)


def _inner(schema: dict[str, Any], kind: Kind) -> Iterator[Schema]:
    """What `schema` says of the parts of an array, or of an object."""
    if kind == "array":
        yield from schema.get("prefixItems", ())
        yield schema.get("items", False)
    else:
        yield schema.get("additionalProperties", False)
        for keyword in ("properties", "patternProperties"):
            yield from schema.get(keyword, {}).values()
