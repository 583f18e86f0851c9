"""Tagged parameters read from a stream: which one it is, then its value, until no other parameter begins."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

from agentkit_server.turn.syntaxes.pieces import Marks
from agentkit_server.turn.syntaxes.styles.delimited import DelimitedScanner
from agentkit_server.turn.syntaxes.styles.json import written
from agentkit_server.turn.syntaxes.styles.parameters import Parameter, Parameters
from agentkit_server.turn.syntaxes.styles.tagged_value import (
    CDataScanner,
    ValueScanner,
    in_cdata,
    raw_texts,
    value_scanner,
)

if TYPE_CHECKING:
    from agentkit_server.turn.syntaxes.styles.tagged import Tagged


class TaggedScanner:
    """Reads the arguments of one call."""

    def __init__(self, style: Tagged, known: Parameters, marks: Marks) -> None:
        self._style = style
        self._known = known
        self._marks = marks
        self._before = marks.text(style.before)
        self._empty = marks.text(style.empty)
        self._end = marks.text(style.end)
        self._afters: Mapping[str, frozenset[str]] = {
            marks.text(after): kinds for after, kinds in style.kinds.items()
        }
        self._openings = self._declared_openings()
        self._step = self._between
        self._held = ""
        self._out: list[str] = []
        self._written = 0
        self._rest: str | None = None
        self._value: ValueScanner | None = None

    def feed(self, text: str) -> tuple[str, str | None]:
        self._held += text
        while self._rest is None and self._step():
            pass
        piece = "".join(self._out)
        self._out.clear()
        return piece, self._rest

    def _declared_openings(self) -> dict[str, tuple[Parameter, frozenset[str]]]:
        return {
            one.name + self._marks.text(after): (one, kinds)
            for one in self._known.declared
            for after, kinds in self._style.readings(one)
        }

    def _between(self) -> bool:
        """Before a parameter, or behind the last one. True when there is more to read."""
        held = self._held
        if held.startswith(self._before):
            self._held = held[len(self._before) :]
            self._step = self._key
            return True
        nothing_yet = self._empty if not self._written else ""
        if nothing_yet and held.startswith(nothing_yet):
            return self._over(held[len(nothing_yet) :])
        if self._before.startswith(held) or (nothing_yet and nothing_yet.startswith(held)):
            return False
        return self._over(held)

    def _over(self, rest: str) -> bool:
        self._out.append("}" if self._written else "{}")
        self._rest = rest
        return False

    def _key(self) -> bool:
        held = self._held
        for opening, (parameter, kinds) in self._openings.items():
            if held.startswith(opening):
                return self._begin(parameter, kinds, held[len(opening) :])
        if any(opening.startswith(held) for opening in self._openings):
            return False
        found = [(held.find(after), after) for after in self._afters if after in held]
        if not found:
            return False
        at, after = min(found)
        parameter = self._known.named(held[:at]) or Parameter(held[:at], True)
        own = {self._marks.text(text): kinds for text, kinds in self._style.readings(parameter)}
        return self._begin(parameter, own.get(after, self._afters[after]), held[at + len(after) :])

    def _begin(self, parameter: Parameter, kinds: frozenset[str], rest: str) -> bool:
        self._out.append(f"{', ' if self._written else '{'}{written(parameter.name)}: ")
        self._written += 1
        delimiter = self._style.delimiter
        self._value = value_scanner(parameter, kinds, delimiter, self._marks)
        if self._style.cdata and "string" in kinds:
            strings = raw_texts(parameter, frozenset({"string"}))
            wrapped = DelimitedScanner(in_cdata(delimiter), strings, self._marks)
            self._value = CDataScanner(self._value, wrapped)
        self._held = rest
        self._step = self._in_value
        return bool(rest)

    def _in_value(self) -> bool:
        assert self._value is not None
        piece, rest = self._value.feed(self._held)
        self._out.append(piece)
        self._held = rest or ""
        if rest is None:
            return False
        self._step = self._behind_value
        return True

    def _behind_value(self) -> bool:
        if len(self._held) < len(self._end) and self._end.startswith(self._held):
            return False
        self._held = self._held.removeprefix(self._end)
        self._step = self._between
        return True
