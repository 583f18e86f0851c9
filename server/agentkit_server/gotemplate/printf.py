"""Go's Sprintf: format strings. What does not fit is no error but shows, as in `%!d(string=hi)`."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any

from agentkit_server.gotemplate.formatting import Spec
from agentkit_server.gotemplate.limits import Budget
from agentkit_server.gotemplate.printing import NIL, Printer
from agentkit_server.gotemplate.values import Kind, bare, kind, type_name

_WIDEST = 1_000_000
"""Go's own bound of widths and precisions. In a format, a last digit may go beyond it."""
_FLAGS = {"-": "minus", "+": "plus", "#": "sharp", " ": "space", "0": "zero"}
_FLAG_RUN = re.compile("[-+# 0]*")
_DIGITS = re.compile("[0-9]+")
_INDEX = re.compile(r"\[([^\]]*)\]")


def formatted(template: str, arguments: Sequence[Any], budget: Budget) -> str:
    printer = Printer(budget)
    _Formatting(template, arguments, printer).run()
    return printer.text


class _Formatting:
    def __init__(self, template: str, arguments: Sequence[Any], printer: Printer) -> None:
        self._template = template
        self._arguments = arguments
        self._printer = printer
        self._at = 0
        self._argument = 0
        """The number of the next one."""
        self._reordered = False
        """Some argument was named by its number."""
        self._indexed = False
        """What was just read is such a number."""
        self._good = True
        """All such numbers of this verb exist."""

    def run(self) -> None:
        while (percent := self._template.find("%", self._at)) >= 0:
            self._printer.write(self._template[self._at : percent])
            self._at = percent + 1
            self._directive()
        self._printer.write(self._template[self._at :])
        if not self._reordered and self._argument < len(self._arguments):
            self._extra()

    def _directive(self) -> None:
        """From behind the `%` to the end of the verb."""
        self._good, self._indexed = True, False
        options: dict[str, Any] = {_FLAGS[flag]: True for flag in self._matched(_FLAG_RUN)}
        self._index()
        self._read_width(options)
        if self._at + 1 < len(self._template) and self._template[self._at] == ".":
            self._at += 1
            self._good = self._good and not self._indexed
            self._index()
            self._read_precision(options)
        if not self._indexed:
            self._index()
        if self._at >= len(self._template):
            self._printer.write("%!(NOVERB)")
            return
        verb = self._template[self._at]
        self._at += 1
        self._verb(verb, options)

    def _verb(self, verb: str, options: dict[str, Any]) -> None:
        if verb == "%":
            self._printer.write("%")
        elif not self._good:
            self._printer.write(f"%!{verb}(BADINDEX)")
        elif self._argument >= len(self._arguments):
            self._printer.write(f"%!{verb}(MISSING)")
        else:
            if verb == "v":
                options["go_syntax"] = options.pop("sharp", False)
                options["field_names"] = options.pop("plus", False)
            self._printer.argument(self._arguments[self._argument], Spec(verb, **options))
            self._argument += 1

    def _matched(self, pattern: re.Pattern[str]) -> str:
        match = pattern.match(self._template, self._at)
        self._at = match.end() if match else self._at
        return match.group() if match else ""

    def _index(self) -> None:
        """The number of an argument, `[2]`, if one stands here."""
        self._indexed = False
        if self._template[self._at : self._at + 1] != "[":
            return
        self._reordered = True
        match = _INDEX.match(self._template, self._at)
        inside = match.group(1) if match else ""
        self._at += len(match.group()) if match else 1
        self._indexed = bool(_DIGITS.fullmatch(inside)) and len(inside) < 8
        if self._indexed and 1 <= int(inside) <= len(self._arguments):
            self._argument = int(inside) - 1
        else:
            self._good = False

    def _read_width(self, options: dict[str, Any]) -> None:
        if self._template[self._at : self._at + 1] == "*":
            width = self._from_argument()
            if width is None:
                self._printer.write("%!(BADWIDTH)")
            elif width < 0:
                options.update(width=-width, minus=True, zero=False)
            else:
                options["width"] = width
            return
        width = self._number()
        if width is not None:
            options["width"] = width
            self._good = self._good and not self._indexed

    def _read_precision(self, options: dict[str, Any]) -> None:
        if self._template[self._at : self._at + 1] == "*":
            precision = self._from_argument()
            if precision is None or precision < 0:
                self._printer.write("%!(BADPREC)")
            else:
                options["precision"] = precision
            return
        options["precision"] = self._number() or 0

    def _number(self) -> int | None:
        """Digits, if there are any. A number that is too large swallows the rest of the format."""
        digits = self._matched(_DIGITS)
        if len(digits) > 9 or int(digits[:-1] or 0) > _WIDEST:
            self._at = len(self._template)
            return None
        return int(digits) if digits else None

    def _from_argument(self) -> int | None:
        """What `*` stands for; None where it is no integer, or too large a one."""
        self._at += 1
        self._indexed = False
        if self._argument >= len(self._arguments):
            return None
        value = bare(self._arguments[self._argument])
        self._argument += 1
        return value if kind(value) is Kind.INT and abs(value) <= _WIDEST else None

    def _extra(self) -> None:
        self._printer.write("%!(EXTRA ")
        for position, value in enumerate(self._arguments[self._argument :]):
            if position:
                self._printer.write(", ")
            if value is None:
                self._printer.write(NIL)
            else:
                self._printer.write(f"{type_name(value)}=")
                self._printer.argument(value, Spec())
        self._printer.write(")")
