"""Values as Go's fmt package prints them, those that are made of others included."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import replace
from typing import Any

from agentkit_server.gotemplate import formatting
from agentkit_server.gotemplate.formatting import Spec
from agentkit_server.gotemplate.limits import Budget
from agentkit_server.gotemplate.values import (
    Fault,
    Kind,
    Printed,
    as_float,
    bare,
    joined,
    kind,
    sorted_items,
    type_name,
)

NIL = "<nil>"
_PLAIN = Spec()
_STEPS = 2
"""What each value costs: about twice what a step of the template does."""


class Printer:
    """Collects pieces of one text, within the bounds of `budget`."""

    def __init__(self, budget: Budget) -> None:
        self._budget = budget
        self._pieces: list[str] = []

    @property
    def text(self) -> str:
        return joined("".join(self._pieces))

    def write(self, text: str) -> None:
        self._budget.build(len(text))
        self._pieces.append(text)

    def argument(self, value: Any, spec: Spec) -> None:
        """An argument of a function."""
        if spec.verb == "T":
            shown = NIL if value is None else type_name(value)
            self.write(formatting.string(shown, replace(spec, verb="s")) or "")
        elif value is not None:
            self.value(value, spec)
        elif spec.verb == "v":
            self.write(spec.pad(NIL, zero=True))
        else:
            self.write(f"%!{spec.verb}({NIL})")

    def value(self, value: Any, spec: Spec, *, methods: bool = True) -> None:
        """An argument, or a value inside of one. `methods` says whether a `String` method counts."""
        self._budget.step(_STEPS)
        if isinstance(value, Printed):
            if methods and spec.verb in "vsxXq" and not spec.go_syntax:
                value = value.text
            value = bare(value)
        found = kind(value)
        if found in (Kind.SLICE, Kind.MAP, Kind.STRUCT):
            self._budget.enter()
            self._composite(value, found, spec, methods)
            self._budget.leave()
        elif found is Kind.NIL:
            self.write("interface {}(nil)" if spec.go_syntax else NIL)
        else:
            written = self._single(value, found, spec)
            self._bad_verb(value, spec) if written is None else self.write(written)

    def _single(self, value: Any, found: Kind, spec: Spec) -> str | None:
        if found is Kind.STRING:
            if spec.verb in "qxX" or spec.go_syntax:
                self._budget.scan(len(value))
            return formatting.string(value, spec)
        if found is Kind.INT:
            return formatting.integer(value, spec)
        if found is Kind.BOOL:
            return formatting.boolean(value, spec)
        if found is Kind.FLOAT:
            return formatting.floating(as_float(value), spec)
        raise Fault(f"can't print a value of type {type_name(value)}")

    def _bad_verb(self, value: Any, spec: Spec) -> None:
        self.write(f"%!{spec.verb}({type_name(value)}=")
        self.value(value, spec.as_value(), methods=False)
        self.write(")")

    def _composite(self, value: Any, found: Kind, spec: Spec, methods: bool) -> None:
        if spec.verb in "pw":
            # Addresses are not shown, and errors are no values.
            self._bad_verb(value, spec)
            return
        self.write(self._opening(value, found, spec))
        for position, (name, item) in enumerate(self._items(value, found, spec)):
            if position:
                self.write(", " if spec.go_syntax else " ")
            if found is Kind.MAP:
                self.value(name, spec)
            if name is not None:
                self.write(f"{'' if found is Kind.MAP else name}:")
            self.value(item, spec, methods=methods)
        self.write("]" if found is not Kind.STRUCT and not spec.go_syntax else "}")

    def _opening(self, value: Any, found: Kind, spec: Spec) -> str:
        if spec.go_syntax:
            return type_name(value) + "{"
        return {Kind.SLICE: "[", Kind.MAP: "map[", Kind.STRUCT: "{"}[found]

    def _items(self, value: Any, found: Kind, spec: Spec) -> Iterable[tuple[str | None, Any]]:
        """With the name that stands before each, if one does."""
        if found is Kind.SLICE:
            return ((None, item) for item in value)
        if found is Kind.MAP:
            self._budget.step(len(value))
            return sorted_items(value)
        named = spec.go_syntax or spec.field_names
        return ((name if named else None, item) for name, item in value.fields.items())


def printed(values: Sequence[Any], budget: Budget) -> str:
    """As Go's Sprint: a space between two values of which neither is a string."""
    printer = Printer(budget)
    before_is_text = True
    for position, value in enumerate(values):
        is_text = kind(value) is Kind.STRING and not isinstance(value, Printed)
        if position and not is_text and not before_is_text:
            printer.write(" ")
        printer.argument(value, _PLAIN)
        before_is_text = is_text
    return printer.text


def printed_line(values: Sequence[Any], budget: Budget) -> str:
    """As Go's Sprintln: a space between any two values, and a line break after the last."""
    printer = Printer(budget)
    for position, value in enumerate(values):
        if position:
            printer.write(" ")
        printer.argument(value, _PLAIN)
    printer.write("\n")
    return printer.text
