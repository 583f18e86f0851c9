"""The string formats of JSON Schema, as patterns in Rust's syntax, each matching a whole string.

A format here is an assertion, in the grammar and in validation alike. Where a format's own grammar is wider
than what its checkers agree on, the narrower reading is taken: no leap seconds, no year 0, no punycode.
Sources: RFC 3339, 4122, 5321, 1123, 4291, 3986, 3987, 6570, 6901, and ISO 8601 for durations.
"""

from __future__ import annotations

from collections.abc import Callable

import idna

from agentkit_server.turn.schema.patterns import NotRegular, matcher, rust_matcher

_YEAR = "(?:[0-9]{3}[1-9]|[0-9]{2}[1-9][0-9]|[0-9][1-9][0-9]{2}|[1-9][0-9]{3})"
_LEAP = "(?:[0-9]{2}(?:0[48]|[2468][048]|[13579][26])|(?:0[48]|[2468][048]|[13579][26])00)"
_DATE = (
    f"(?:{_YEAR}-(?:(?:0[13578]|1[02])-(?:0[1-9]|[12][0-9]|3[01])"
    f"|(?:0[469]|11)-(?:0[1-9]|[12][0-9]|30)|02-(?:0[1-9]|1[0-9]|2[0-8]))|{_LEAP}-02-29)"
)
_HOUR = "(?:[01][0-9]|2[0-3]):[0-5][0-9]"
_TIME = rf"{_HOUR}:[0-5][0-9](?:\.[0-9]+)?(?:[zZ]|[+-]{_HOUR})"


def _falling(units: str) -> str:
    """Numbers with `units`, any of them in order and without a gap: 1Y2M, 3D."""
    options: list[str] = []
    for at in range(len(units)):
        inner = ""
        for unit in reversed(units[at + 1 :]):
            inner = f"(?:[0-9]+{unit}{inner})?"
        options.append(f"[0-9]+{units[at]}{inner}")
    return f"(?:{'|'.join(options)})"


_CLOCK = f"T{_falling('HMS')}"
_DURATION = f"P(?:{_falling('YMD')}(?:{_CLOCK})?|{_CLOCK}|[0-9]+W)"

_OCTET = "(?:25[0-5]|2[0-4][0-9]|1[0-9]{2}|[1-9]?[0-9])"
_IPV4 = rf"{_OCTET}(?:\.{_OCTET}){{3}}"
_H16 = "[0-9a-fA-F]{1,4}"
_LS32 = f"(?:{_H16}:{_H16}|{_IPV4})"
_IPV6 = (
    f"(?:(?:{_H16}:){{6}}{_LS32}|::(?:{_H16}:){{5}}{_LS32}|(?:{_H16})?::(?:{_H16}:){{4}}{_LS32}"
    f"|(?:(?:{_H16}:){{0,1}}{_H16})?::(?:{_H16}:){{3}}{_LS32}"
    f"|(?:(?:{_H16}:){{0,2}}{_H16})?::(?:{_H16}:){{2}}{_LS32}"
    f"|(?:(?:{_H16}:){{0,3}}{_H16})?::{_H16}:{_LS32}|(?:(?:{_H16}:){{0,4}}{_H16})?::{_LS32}"
    f"|(?:(?:{_H16}:){{0,5}}{_H16})?::{_H16}|(?:(?:{_H16}:){{0,6}}{_H16})?::)"
)

_LETTER = "[A-Za-z0-9]"
# A label of more than three characters has no hyphens third and fourth: that is where punycode begins.
_LABEL = (
    f"(?:{_LETTER}|{_LETTER}[A-Za-z0-9-]?{_LETTER}"
    f"|{_LETTER}[A-Za-z0-9-](?:{_LETTER}[A-Za-z0-9-]|-{_LETTER})(?:[A-Za-z0-9-]{{0,58}}{_LETTER})"
    f"|{_LETTER}[A-Za-z0-9-]{_LETTER}{_LETTER}|{_LETTER}[A-Za-z0-9-]-{_LETTER})"
)
_HOSTNAME = rf"{_LABEL}(?:\.{_LABEL})*"
_ATOM = r"[A-Za-z0-9!#$%\&'*+/=?\^_`{|}\~\-]+"
_EMAIL = rf"{_ATOM}(?:\.{_ATOM})*@(?:{_HOSTNAME}|\[{_IPV4}\]|\[IPv6:{_IPV6}\])"
_WIDE = r"\x{a0}-\x{d7ff}\x{f900}-\x{fdcf}\x{fdf0}-\x{ffef}\x{10000}-\x{1fffd}\x{20000}-\x{2fffd}"
_IDN_ATOM = _ATOM.replace("[A", f"[{_WIDE}A", 1)
_IDN_LABEL = f"[A-Za-z0-9{_WIDE}](?:[A-Za-z0-9{_WIDE}-]*[A-Za-z0-9{_WIDE}])?"
_IDN_HOSTNAME = rf"{_IDN_LABEL}(?:[.\x{{3002}}\x{{ff0e}}\x{{ff61}}]{_IDN_LABEL})*"
_IDN_EMAIL = rf"{_IDN_ATOM}(?:\.{_IDN_ATOM})*@{_IDN_LABEL}(?:\.{_IDN_LABEL})*"


