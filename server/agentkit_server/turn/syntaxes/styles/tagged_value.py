"""One tagged value read from a stream into JSON: raw text as a string, JSON as it stands, or whichever of
the two the text turns out to be."""

from __future__ import annotations

import json
import re
from typing import Any, NoReturn, Protocol

from agentkit_server.turn.schema.prepare import prepare
from agentkit_server.turn.syntaxes.pieces import Marks
from agentkit_server.turn.syntaxes.styles.delimited import DelimitedScanner, Delimiter
from agentkit_server.turn.syntaxes.styles.json import JSONScanner
from agentkit_server.turn.syntaxes.styles.parameters import Parameter
from agentkit_server.turn.syntaxes.styles.subschema import only, type_of
from agentkit_server.turn.syntaxes.styles.text import NOTHING, Texts, regex, texts


class ValueScanner(Protocol):
    """Reads a value and its closing delimiter."""

    def feed(self, text: str) -> tuple[str, str | None]:
        """(JSON text that is certain now, what follows the delimiter or None)."""
        ...


def value_scanner(
    parameter: Parameter, kinds: frozenset[str], delimiter: Delimiter, marks: Marks
) -> ValueScanner:
    """A reader of `parameter`'s value when it is of one of the types `kinds`."""
    if "string" not in kinds:
        return JSONValueScanner(delimiter, marks)
    text = DelimitedScanner(delimiter, raw_texts(parameter, kinds), marks)
    return StringScanner(text) if len(kinds) == 1 else EitherScanner(parameter, kinds, text)


def raw_texts(parameter: Parameter, kinds: frozenset[str]) -> Texts:
    """The texts of `parameter`'s values of the types `kinds`, strings among them."""
    found = texts(only(parameter.schema, kinds, parameter.schema), parameter.schema)
    return NOTHING if found is None else found


def read_as(text: str, parameter: Parameter, kinds: frozenset[str]) -> Any:
    """The value that `text` stands for where a string and other types are possible."""
    if text != text.strip() or (len(text) > _LONGEST_SCALAR and text[0] not in _CONTAINERS):
        return text
    try:
        value: Any = json.loads(text, parse_constant=_no_json)
    except (ValueError, RecursionError):
        return text
    if isinstance(value, str) or type_of(value) not in kinds or prepare(parameter.schema).problems(value):
        return text
    return value


class StringScanner:
    """Raw text as a JSON string, piece by piece."""

    def __init__(self, text: DelimitedScanner) -> None:
        self._text = text
        self._opened = False

    def feed(self, text: str) -> tuple[str, str | None]:
        inside, rest = self._text.feed(text)
        opening = "" if self._opened else '"'
        self._opened = True
        return opening + escaped(inside) + ("" if rest is None else '"'), rest


class JSONValueScanner:
    """JSON other than a string, as it stands."""

    def __init__(self, delimiter: Delimiter, marks: Marks) -> None:
        self._close = marks.text(delimiter.literal)
        self._nested: JSONScanner | None = None
        self._begun = False
        self._held: str | None = None

    def feed(self, text: str) -> tuple[str, str | None]:
        piece = ""
        if not self._begun and text:
            self._begun = True
            self._nested = JSONScanner() if text[0] in "{[" else None
        if self._held is None:
            piece, self._held = self._value(text)
        else:
            self._held += text
        if self._held is None or len(self._held) < len(self._close):
            return piece, None
        return piece, self._held.removeprefix(self._close)

    def _value(self, text: str) -> tuple[str, str | None]:
        if self._nested is not None:
            return self._nested.feed(text)
        at = text.find(self._close[0])
        return (text, None) if at < 0 else (text[:at], text[at:])


class EitherScanner:
    """A string or something else. It is held back for as long as it may be something else."""

    def __init__(self, parameter: Parameter, kinds: frozenset[str], text: DelimitedScanner) -> None:
        self._parameter = parameter
        self._kinds = kinds
        self._text = text
        self._held: list[str] = []
        self._first = ""
        self._length = 0
        self._is_string = False

    def feed(self, text: str) -> tuple[str, str | None]:
        inside, rest = self._text.feed(text)
        if self._is_string:
            return escaped(inside) + ("" if rest is None else '"'), rest
        self._held.append(inside)
        self._length += len(inside)
        self._first = self._first or inside[:1]
        if rest is not None:
            whole = "".join(self._held)
            is_text = isinstance(read_as(whole, self._parameter, self._kinds), str)
            return (f'"{escaped(whole)}"' if is_text else whole), rest
        if self._may_be_more_than_text():
            return "", None
        self._is_string = True
        return '"' + escaped("".join(self._held)), None

    def _may_be_more_than_text(self) -> bool:
        if not self._first:
            return True
        if self._first in _CONTAINERS:
            return _CONTAINERS[self._first] in self._kinds
        if self._length > _LONGEST_SCALAR:
            return False
        begun = "".join(self._held)
        return any(
            kind in self._kinds and pattern.fullmatch(begun) is not None
            for kind, pattern in _BEGINNINGS.items()
        )


class CDataScanner:
    """A string in a CDATA section, or what `plain` reads."""

    def __init__(self, plain: ValueScanner, wrapped: DelimitedScanner) -> None:
        self._plain = plain
        self._wrapped = StringScanner(wrapped)
        self._chosen: ValueScanner | None = None
        self._held = ""

    def feed(self, text: str) -> tuple[str, str | None]:
        if self._chosen is None:
            self._held += text
            if len(self._held) < len(CDATA) and CDATA.startswith(self._held):
                return "", None
            wrapped = self._held.startswith(CDATA)
            self._chosen = self._wrapped if wrapped else self._plain
            text = self._held.removeprefix(CDATA)
        return self._chosen.feed(text)


def in_cdata(delimiter: Delimiter) -> Delimiter:
    """What closes text in a CDATA section before `delimiter`."""
    return Delimiter(f"]]>{delimiter.literal}")


def outside_cdata(kinds: frozenset[str]) -> Texts:
    """The texts that may stand outside a CDATA section, among them all lists and objects, which a section
    would make strings of."""
    openings = (re.escape(char) for char, kind in _CONTAINERS.items() if kind in kinds)
    return Texts(regex("|".join([r"[^<&\n]*", *(f"{opening}(?s:.*)" for opening in openings)])))


def escaped(text: str) -> str:
    """`text` as it stands inside a JSON string."""
    return json.dumps(text, ensure_ascii=False)[1:-1]


def _no_json(constant: str) -> NoReturn:
    raise ValueError(f"{constant!r} is no JSON")


CDATA = "<![CDATA["
_LONGEST_SCALAR = 4096
"""Characters; longer text is a string unless it begins like a list or an object."""
_CONTAINERS = {"{": "object", "[": "array"}
_BEGINNINGS = {
    "null": re.compile("n(u(ll?)?)?"),
    "boolean": re.compile("t(r(ue?)?)?|f(a(l(se?)?)?)?"),
    "number": re.compile(r"-?(0|[1-9][0-9]*)?(\.[0-9]*)?([eE][+-]?[0-9]*)?"),
}
