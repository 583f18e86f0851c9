"""Constants as Go writes them: strings, characters, numbers; and strings written as Go constants.

Every function raises Fault for what Go would not read.
"""

from __future__ import annotations

import re
from math import isinf

from agentkit_server.gotemplate.values import Fault, from_bytes, to_bytes

_SIMPLE = {"a": 7, "b": 8, "f": 12, "n": 10, "r": 13, "t": 9, "v": 11, "\\": 92}
_ESCAPE = re.compile(r"\\(?:x([0-9a-fA-F]{2})|([0-7]{3})|u([0-9a-fA-F]{4})|U([0-9a-fA-F]{8})|(.))", re.DOTALL)
_INTEGER = re.compile(r"[+-]?(?:0[xX]_?[\da-fA-F]+|0[bB]_?[01]+|0[oO]_?[0-7]+|0[0-7]*|[1-9]\d*)", re.ASCII)
_UNDERSCORE = re.compile(r"(?<=[\da-fA-F])_(?=[\da-fA-F])", re.ASCII)
_SHORT = {code: rf"\{letter}" for letter, code in _SIMPLE.items() if letter != "\\"}


def unquoted(source: str) -> str:
    """The text of a string constant, in double quotes or backquotes."""
    if source[0] == "`":
        return source[1:-1].replace("\r", "")
    return from_bytes(b"".join(_pieces(source[1:-1], '"')))


def character(source: str) -> int:
    """The number of a character constant, which is in single quotes."""
    body = source[1:-1]
    escape = _ESCAPE.fullmatch(body)
    if escape is not None:
        value = _escaped(escape, "'")
        return value[0] if isinstance(value, bytes) else ord(value)
    if len(body) != 1 or body in "\\'":
        raise Fault(f"malformed character constant: {source}")
    return ord(body)


def _pieces(body: str, quote: str) -> list[bytes]:
    pieces: list[bytes] = []
    at = 0
    while at < len(body):
        if body[at] != "\\":
            stop = body.find("\\", at)
            stop = len(body) if stop < 0 else stop
            pieces.append(to_bytes(body[at:stop]))
            at = stop
            continue
        escape = _ESCAPE.match(body, at)
        if escape is None:
            raise Fault("invalid syntax in a string constant: it ends in a backslash")
        value = _escaped(escape, quote)
        pieces.append(value if isinstance(value, bytes) else value.encode())
        at = escape.end()
    return pieces


def _escaped(escape: re.Match[str], quote: str) -> bytes | str:
    """A byte, or a character."""
    hexadecimal, octal, short, long, single = escape.groups()
    if hexadecimal:
        return bytes([int(hexadecimal, 16)])
    if octal and int(octal, 8) < 256:
        return bytes([int(octal, 8)])
    if single and (single == quote or single in _SIMPLE):
        return chr(_SIMPLE.get(single, ord(single)))
    code = int(short or long or "110000", 16)
    if code > 0x10FFFF or 0xD800 <= code < 0xE000:
        raise Fault(f"invalid syntax in a constant: {escape.group()!r}")
    return chr(code)


def number(source: str) -> int | float:
    """An integer of 64 bits, or a float. Raises Fault for imaginary numbers too, which are not built."""
    if source.endswith("i"):
        raise Fault(f"imaginary numbers are not supported: {source}")
    plain = _UNDERSCORE.sub("", source)
    if _INTEGER.fullmatch(plain):
        return _integer(plain)
    if not re.search(r"[.eEpP]", plain):
        raise Fault(f"illegal number syntax: {quoted(source)}")
    try:
        value = float.fromhex(plain) if _is_hexadecimal(plain) else float(plain)
    except (ValueError, OverflowError):
        raise Fault(f"illegal number syntax: {quoted(source)}") from None
    if isinf(value):
        raise Fault(f"illegal number syntax: {quoted(source)}")
    return value


def _integer(source: str) -> int:
    sign, digits = (source[0], source[1:]) if source[0] in "+-" else ("", source)
    octal = re.fullmatch(r"0\d+", digits, re.ASCII)
    try:
        value = int(sign + digits.replace("_", ""), 8 if octal else 0)
    except ValueError:
        # Python reads no more than some thousand digits.
        value = 1 << 63
    if not -(1 << 63) <= value < 1 << 63:
        raise Fault(f"{source[:40]} overflows int")
    return value


def _is_hexadecimal(source: str) -> bool:
    if not source.lstrip("+-").lower().startswith("0x"):
        return False
    if "p" not in source.lower():
        raise ValueError(source)
    return True


def quoted(text: str, *, ascii_only: bool = False, quote: str = '"') -> str:
    """`text` as a Go string constant."""
    return quote + "".join(_written(char, ascii_only, quote) for char in text) + quote


def _written(char: str, ascii_only: bool, quote: str) -> str:
    code = ord(char)
    if char in (quote, "\\"):
        return "\\" + char
    if char.isprintable() and (code < 128 or not ascii_only):
        return char
    if code in _SHORT:
        return _SHORT[code]
    if code < 0x20 or code == 0x7F:
        return f"\\x{code:02x}"
    if 0xDC80 <= code < 0xDD00:
        return f"\\x{code - 0xDC00:02x}"
    if 0xD800 <= code < 0xE000:
        return "\\ufffd" if ascii_only else "\ufffd"
    return f"\\u{code:04x}" if code < 0x10000 else f"\\U{code:08x}"
