"""ECMA-262 regular expressions, as JSON Schema's `pattern` has them, for engines that need time linear in the
text: the Rust one behind pydantic, and llguidance's.

`translated` writes a pattern in Rust's syntax with ECMA's meaning: `\\d`, `\\w`, `\\s` and their complements
spelled out, `[[]` and `[a&&b]` escaped, `$` the very end. What no linear engine can do (look-around,
backreferences, word boundaries) raises NotRegular.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable
from functools import lru_cache

from pydantic_core import SchemaError, SchemaValidator, core_schema

MAX_PATTERN = 20_000
"""Characters."""

_DIGIT = "0-9"
_WORD = "A-Za-z0-9_"
_SPACE = r"\t-\r \x{a0}\x{1680}\x{2000}-\x{200a}\x{2028}\x{2029}\x{202f}\x{205f}\x{3000}\x{feff}"
_CLASSES = {"d": _DIGIT, "w": _WORD, "s": _SPACE}
_CONTROLS = {"t": r"\t", "n": r"\n", "r": r"\r", "f": r"\x0c", "v": r"\x0b", "0": r"\x00"}
_LONG = r"\x00-\x07\x0b\x0e-\x1f\x7f"
_LONG_CONTROLS = [chr(code) for code in (*range(8), 11, *range(14, 32), 127)]
_SPECIAL = frozenset(r"\.+*?()|[]{}^$#&-~")


class NotRegular(ValueError):
    """A pattern that is wrong or that no linear engine can match. The message says why."""


@lru_cache(4096)
def translated(pattern: str) -> str:
    """`pattern` in Rust's syntax. Raises NotRegular."""
    if len(pattern) > MAX_PATTERN:
        raise NotRegular(f"the pattern has more than {MAX_PATTERN} characters")
    return _Translation(pattern).run()


@lru_cache(4096)
def in_json(pattern: str) -> str:
    """`pattern` in Rust's syntax, for llguidance to match in JSON strings. Raises NotRegular.

    llguidance 1.9.1 takes a class that has control characters for one that has `"` and `\\` as well. Classes
    that leave out one of these two therefore lose the control characters that JSON has no short escape for.
    """
    if len(pattern) > MAX_PATTERN:
        raise NotRegular(f"the pattern has more than {MAX_PATTERN} characters")
    return _Translation(pattern, guarded=True).run()


@lru_cache(1024)
def matcher(pattern: str) -> Callable[[str], bool]:
    """A search for `pattern` in time linear in the text. Raises NotRegular."""
    return rust_matcher(translated(pattern))


@lru_cache(1024)
def rust_matcher(pattern: str) -> Callable[[str], bool]:
    """The same for a pattern in Rust's syntax."""
    try:
        return SchemaValidator(core_schema.str_schema(pattern=pattern, strict=True)).isinstance_python
    except SchemaError as error:
        reason = str(error).strip().splitlines()[-1].strip()
        said = reason.removeprefix("error: ").removeprefix("SchemaError: ")
        raise NotRegular(f"the pattern cannot be used: {said}") from error