def _resource(wide: str) -> tuple[str, str]:
    """(absolute, reference) identifiers of RFC 3986, or of RFC 3987 with `wide` characters as well."""
    plain = rf"A-Za-z0-9._\~!$\&'()*+,;={wide}\-"
    char = f"(?:[{plain}:@]|%[0-9a-fA-F]{{2}})"
    user = f"(?:[{plain}:]|%[0-9a-fA-F]{{2}})*"
    name = f"(?:[{plain}]|%[0-9a-fA-F]{{2}})*"
    future = r"v[0-9a-fA-F]+\.[A-Za-z0-9._\~!$\&'()*+,;=:\-]+"
    host = rf"(?:\[(?:{_IPV6}|{future})\]|{name})"
    authority = f"//(?:{user}@)?{host}(?::[0-9]*)?(?:/{char}*)*"
    absolute = f"/(?:{char}+(?:/{char}*)*)?"
    rootless = f"{char}+(?:/{char}*)*"
    no_scheme = f"(?:[{plain}@]|%[0-9a-fA-F]{{2}})+(?:/{char}*)*"
    tail = rf"(?:\?(?:{char}|[/?])*)?(?:#(?:{char}|[/?])*)?"
    scheme = r"[A-Za-z][A-Za-z0-9+.\-]*:"
    whole = f"{scheme}(?:{authority}|{absolute}|{rootless})?{tail}"
    return whole, f"(?:{whole}|(?:{authority}|{absolute}|{no_scheme})?{tail})"


_URI, _URI_REFERENCE = _resource("")
_IRI, _IRI_REFERENCE = _resource(_WIDE)
_VARIABLE = (
    r"(?:[A-Za-z0-9_]|%[0-9a-fA-F]{2})+(?:\.(?:[A-Za-z0-9_]|%[0-9a-fA-F]{2})+)*(?::[1-9][0-9]{0,3}|\*)?"
)
_TEMPLATE = (
    r"(?:[^\x{0}-\x{20}\x{7f}-\x{9f}\"'%<>\\\^`{|}]|%[0-9a-fA-F]{2}"
    rf"|\{{[+#./;?\&=,!@|]?{_VARIABLE}(?:,{_VARIABLE})*\}})*"
)
_POINTER = r"(?:/(?:[^/\~]|\~[01])*)*"

PATTERNS: dict[str, str] = {
    name: f"^(?:{pattern})$"
    for name, pattern in {
        "date": _DATE,
        "time": _TIME,
        "date-time": f"{_DATE}[tT]{_TIME}",
        "duration": _DURATION,
        "email": _EMAIL,
        "idn-email": _IDN_EMAIL,
        "hostname": _HOSTNAME,
        "idn-hostname": _IDN_HOSTNAME,
        "ipv4": _IPV4,
        "ipv6": _IPV6,
        "uuid": "[0-9a-fA-F]{8}(?:-[0-9a-fA-F]{4}){3}-[0-9a-fA-F]{12}",
        "uri": _URI,
        "uri-reference": _URI_REFERENCE,
        "iri": _IRI,
        "iri-reference": _IRI_REFERENCE,
        "uri-template": _TEMPLATE,
        "json-pointer": _POINTER,
        "relative-json-pointer": f"(?:0|[1-9][0-9]*)(?:#|{_POINTER})",
        "regex": "[^]*".replace("[^]", r"[\x{0}-\x{10ffff}]"),
    }.items()
}
"""Format -> what its strings match."""

LENGTHS = {"hostname": 253}
"""Format -> most characters."""

LOOSE = {
    "idn-hostname": "the rules of IDNA for which characters may follow each other",
    "regex": "what a regular expression is",
}
"""Formats whose pattern allows more -> what it does not know."""


def holds(name: str, text: str) -> bool:
    """Is `text` of format `name`? True for a format that is not known."""
    if name not in PATTERNS:
        return True
    if len(text) > LENGTHS.get(name, len(text)) or not rust_matcher(PATTERNS[name])(text):
        return False
    return name not in _FURTHER or _FURTHER[name](text)


def _is_pattern(text: str) -> bool:
    try:
        matcher(text)
    except NotRegular as error:
        return "cannot be enforced" in str(error)
    return True


def _is_idn(text: str) -> bool:
    try:
        idna.encode(text)
    except (idna.IDNAError, UnicodeError):
        return False
    return True


_FURTHER: dict[str, Callable[[str], bool]] = {"regex": _is_pattern, "idn-hostname": _is_idn}
