"""Arguments as Python keyword arguments, what stands between the parentheses: `city="Rome", days=3`.

Inside dicts these models write JSON (`true`, `null`), so both spellings of the constants are understood
everywhere, and allowed by the grammar.
"""

from __future__ import annotations

import keyword
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, cast

from agentkit_server.turn.schema.formats import PATTERNS
from agentkit_server.turn.syntaxes.arguments import CallableTool
from agentkit_server.turn.syntaxes.pieces import Marks, quoted
from agentkit_server.turn.syntaxes.styles.json import written
from agentkit_server.turn.syntaxes.styles.literal_scanner import LiteralScanner, Reading
from agentkit_server.turn.syntaxes.styles.literals import Literals, Notation
from agentkit_server.turn.syntaxes.styles.parameters import KEY, arranged, parameters
from agentkit_server.turn.syntaxes.styles.python_string import ESCAPE
from agentkit_server.turn.syntaxes.styles.subschema import Schema
from agentkit_server.turn.syntaxes.styles.text import regex, texts


@dataclass(frozen=True)
class Keywords:
    """LFM2. Strings in either quote, lists, dicts, numbers as in JSON, one space at most after `,` and `:`.

    A string with a `pattern` or a `format` is written without escapes and without its own quote; a value
    that needs them cannot come from a grammar.
    """

    def fragment(self, rule: str, tool: CallableTool, marks: Marks) -> str:
        """Raises SchemaRefused for a required parameter that is no Python identifier."""
        del marks
        literals = _literals(rule, tool)
        body = literals.entries(literals.root, "", notation=_KEYWORDS)
        return f"{rule}: {body or quoted('')}\n{''.join(literals.lines)}"

    def loose(self, tool: CallableTool) -> tuple[str, ...]:
        literals = _literals("loose", tool)
        literals.entries(literals.root, "", notation=_KEYWORDS)
        return tuple(dict.fromkeys(literals.loose))

    def scanner(self, tool: CallableTool, marks: Marks) -> LiteralScanner:
        del tool
        return LiteralScanner(Reading(keywords=True), marks)

    def write(self, tool: CallableTool, arguments: Mapping[str, Any]) -> str:
        """Raises ValueError for a parameter that the tool does not declare, or that is no identifier."""
        parts: list[str] = []
        for one, value in parameters(tool).ordered(arguments):
            if not _is_keyword(one.name):
                raise ValueError(f"{one.name!r} is no Python identifier; rename the parameter")
            parts.append(f"{one.name}={_literal(arranged(value, one.schema, one.schema))}")
        return ", ".join(parts)


def _literals(rule: str, tool: CallableTool) -> Literals:
    return Literals(_DICTS, cast(Schema, tool.arguments.schema), rule)


def _literal(value: Any) -> str:
    match value:
        case None | bool():
            return str(value)
        case list():
            return f"[{', '.join(map(_literal, cast(list[Any], value)))}]"
        case _:
            return written(value)


def _string(rule: str, schema: dict[str, Any]) -> tuple[str, tuple[str, ...]]:
    least, most = schema.get("minLength", 0), schema.get("maxLength", "")
    named = schema.get("format") in PATTERNS
    allowed = texts({"type": "string", **{key: schema[key] for key in schema if key in _ON_STRINGS}}, True)
    loose = () if allowed is None else allowed.loose
    quotes: list[str] = []
    for quote in ("'", '"'):
        if allowed is not None and allowed.lark is not None and ("pattern" in schema or named):
            quotes.append(rf"{quoted(quote)} (({allowed.lark}) & /[^{quote}\\]*/) {quoted(quote)}")
        else:
            counted = f"{{{least},{most}}}" if allowed is not None and allowed.lark else "*"
            quotes.append(regex(rf"{quote}([^{quote}\\]|{ESCAPE}){counted}{quote}"))
    terminal = rule.upper()
    return f"{rule}: {terminal}\n{terminal}: {' | '.join(quotes)}\n", loose


def _spelled(value: Any) -> str:
    match value:
        case str():
            return " | ".join(quoted(text) for text in _quotings(value))
        case None:
            return _DICTS.null
        case bool():
            return _DICTS.true if value else _DICTS.false
        case _:
            return quoted(_literal(value))


def _quotings(text: str) -> tuple[str, str]:
    double = written(text)
    return double, "'" + double[1:-1].replace('\\"', '"').replace("'", "\\'") + "'"


def _other_keyword(rule: str, declared: Sequence[str]) -> str:
    taken = " | ".join(map(quoted, (*declared, *keyword.kwlist)))
    terminal = rule.upper()
    return f'{rule}: {terminal} "="\n{terminal}: /[A-Za-z_][A-Za-z0-9_]{{0,63}}/ & ~({taken})\n'


def _other_key(rule: str, declared: Sequence[str]) -> str:
    terminal = rule.upper()
    but = f" & ~({' | '.join(map(quoted, declared))})" if declared else ""
    inner = f"(/{KEY}/{but})"
    options = " | ".join(f"{quoted(quote)} {inner} {quoted(quote)}" for quote in "'\"")
    return f"{rule}: {terminal} {_COLON}\n{terminal}: {options}\n"


def _keyword(name: str) -> str | None:
    return quoted(f"{name}=") if _is_keyword(name) else None


def _is_keyword(name: str) -> bool:
    return re.fullmatch(r"[^\W\d]\w*", name) is not None


_COLON = "/: ?/"
_ON_STRINGS = frozenset({"minLength", "maxLength", "pattern", "format"})

_DICTS = Notation(
    string=_string,
    spelled=_spelled,
    key=lambda name: f"({' | '.join(map(quoted, _quotings(name)))}) {_COLON}",
    other_key=_other_key,
    null='("None" | "null")',
    true='("True" | "true")',
    false='("False" | "false")',
    comma="/, ?/",
)
_KEYWORDS = replace(
    _DICTS,
    key=_keyword,
    other_key=_other_keyword,
)

PYTHON = Keywords()
