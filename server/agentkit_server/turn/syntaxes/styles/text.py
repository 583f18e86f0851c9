"""The texts that a JSON Schema allows where a string stands without quotes and escapes, as an expression of a
Lark terminal.

Null, booleans and numbers may be among them, as their JSON. What cannot be said about a text is said in
`loose`, and then the expression allows too much, never too little of what can be read back.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from typing import Any, cast

from agentkit_server.turn.schema.formats import LENGTHS, LOOSE, PATTERNS
from agentkit_server.turn.schema.patterns import NotRegular, matcher, rust_matcher, translated
from agentkit_server.turn.schema.prepare import prepare
from agentkit_server.turn.syntaxes.pieces import quoted
from agentkit_server.turn.syntaxes.styles.subschema import TYPES, Schema, stands_alone, target, type_of, types

INTEGER = "-?(0|[1-9][0-9]{0,17})"
NUMBER = rf"{INTEGER}(\.[0-9]{{1,17}})?([eE][+-]?[0-9]{{1,2}})?"
DEEPEST = 32
"""Nested combinations that are followed."""
LEAST, MOST = 1000, 20_000
"""Characters of a `minLength` and a `maxLength` that a terminal counts."""


def _always(text: str) -> bool:
    del text
    return True


@dataclass(frozen=True)
class Texts:
    """A set of texts."""

    lark: str | None = None
    """Expression of a Lark terminal; None = every text."""
    loose: tuple[str, ...] = ()
    holds: Callable[[str], bool] = _always
    """Is a text one that `lark` matches?"""
    span: tuple[int, int | None] | None = None
    """Least and most characters, where nothing else is said."""

    def both(self, other: Texts) -> Texts:
        loose = (*self.loose, *other.loose)
        if self.lark is None or other.lark is None:
            narrow = other if self.lark is None else self
            return replace(narrow, loose=loose)
        return Texts(
            f"({self.lark}) & ({other.lark})", loose, lambda text: self.holds(text) and other.holds(text)
        )


NOTHING = Texts(holds=lambda text: False)
"""No text."""


def texts(schema: Schema, root: Schema) -> Texts | None:
    """The texts of the values that `schema`, a part of `root`, allows; None when there are none.

    Lists and objects stand for every text.
    """
    return _Reader(root).read(schema, TYPES, 0)


def regex(pattern: str) -> str:
    """`pattern`, in Rust's syntax, as a Lark regex."""
    return "/" + re.sub(r"\\.|/|\n", _in_slashes, pattern, flags=re.DOTALL) + "/"


@dataclass(frozen=True)
class _Reader:
    root: Schema

    def read(self, schema: Schema, allowed: frozenset[str], depth: int) -> Texts | None:
        allowed &= types(schema, self.root)
        if not allowed:
            return None
        if isinstance(schema, bool):
            return Texts()
        if depth > DEEPEST:
            return Texts(loose=("what is nested deeper is checked afterwards",))
        if "enum" in schema or "const" in schema:
            return self._listed(schema, allowed)
        found: Texts | None = self._own(schema, allowed)
        for part in self._conjoined(schema):
            further = self.read(part, allowed, depth + 1)
            if further is None:
                return None
            found = found.both(further)
        for keyword in ("anyOf", "oneOf"):
            if keyword in schema:
                branches = [self.read(one, allowed, depth + 1) for one in cast(list[Schema], schema[keyword])]
                possible = [branch for branch in branches if branch is not None]
                if not possible:
                    return None
                found = found.both(_either(possible, exclusive=keyword == "oneOf"))
        return found

    def _conjoined(self, schema: dict[str, Any]) -> list[Schema]:
        parts = list(cast(list[Schema], schema.get("allOf", [])))
        there = target(self.root, cast(str, schema["$ref"])) if "$ref" in schema else None
        return parts if there is None else [*parts, there]

    def _listed(self, schema: dict[str, Any], allowed: frozenset[str]) -> Texts | None:
        listed = [schema["const"]] if "const" in schema else cast(list[Any], schema["enum"])
        if schema.keys() - _SAYS_LITTLE:
            problems = prepare(stands_alone(schema, self.root)).problems
            listed = [value for value in listed if not problems(value)]
        written = list(dict.fromkeys(_spelled(value) for value in listed if type_of(value) in allowed))
        if not written:
            return None
        return Texts(" | ".join(map(quoted, written)), holds=frozenset(written).__contains__)

    def _own(self, schema: dict[str, Any], allowed: frozenset[str]) -> Texts:
        """What the keywords of `schema` itself say."""
        loose = [f"{word!r} is checked afterwards" for word in _BEYOND if word in schema]
        if "$ref" in schema and target(self.root, cast(str, schema["$ref"])) is None:
            loose.append("'$ref' is checked afterwards")
        alternatives: list[Texts] = []
        if "string" in allowed:
            string = _string(schema)
            loose += string.loose
            if string.lark is None:
                return Texts(None, tuple(loose))
            alternatives.append(string)
        constants = {"null": ("null",), "boolean": ("true", "false")}
        for kind in constants.keys() & allowed:
            alternatives += [Texts(quoted(word), holds=word.__eq__) for word in constants[kind]]
        if "number" in allowed:
            stated = schema.get("type", "number")
            alternatives.append(_matching(INTEGER if "number" not in stated else NUMBER))
        bounded = "number" in allowed and schema.keys() & _ON_NUMBERS
        if bounded or allowed & {"array", "object"}:
            return Texts(None, (*loose, "which of its types a text is read as is checked afterwards"))
        found = _either(alternatives)
        return replace(found, loose=tuple(loose))


