"""Arguments as an object with bare keys and delimited strings: `{city:<escape>Rome<escape>,days:3}`.

Keys stand in alphabetical order, whatever the schema's: so they do in everything these models were shown,
the declarations of tools included.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any, cast

from agentkit_server.turn.syntaxes.arguments import CallableTool
from agentkit_server.turn.syntaxes.pieces import Marks, quoted
from agentkit_server.turn.syntaxes.styles.delimited import Delimiter
from agentkit_server.turn.syntaxes.styles.json import written
from agentkit_server.turn.syntaxes.styles.literal_scanner import LiteralScanner, Reading
from agentkit_server.turn.syntaxes.styles.literals import Literals, Notation
from agentkit_server.turn.syntaxes.styles.parameters import KEY, parameters
from agentkit_server.turn.syntaxes.styles.subschema import Schema
from agentkit_server.turn.syntaxes.styles.text import texts


@dataclass(frozen=True, kw_only=True)
class BareObject:
    """FunctionGemma: BareObject(quote="<escape>"); Gemma 4: BareObject(quote='<|"|>'). The braces belong to
    the arguments.

    Where the quote is not a control token, a grammar leaves its first character out of strings with a
    pattern or a format, and out of the first `minLength` characters of others.
    """

    quote: str

    def fragment(self, rule: str, tool: CallableTool, marks: Marks) -> str:
        """Raises SchemaRefused for a required property whose name cannot stand bare."""
        literals = self._literals(rule, tool, marks)
        body = literals.entries(literals.root, "")
        return f'{rule}: "{{" {body} "}}"\n{"".join(literals.lines)}'

    def loose(self, tool: CallableTool) -> tuple[str, ...]:
        literals = self._literals("loose", tool, Marks({}))
        literals.entries(literals.root, "")
        return tuple(dict.fromkeys(literals.loose))

    def scanner(self, tool: CallableTool, marks: Marks) -> LiteralScanner:
        del tool
        return LiteralScanner(Reading(quote=self.quote), marks)

    def write(self, tool: CallableTool, arguments: Mapping[str, Any]) -> str:
        """Raises ValueError for a parameter that the tool does not declare, a key that cannot stand bare,
        and a string that contains the delimiter."""
        parameters(tool).ordered(arguments)
        return self._written(arguments)

    @cached_property
    def _delimiter(self) -> Delimiter:
        return Delimiter(self.quote)

    def _literals(self, rule: str, tool: CallableTool, marks: Marks) -> Literals:
        def string(name: str, schema: dict[str, Any]) -> tuple[str, tuple[str, ...]]:
            part = {key: schema[key] for key in schema if key in _ON_STRINGS}
            allowed = texts({"type": "string", **part}, True)
            assert allowed is not None
            inner = self._delimiter.fragment(f"{name}__text", allowed, marks, anywhere=True)
            return f"{name}: {marks.lark(self.quote)} {name}__text\n{inner}", allowed.loose

        def spelled(value: Any) -> str | None:
            try:
                return marks.lark(self._written(value))
            except ValueError:
                return None

        notation = Notation(
            string=string,
            spelled=spelled,
            key=lambda name: f'{quoted(name)} ":"' if _is_bare(name) else None,
            other_key=_other_key,
            null='"null"',
            true='"true"',
            false='"false"',
            comma='","',
            in_order=str.lower,
        )
        return Literals(notation, cast(Schema, tool.arguments.schema), rule)

    def _written(self, value: Any) -> str:
        match value:
            case str():
                if self.quote in value:
                    raise ValueError(f"{value!r} contains {self.quote!r}, which closes it; leave that out")
                return f"{self.quote}{value}{self.quote}"
            case Mapping():
                entries = cast(Mapping[str, Any], value)
                parts = [
                    f"{_bare(name)}:{self._written(entries[name])}" for name in sorted(entries, key=str.lower)
                ]
                return f"{{{','.join(parts)}}}"
            case list():
                return f"[{','.join(map(self._written, cast(list[Any], value)))}]"
            case _:
                return written(value)


def _other_key(rule: str, declared: Sequence[str]) -> str:
    terminal = rule.upper()
    but = f" & ~({' | '.join(map(quoted, declared))})" if declared else ""
    return f'{rule}: {terminal} ":"\n{terminal}: /{KEY}/{but}\n'


def _bare(name: str) -> str:
    if not _is_bare(name):
        raise ValueError(f"{name!r} cannot stand as a key without quotes; rename it")
    return name


def _is_bare(name: str) -> bool:
    return bool(name) and not any(char in " \t\r\n{}[],:()<'\"" for char in name)


_ON_STRINGS = frozenset({"minLength", "maxLength", "pattern", "format"})
