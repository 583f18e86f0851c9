"""Floating point numbers in the notations of Go's strconv, with their sign only when it is negative or they
are infinite."""

from __future__ import annotations

from math import isfinite, isinf

_LARGE = 6
"""The shortest form has an exponent from here on, and below -4."""
_BITS = 52


def _special(value: float) -> str:
    return ("-Inf" if value < 0 else "+Inf") if isinf(value) else "NaN"


def shortest(value: float) -> str:
    """The fewest digits that are read back as the same number."""
    if not isfinite(value):
        return _special(value)
    sign, digits, exponent = _decimal(value)
    if exponent < -4 or exponent >= _LARGE:
        mantissa = digits[0] + ("." + digits[1:] if len(digits) > 1 else "")
        return f"{sign}{mantissa}e{'-' if exponent < 0 else '+'}{abs(exponent):02d}"
    if exponent < 0:
        return f"{sign}0.{'0' * (-exponent - 1)}{digits}"
    whole = digits[: exponent + 1].ljust(exponent + 1, "0")
    fraction = digits[exponent + 1 :]
    return f"{sign}{whole}.{fraction}" if fraction else sign + whole


def _decimal(value: float) -> tuple[str, str, int]:
    """Sign, significant digits, and the power of ten of the first of them."""
    text = repr(value)
    sign, text = ("-", text[1:]) if text[0] == "-" else ("", text)
    mantissa, _, power = text.partition("e")
    whole, _, fraction = mantissa.partition(".")
    digits = (whole + fraction).lstrip("0")
    exponent = int(power or 0) + len(whole) - 1
    exponent -= len(whole + fraction) - len(digits)
    digits = digits.rstrip("0")
    return (sign, digits, exponent) if digits else (sign, "0", 0)


def decimal_form(value: float, verb: str, precision: int) -> str:
    """With verb e, E, f, g or G."""
    if not isfinite(value):
        return _special(value)
    return f"%.{precision}{verb}" % value


def hexadecimal_form(value: float, verb: str, precision: int | None) -> str:
    """With verb x or X, or b: mantissa and exponent of the number itself."""
    if not isfinite(value):
        return _special(value)
    sign, mantissa, exponent = _binary(value)
    if verb == "b":
        return f"{sign}{mantissa}p{exponent - _BITS:+d}"
    if mantissa == 0:
        digits = "0" * (precision or 0)
        lead, exponent = 0, 0
    else:
        while mantissa < 1 << _BITS:
            mantissa, exponent = mantissa << 1, exponent - 1
        lead, digits, exponent = _rounded(mantissa, exponent, precision)
    point = "." if digits else ""
    text = f"{sign}0x{lead}{point}{digits}p{'-' if exponent < 0 else '+'}{abs(exponent):02d}"
    return text.upper() if verb == "X" else text


def _binary(value: float) -> tuple[str, int, int]:
    """Sign, mantissa of 53 bits at most, and exponent: the number is mantissa * 2 ** (exponent - 52)."""
    text = value.hex()
    sign, text = ("-", text[1:]) if text[0] == "-" else ("", text)
    mantissa, _, power = text[2:].partition("p")
    return sign, int(mantissa.replace(".", "").ljust(14, "0"), 16), int(power)


def _rounded(mantissa: int, exponent: int, precision: int | None) -> tuple[int, str, int]:
    """Leading digit, the others, and exponent."""
    if precision is None:
        return 1, f"{mantissa & ((1 << _BITS) - 1):013x}".rstrip("0"), exponent
    dropped = max(_BITS - 4 * precision, 0)
    kept, rest = mantissa >> dropped, mantissa & ((1 << dropped) - 1)
    half = (1 << dropped) >> 1
    kept += dropped > 0 and (rest > half or (rest == half and kept & 1 == 1))
    if kept >> (_BITS - dropped) > 1:
        kept, exponent = kept >> 1, exponent + 1
    digits = f"{kept & ((1 << (_BITS - dropped)) - 1):0{(_BITS - dropped) // 4}x}" if precision else ""
    return 1, digits.ljust(precision, "0"), exponent
