"""A schema of any draft, read into one vocabulary: draft 2020-12, every reference `#/$defs/name`, no
identifiers. What is no schema is reported with its place, all of it at once.

A keyword is honoured whichever draft it came in with: `dependencies` in a 2020-12 schema is enforced, and so
is `const` in a draft-04 one.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any, cast

from agentkit_server.errors import SchemaProblem
from agentkit_server.turn.schema import formats, keywords
from agentkit_server.turn.schema.keywords import Schema, escaped
from agentkit_server.turn.schema.lookahead import finder
from agentkit_server.turn.schema.patterns import NotRegular
from agentkit_server.turn.schema.references import NoSuchPlace, Place, References

MAX_DEPTH = 300
"""JSON levels of a schema."""
MAX_NODES = 100_000
"""Objects and lists of a schema."""
_MOST_WARNINGS = 100


@dataclass
class Document:
    """A schema that is well formed, or the list of what is wrong with it."""

    root: Schema = True
    defs: dict[str, Schema] = field(default_factory=dict[str, Schema])
    pointers: dict[int, str] = field(default_factory=dict[int, str])
    """id() of a schema object in `root` or `defs` -> where the caller wrote it."""
    problems: list[SchemaProblem] = field(default_factory=list[SchemaProblem])
    warnings: list[str] = field(default_factory=list[str])

    def target(self, reference: str) -> Schema:
        """The schema behind a `$ref` of this document."""
        return self.defs[reference.removeprefix("#/$defs/")]

    def resolved(self, schema: Schema) -> Schema:
        """`schema`, or what it stands for when it is nothing but a `$ref`."""
        while isinstance(schema, dict) and schema.keys() == {"$ref"}:
            schema = self.target(schema["$ref"])
        return schema

    def pointer(self, schema: Schema) -> str:
        return self.pointers.get(id(schema), "")


def read(schema: Any) -> Document:
    """`schema` as a Document; `problems` says whether it can be used."""
    reader = _Reader(schema)
    reader.run(schema)
    return reader.document


class _Reader:
    def __init__(self, schema: Any) -> None:
        self.document = Document()
        self._given = schema
        self._references: References | None = None
        self._names: dict[int, str] = {}
        self._waiting: list[tuple[str, Place, bool]] = []

    def run(self, schema: Any) -> None:
        if not _within_bounds(schema, self.document):
            return
        self.document.root = self._schema(Place(schema, "", ""), legacy=False)
        while self._waiting:
            name, place, legacy = self._waiting.pop()
            self.document.defs[name] = self._schema(place, legacy)

    def _problem(self, place: Place, keyword: str, reason: str, rewrite: str = "") -> None:
        pointer = place.pointer or ("" if not place.document else place.document)
        self.document.problems.append(SchemaProblem(pointer, keyword, reason, rewrite))

    def _warn(self, warning: str) -> None:
        if len(self.document.warnings) < _MOST_WARNINGS:
            self.document.warnings.append(warning)

    def _schema(self, place: Place, legacy: bool) -> Schema:
        """`legacy`: the draft is 7 or older, where `$ref` puts its siblings out of force."""
        node = place.node
        if isinstance(node, bool):
            return node
        if not isinstance(node, dict):
            self._problem(place, "schema", f"a schema is an object or a boolean, not {_short(node)}")
            return True
        given = cast("dict[str, Any]", node)
        legacy = _is_legacy(given.get("$schema"), legacy)
        if "$ref" in given and legacy:
            given = {"$ref": given["$ref"]}
        made: dict[str, Any] = {}
        self.document.pointers[id(made)] = place.pointer
        for keyword, value in given.items():
            self._keyword(made, place, keyword, value, legacy)
        made.pop("additionalItems", None)
        return made

    def _keyword(self, made: dict[str, Any], place: Place, keyword: str, value: Any, legacy: bool) -> None:
        # Most frequent first; and only what holds schemas needs a pointer of its own.
        if keyword in keywords.PLAIN:
            flag = keyword in ("exclusiveMinimum", "exclusiveMaximum") and isinstance(value, bool)
            (self._exclusive if flag else self._plain)(made, place, keyword, value)
        elif keyword in ("$ref", "$dynamicRef", "$recursiveRef"):
            self._reference(made, place, keyword, value, legacy)
        elif keyword in _HOLDING:
            self._holding(made, _inside(place, keyword, value), keyword, legacy)
        elif keyword in keywords.DRAFT_3:
            pointer = f"{place.pointer}/{keyword}"
            self._warn(f"{pointer}: {keyword!r} is of draft 3 and constrains nothing")
        elif keyword == "nullable" and value is True:
            pointer = f"{place.pointer}/{keyword}"
            self._warn(f"{pointer}: 'nullable' constrains nothing; add \"null\" to 'type'")

    def _holding(self, made: dict[str, Any], inside: Place, keyword: str, legacy: bool) -> None:
        """A keyword whose value holds schemas."""
        if keyword in ("items", "additionalItems"):
            self._items(made, inside, keyword, legacy)
        elif keyword == "dependencies":
            self._dependencies(made, inside, legacy)
        elif keyword in keywords.MANY:
            made[keyword] = [*made.get(keyword, ()), *self._many(inside, keyword, legacy)]
        elif keyword in keywords.NAMED:
            made[keyword] = self._named(inside, keyword, legacy)
        else:
            made[keyword] = self._schema(inside, legacy)

    def _plain(self, made: dict[str, Any], place: Place, keyword: str, value: Any) -> None:
        if keyword == "required" and isinstance(value, bool):
            self._problem(
                place, keyword, "is a boolean, as in draft 3", "list the name in the parent's 'required'"
            )
        elif wrong := keywords.PLAIN[keyword](value):
            self._problem(place, keyword, wrong)
        elif keyword == "pattern" and (wrong := _no_pattern(value)):
            self._problem(place, keyword, f"{_short(value)}: {wrong}", _SIMPLER)
        elif keyword == "format" and value not in formats.PATTERNS:
            self._warn(f"{place.pointer}: format {_short(value)} is not known and constrains nothing")
        elif keyword in ("minimum", "maximum") and f"exclusive{keyword.title()}" in made:
            self._both_bounds(made, keyword, value)
        else:
            made[keyword] = int(value) if keyword in keywords.COUNTS else value

    def _both_bounds(self, made: dict[str, Any], keyword: str, value: Any) -> None:
        exclusive = f"exclusive{keyword.title()}"
        if made[exclusive] is True:
            made[exclusive] = value
        else:
            made[keyword] = value

    def _exclusive(self, made: dict[str, Any], place: Place, keyword: str, value: bool) -> None:
        inclusive = keyword.removeprefix("exclusive").lower()
        if not value:
            return
        if inclusive in made:
            made[keyword] = made.pop(inclusive)
        elif inclusive in cast("dict[str, Any]", place.node):
            made[keyword] = True
        else:
            self._problem(place, keyword, f"is true without {inclusive!r}", f"give {keyword!r} the number")

    def _many(self, inside: Place, keyword: str, legacy: bool) -> list[Schema]:
        if not isinstance(inside.node, list) or (
            keyword != "prefixItems" and not len(cast("list[Any]", inside.node))
        ):
            self._problem(inside, keyword, "has to be a list of at least one schema")
            return [True]
        parts = enumerate(cast("list[Any]", inside.node))
        return [self._schema(_inside(inside, str(at), part), legacy) for at, part in parts]

    def _named(self, inside: Place, keyword: str, legacy: bool) -> dict[str, Schema]:
        if not isinstance(inside.node, dict):
            self._problem(inside, keyword, f"has to be an object of schemas, not {_short(inside.node)}")
            return {}
        parts = cast("dict[str, Any]", inside.node).items()
        for name in cast("dict[str, Any]", inside.node) if keyword == "patternProperties" else ():
            if wrong := _no_pattern(name):
                self._problem(inside, keyword, f"{_short(name)}: {wrong}", _SIMPLER)
        return {name: self._schema(_inside(inside, name, part), legacy) for name, part in parts}

    def _items(self, made: dict[str, Any], inside: Place, keyword: str, legacy: bool) -> None:
        tuple_form = isinstance(inside.node, list)
        if keyword == "items" and tuple_form:
            made["prefixItems"] = self._many(inside, "prefixItems", legacy)
        elif keyword == "items":
            made["items"] = self._schema(inside, legacy)
        else:
            made["additionalItems"] = self._schema(inside, legacy)
        if "additionalItems" in made and "prefixItems" in made and "items" not in made:
            made["items"] = made.pop("additionalItems")

    def _dependencies(self, made: dict[str, Any], inside: Place, legacy: bool) -> None:
        if not isinstance(inside.node, dict):
            self._problem(inside, "dependencies", "has to be an object")
            return
        for name, value in cast("dict[str, Any]", inside.node).items():
            if isinstance(value, str):
                made.setdefault("dependentRequired", {})[name] = [value]
            elif isinstance(value, list):
                if wrong := keywords.PLAIN["required"](value):
                    self._problem(_inside(inside, name, value), "dependencies", wrong)
                made.setdefault("dependentRequired", {})[name] = value
            else:
                made.setdefault("dependentSchemas", {})[name] = self._schema(
                    _inside(inside, name, value), legacy
                )

    def _reference(self, made: dict[str, Any], place: Place, keyword: str, value: Any, legacy: bool) -> None:
        if not isinstance(value, str):
            self._problem(place, keyword, "has to be a string")
            return
        self._references = self._references or References(self._given)
        try:
            target = self._references.find(value, place.node)
        except (NoSuchPlace, ValueError) as error:
            self._problem(place, keyword, f"{value!r}: {error}", "put the schema into '$defs' of this one")
            return
        if keyword == "$dynamicRef" and (chosen := self._dynamic(place, value, target)):
            target = chosen
        # A boolean has no identity of its own.
        name = None if isinstance(target.node, bool) else self._names.get(id(target.node))
        if name is None:
            name = self._name(target)
            self._waiting.append((name, target, legacy))
        if "$ref" in made:
            made.setdefault("allOf", []).append({"$ref": f"#/$defs/{name}"})
        else:
            made["$ref"] = f"#/$defs/{name}"

    def _dynamic(self, place: Place, value: str, target: Place) -> Place | None:
        anchor = value.rpartition("#")[2]
        if (
            not isinstance(target.node, dict)
            or cast("dict[str, Any]", target.node).get("$dynamicAnchor") != anchor
        ):
            return None
        assert self._references is not None
        if len(self._references.dynamic.get(anchor, ())) > 1:
            self._problem(
                place, "$dynamicRef", f"{anchor!r} is the dynamic anchor of several schemas", "write '$ref'"
            )
        return target

    def _name(self, target: Place) -> str:
        name = f"d{len(self._names)}"
        self._names[-len(self._names) if isinstance(target.node, bool) else id(target.node)] = name
        return name


_HOLDING = frozenset(
    ("additionalItems", "dependencies", *keywords.ONE, *keywords.UNEVALUATED, *keywords.MANY, *keywords.NAMED)
)
_SIMPLER = "write it without look-around, backreferences and word boundaries"


def _no_pattern(pattern: str) -> str:
    """Why `pattern` cannot be matched in linear time; "" = it can."""
    try:
        finder(pattern)
    except NotRegular as error:
        return str(error)
    return ""


def _inside(place: Place, key: str, value: Any) -> Place:
    return Place(value, place.base, f"{place.pointer}/{escaped(key)}", place.document)


def _is_legacy(dialect: Any, otherwise: bool) -> bool:
    if not isinstance(dialect, str):
        return otherwise
    return any(f"draft-0{number}" in dialect for number in (3, 4, 6, 7))


def _short(value: Any) -> str:
    written = repr(value)
    return written if len(written) <= 40 else written[:40] + "…"


def _within_bounds(schema: Any, document: Document) -> bool:
    waiting: list[tuple[Any, int]] = [(schema, 1)]
    count = 0
    while waiting:
        node, depth = waiting.pop()
        count += 1
        if depth > MAX_DEPTH or count > MAX_NODES:
            reason = (
                f"is nested more than {MAX_DEPTH} levels deep"
                if depth > MAX_DEPTH
                else f"has more than {MAX_NODES} objects and lists"
            )
            rewrite = "move parts into '$defs'" if depth > MAX_DEPTH else "split it"
            document.problems.append(SchemaProblem("", "schema", reason, rewrite))
            return False
        parts: Iterable[Any] = ()
        if isinstance(node, dict):
            parts = cast("dict[str, Any]", node).values()
        elif isinstance(node, list):
            parts = cast("list[Any]", node)
        waiting += [(part, depth + 1) for part in parts if isinstance(part, dict | list)]
    return True
