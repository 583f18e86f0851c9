"""Single values as Go's fmt package writes them: truth values, integers and strings, with flags, width and
precision. Floats are in floats.py; what is made of other values is in printing.py.

Each function returns None when the verb does not go with the value.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

from agentkit_server.gotemplate.floats import decimal_form, hexadecimal_form, shortest
from agentkit_server.gotemplate.literals import quoted
from agentkit_server.gotemplate.values import to_bytes

_BASES = {"v": "d", "d": "d", "b": "b", "o": "o", "O": "o", "x": "x", "X": "X"}
_PREFIXES = {"b": "0b", "x": "0x", "X": "0X"}
_LARGEST = 0x10FFFF
_UINT64 = (1 << 64) - 1


@dataclass(frozen=True, slots=True)
class Spec:
    """What stands between `%` and the end of a verb."""

    verb: str = "v"
    minus: bool = False
    plus: bool = False
    sharp: bool = False
    space: bool = False
    zero: bool = False
    width: int | None = None
    precision: int | None = None
    go_syntax: bool = False
    """`%#v`."""
    field_names: bool = False
    """`%+v`."""

    def pad(self, text: str, *, zero: bool = False) -> str:
        """To the width; on the left with zeros when these are wanted and make sense."""
        missing = (self.width or 0) - len(text)
        if missing <= 0:
            return text
        if self.minus:
            return text + " " * missing
        return ("0" if zero and self.zero else " ") * missing + text

    def as_value(self) -> Spec:
        """The same with `%v`, as a verb that does not fit shows its value."""
        return replace(self, verb="v")


def boolean(value: bool, spec: Spec) -> str | None:
    return spec.pad("true" if value else "false", zero=True) if spec.verb in "tv" else None


def integer(value: int, spec: Spec) -> str | None:
    if spec.verb in _BASES:
        return _digits(value, spec)
    code = value & _UINT64
    if spec.verb == "c":
        return spec.pad(_character(code), zero=True)
    if spec.verb == "q":
        return spec.pad(quoted(_character(code), ascii_only=spec.plus, quote="'"), zero=True)
    if spec.verb == "U":
        return spec.pad(_unicode(code, spec))
    return None


def _digits(value: int, spec: Spec) -> str:
    if spec.precision == 0 and value == 0:
        return " " * (spec.width or 0)
    sign = "-" if value < 0 else "+" if spec.plus else " " if spec.space else ""
    base = _BASES[spec.verb]
    digits = format(abs(value), base)
    if spec.precision is not None:
        digits = digits.zfill(spec.precision)
    elif spec.zero and not spec.minus and spec.width:
        digits = digits.zfill(spec.width - len(sign))
    if spec.sharp:
        octal = "" if digits.startswith("0") else "0"
        digits = (octal if base == "o" else _PREFIXES.get(base, "")) + digits
    if spec.verb == "O":
        digits = "0o" + digits
    return spec.pad(sign + digits)


def _character(code: int) -> str:
    return "\ufffd" if code > _LARGEST or 0xD800 <= code < 0xE000 else chr(code)


def _unicode(code: int, spec: Spec) -> str:
    text = f"U+{code:0{max(spec.precision or 0, 4)}X}"
    shown = spec.sharp and code <= _LARGEST and chr(code).isprintable()
    return f"{text} '{chr(code)}'" if shown else text


def string(text: str, spec: Spec) -> str | None:
    if spec.verb in "xX":
        return _hexadecimal(text, spec)
    if spec.verb not in "vsq":
        return None
    text = _cut(text, spec.precision) if spec.precision is not None else text
    if spec.verb == "q" or spec.go_syntax:
        text = _quoted(text, spec)
    return spec.pad(text, zero=True)


def _cut(text: str, length: int) -> str:
    return text if len(text) <= length else text[:length]


def _quoted(text: str, spec: Spec) -> str:
    if spec.sharp and _is_plain(text):
        return f"`{text}`"
    return quoted(text, ascii_only=spec.plus)


def _is_plain(text: str) -> bool:
    """Can stand between backquotes."""
    return not any(
        char in "`\x7f\ufeff" or (char < " " and char != "\t") or "\ud800" <= char <= "\udfff"
        for char in text
    )


def _hexadecimal(text: str, spec: Spec) -> str:
    data = to_bytes(text)
    data = data if spec.precision is None else data[: spec.precision]
    if not data:
        return spec.pad("", zero=True)
    prefix = ("0x" if spec.verb == "x" else "0X") if spec.sharp else ""
    digits = data.hex(" ") if spec.space else data.hex()
    digits = digits.upper() if spec.verb == "X" else digits
    if spec.space and prefix:
        digits = digits.replace(" ", f" {prefix}")
    return spec.pad(prefix + digits, zero=True)


def floating(value: float, spec: Spec) -> str | None:
    verb = "g" if spec.verb == "v" else "f" if spec.verb == "F" else spec.verb
    if verb not in "bgGxXfeE":
        return None
    precision = spec.precision
    if precision is None and verb in "feE":
        precision = 6
    if verb in "bxX":
        number = hexadecimal_form(value, verb, precision)
    elif precision is None:
        number = shortest(value)
        number = number.upper() if verb == "G" else number
    else:
        number = decimal_form(value, verb, precision)
    return _signed(number, replace(spec, verb=verb))


def _signed(number: str, spec: Spec) -> str:
    """With the sign and padding that `spec` asks for; zeros never pad infinity and NaN."""
    sign, number = (number[0], number[1:]) if number[0] in "+-" else ("+", number)
    if number[0] in "IN":
        sign = " " if spec.space and sign == "+" and not spec.plus else sign
        hidden = number == "NaN" and not spec.space and not spec.plus
        return spec.pad(number if hidden else sign + number)
    if spec.sharp and spec.verb != "b":
        number = _pointed(number, spec)
    if sign == "+" and not spec.plus:
        sign = " " if spec.space else ""
    missing = (spec.width or 0) - len(sign + number)
    if sign and spec.zero and not spec.minus and missing > 0:
        return sign + "0" * missing + number
    return spec.pad(sign + number, zero=True)


def _pointed(number: str, spec: Spec) -> str:
    """`number` with its decimal point, and the zeros behind it that `g` leaves away."""
    marks = "pP" if spec.verb in "xX" else "eE"
    split = next((at for at, char in enumerate(number) if char in marks), len(number))
    number, tail = number[:split], number[split:]
    wanted = 0
    if spec.verb in "gGx":
        wanted = 6 if spec.precision is None else spec.precision
        wanted -= len(number.replace(".", "").lstrip("0"))
    if "." not in number:
        wanted -= number == "0"
        number += "."
    return number + "0" * max(wanted, 0) + tail