def _matching(pattern: str) -> Texts:
    whole = re.compile(pattern)
    return Texts(regex(pattern), holds=lambda text: whole.fullmatch(text) is not None)


def _spelled(value: Any) -> str:
    """A string as it is, anything else as JSON."""
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)


def _string(schema: dict[str, Any]) -> Texts:
    """The strings that pattern, format and lengths allow."""
    found = _counted(int(schema.get("minLength", 0)), schema.get("maxLength"))
    if "pattern" in schema:
        found = found.both(_pattern(schema["pattern"]))
    name = schema.get("format")
    if isinstance(name, str) and name in PATTERNS:
        found = found.both(_format(name))
    return found


def _counted(least: int, most: float | None) -> Texts:
    """Texts of `least` to `most` characters."""
    if least > LEAST or (most is not None and most > MOST):
        return Texts(loose=(f"a length of {least if least > LEAST else most} is checked afterwards",))
    if most is None and not least:
        return Texts()
    highest = math.inf if most is None else int(most)
    span = (least, None if most is None else int(most))
    return Texts(
        regex(f"(?s:.){repeated(*span)}"), holds=lambda text: least <= len(text) <= highest, span=span
    )


def repeated(least: int, most: int | None) -> str:
    """How often, as in a regex."""
    return f"{{{least},{'' if most is None else most}}}"


def _pattern(pattern: str) -> Texts:
    try:
        whole = _whole(translated(pattern))
        holds = matcher(pattern)
    except NotRegular:
        whole, holds = None, _always
    if whole is None:
        return Texts(loose=(f"the pattern {pattern!r} is checked afterwards",))
    return Texts(whole, holds=holds)


def _format(name: str) -> Texts:
    unsaid = (f"of the format {name!r}, {LOOSE[name]} is checked afterwards",) if name in LOOSE else ()
    found = Texts(_whole(PATTERNS[name]), unsaid, rust_matcher(PATTERNS[name]))
    return found.both(_counted(0, LENGTHS[name])) if name in LENGTHS else found


def _either(branches: list[Texts], *, exclusive: bool = False) -> Texts:
    if len(branches) == 1:
        return branches[0]
    loose = [one for branch in branches for one in branch.loose]
    if exclusive:
        loose.append("that only one branch of 'oneOf' holds is checked afterwards")
    if any(branch.lark is None for branch in branches):
        settled = not exclusive and any(branch.lark is None and not branch.loose for branch in branches)
        return Texts(None, () if settled else tuple(loose))
    return Texts(
        " | ".join(f"({branch.lark})" for branch in branches),
        tuple(loose),
        lambda text: any(branch.holds(text) for branch in branches),
    )


def _whole(pattern: str) -> str | None:
    """Lark regex of the texts in which `pattern`, in Rust's syntax, is found; None with anchors inside."""
    alternatives: list[str] = []
    for one in _split(pattern):
        begins, ends = one.startswith("^"), _ends_anchored(one)
        inner = one[begins : len(one) - ends]
        if any(found[0] in "^$" for found in _PIECE.finditer(inner)):
            return None
        alternatives.append(f"{'' if begins else '(?s:.*)'}(?:{inner}){'' if ends else '(?s:.*)'}")
    return regex("|".join(alternatives))


def _split(pattern: str) -> Iterable[str]:
    """The alternatives of a regex."""
    depth = start = 0
    for found in _PIECE.finditer(pattern):
        depth += {"(": 1, ")": -1}.get(found[0], 0)
        if found[0] == "|" and not depth:
            yield pattern[start : found.start()]
            start = found.end()
    yield pattern[start:]


def _ends_anchored(alternative: str) -> bool:
    pieces = [found[0] for found in _PIECE.finditer(alternative)]
    return pieces[-1:] == ["$"]


def _in_slashes(found: re.Match[str]) -> str:
    return {"/": r"\/", "\n": r"\n", "\\\n": r"\n"}.get(found[0], found[0])


_PIECE = re.compile(r"\\.|\[\^?(?:\\.|[^\]\\])*\]|.", re.DOTALL)
"""One escape, one class or one character of a regex that `translated` wrote."""

_SAYS_LITTLE = {
    "enum",
    "const",
    "type",
    "title",
    "description",
    "default",
    "examples",
    "deprecated",
    "$comment",
}
_ON_NUMBERS = {"minimum", "maximum", "exclusiveMinimum", "exclusiveMaximum", "multipleOf"}
_BEYOND = ("not", "if", "$dynamicRef")