class _Translation:
    def __init__(self, pattern: str, *, guarded: bool = False) -> None:
        self._text = pattern
        self._guarded = guarded
        self._at = 0
        self._out: list[str] = []

    def run(self) -> str:
        while self._at < len(self._text):
            self._one()
        return "".join(self._out)

    def _take(self, count: int = 1) -> str:
        taken = self._text[self._at : self._at + count]
        self._at += count
        return taken

    def _one(self) -> None:
        char = self._take()
        if char == "\\":
            self._out.append(self._escape(in_class=False))
        elif char == "[":
            self._out.append(self._guard(self._class()))
        elif char == "(":
            self._out.append(self._group())
        elif char == ".":
            self._out.append(r"[^\n\r\x{2028}\x{2029}]")
        elif char == "{":
            repeat = re.match(r"\d+(,\d*)?\}", self._text[self._at :])
            self._out.append("{" + self._take(repeat.end()) if repeat else r"\{")
        elif char == "}":
            self._out.append(r"\}")
        elif char == "]":
            self._out.append(r"\]")
        else:
            self._out.append(char)

    def _group(self) -> str:
        if not self._text.startswith("?", self._at):
            return "(?:"
        opening = re.match(r"\?(?::|P?<[A-Za-z_$][\w$]*>)", self._text[self._at :])
        if opening is None:
            kind = self._text[self._at : self._at + 3]
            look = kind.startswith(("?=", "?!", "?<=", "?<!"))
            raise NotRegular(
                "look-around cannot be enforced" if look else f"'({kind}' is no group of ECMA-262"
            )
        self._take(opening.end())
        return "(?:"

    def _escape(self, *, in_class: bool) -> str:
        if self._at >= len(self._text):
            raise NotRegular("the pattern ends in a backslash")
        char = self._take()
        if char.lower() in _CLASSES:
            return self._shorthand(char, in_class)
        if char in "pP":
            return "\\" + char + self._property()
        if char in "xu":
            return self._code(char)
        if char == "c" and self._text[self._at : self._at + 1].isalpha():
            return f"\\x{ord(self._take()) % 32:02x}"
        if char == "b" and in_class:
            return r"\x08"
        if char in "bB":
            raise NotRegular("word boundaries cannot be enforced")
        if char in _CONTROLS and not (char == "0" and self._text[self._at : self._at + 1].isdigit()):
            return _CONTROLS[char]
        if char.isdigit() or char == "k":
            raise NotRegular("backreferences cannot be enforced")
        if char in "AZz":
            raise NotRegular(f"'\\{char}' is no escape of ECMA-262; write '^' or '$'")
        return "\\" + char if char in _SPECIAL else char

    def _shorthand(self, char: str, in_class: bool) -> str:
        inner = _CLASSES[char.lower()]
        negated = "^" if char.isupper() else ""
        if in_class:
            return f"[^{inner}]" if negated else inner
        return self._guard(f"[{negated}{inner}]")

    def _guard(self, group: str) -> str:
        if not self._guarded:
            return group
        holds = rust_matcher(f"^{group}$")
        if (holds('"') and holds("\\")) or not any(map(holds, _LONG_CONTROLS)):
            return group
        return f"[{group}--[{_LONG}]]"

    def _property(self) -> str:
        named = re.match(r"\{[\w=]+\}", self._text[self._at :])
        if named is None:
            raise NotRegular(r"'\p' needs a property in braces")
        return self._take(named.end())

    def _code(self, kind: str) -> str:
        written = re.match(
            r"\{([0-9A-Fa-f]{1,6})\}|([0-9A-Fa-f]{4})" if kind == "u" else r"()([0-9A-Fa-f]{2})",
            self._text[self._at :],
        )
        if written is None:
            return kind
        self._take(written.end())
        code = int(written[1] or written[2], 16)
        if 0xD800 <= code < 0xDC00:
            low = re.match(r"\\u([Dd][C-Fc-f][0-9A-Fa-f]{2})", self._text[self._at :])
            if low is not None:
                self._take(low.end())
                code = 0x10000 + ((code - 0xD800) << 10) + (int(low[1], 16) - 0xDC00)
        if 0xD800 <= code < 0xE000 or code > 0x10FFFF:
            raise NotRegular(f"U+{code:04X} is no character")
        return f"\\x{{{code:x}}}"

    def _class(self) -> str:
        out = ["["]
        if self._text.startswith("^", self._at):
            out.append(self._take())
        if self._text.startswith("]", self._at):
            self._take()
            return r"[^\x{0}-\x{10ffff}]" if len(out) == 1 else r"[\x{0}-\x{10ffff}]"
        while self._at < len(self._text):
            char = self._take()
            if char == "]":
                return "".join([*out, "]"])
            if char == "\\":
                out.append(self._escape(in_class=True))
            elif char == "-":
                out.append(self._hyphen(out))
            else:
                out.append("\\" + char if char in "[&~^" else char)
        raise NotRegular("a character class is not closed")

    def _hyphen(self, out: list[str]) -> str:
        """A range only between two characters, else the character itself."""
        before = out[-1] if len(out) > 1 or out[-1] not in ("[", "^") else ""
        single = before not in ("", "[", "^") and not _is_set(before)
        after = self._text[self._at : self._at + 2]
        ranges = single and after[:1] not in ("]", "") and not re.match(r"\\[dDwWsSpP]", after)
        return "-" if ranges else r"\-"


def _is_set(part: str) -> bool:
    return part.startswith(("[", r"\p", r"\P")) or part in _CLASSES.values() or part == "-"


@lru_cache(1024)
def strings_of(pattern: str) -> tuple[frozenset[str], bool] | None:
    """The strings of a pattern that is a plain list of them, as `^(a|b)$`, and whether they are the whole
    text (True) or what it begins with (False, as `^a`); None for any other pattern."""
    found = re.fullmatch(r"\^(?:\((?:\?:)?(?P<many>[^()]*)\)|(?P<one>[^|()]*))(?P<end>\$?)", pattern)
    if found is None:
        return None
    listed = found["one"] if found["many"] is None else found["many"]
    plain = re.sub(
        r"\\([-./_:@#$^+*?|{}\[\]\\ ])", lambda escape: "\0" + chr(0xE000 + ord(escape[1])), listed
    )
    if re.search(r"[\\.+*?^$\[\]{}]", plain):
        return None
    parts = [re.sub("\0(.)", lambda kept: chr(ord(kept[1]) - 0xE000), part) for part in plain.split("|")]
    return frozenset(parts), bool(found["end"])


def listing(strings: Iterable[str]) -> str:
    """A pattern that matches exactly `strings`."""
    return "^(?:" + "|".join(sorted(map(literal, strings))) + ")$"


def all_but(strings: Iterable[str], *, prefixes: bool = False) -> str:
    """A pattern that matches every text but `strings`; with `prefixes`, every one that begins with none."""
    return "^(?:" + _complement(sorted(set(strings)), prefixes) + ")$"


def _complement(strings: list[str], prefixes: bool) -> str:
    ends = "" in strings
    if ends and prefixes:
        return "[]"
    heads: dict[str, list[str]] = {}
    for text in strings:
        if text:
            heads.setdefault(text[0], []).append(text[1:])
    options = [] if ends else [""]
    options.append(f"[^{''.join(map(_in_class, heads))}][^]*" if heads else "[^][^]*")
    for head, rest in heads.items():
        inner = _complement(rest, prefixes)
        if inner != "[]":
            options.append(f"{literal(head)}(?:{inner})")
    return "|".join(options)


def literal(text: str) -> str:
    """A pattern, in both syntaxes, that matches `text`."""
    return re.sub(r"[\\.+*?()|\[\]{}^$]", lambda found: "\\" + found[0], text)


def _in_class(char: str) -> str:
    return "\\" + char if char in r"\]^-[" else char
