"""GBNF, the grammar notation of llama.cpp and (as EBNF) xgrammar, written as Lark for llguidance.

Every character becomes a lexeme of its own, since llguidance's lexer takes the longest match and GBNF knows
no lexer: `[a-z]* "x"` has to match `ax`. Tokens (`<…>`) and look-ahead are refused.
Source of the notation: llama.cpp, grammars/README.md.
"""

from __future__ import annotations

import json
import re

from agentkit_server.errors import InvalidGrammar
from agentkit_server.turn.schema.patterns import NotRegular, rust_matcher

MAX_RULES = 500
"""llguidance reads rules by recursion, on a stack that some thousands of them overflow."""

_TOKEN = re.compile(
    r"""(?P<space>(?:[ \t\r\n]|\#[^\n]*)+)
    |(?P<defines>[A-Za-z][A-Za-z0-9_-]*[ \t\r\n]*::=)
    |(?P<name>[A-Za-z][A-Za-z0-9_-]*)
    |(?P<text>"(?:[^"\\\n]|\\.)*")
    |(?P<set>\[(?:[^\]\\\n]|\\.)*\])
    |(?P<repeat>\{\s*\d{1,5}\s*(?:,\s*(?:\d{1,5}\s*)?)?\})
    |(?P<sign>[.()|?*+])""",
    re.VERBOSE,
)
_ESCAPE = re.compile(r"\\(?:x([0-9A-Fa-f]{2})|u([0-9A-Fa-f]{4})|U([0-9A-Fa-f]{8})|(.))", re.DOTALL)
_NAMED = {"n": "\n", "r": "\r", "t": "\t"}
_DEEPEST = 200


def is_gbnf(text: str) -> bool:
    """Does `text` define its rules with `::=`, as Lark never does?"""
    return re.search(r"^[ \t]*[A-Za-z][A-Za-z0-9_-]*[ \t]*::=", text, re.MULTILINE) is not None


def lark_of_gbnf(text: str) -> str:
    """`text` in Lark, its rule `root` as `start`. Raises InvalidGrammar."""
    rules: dict[str, list[str]] = {}
    used: set[str] = set()
    current: list[str] | None = None
    for kind, written in _tokens(text):
        if kind == "defines":
            name = written[:-3].strip()
            if name in rules:
                raise InvalidGrammar(f"the grammar defines {name!r} twice; keep one of the rules")
            if len(rules) == MAX_RULES:
                raise InvalidGrammar(f"the grammar has more than {MAX_RULES} rules; write fewer")
            current = rules[name] = []
        elif current is None:
            raise InvalidGrammar(f"the grammar begins with {written!r}; begin with a rule, 'root ::= …'")
        else:
            if kind == "name":
                used.add(written)
            current.append(_part(kind, written))
    missing = ({"root"} | used) - rules.keys()
    if missing:
        raise InvalidGrammar(f"the grammar uses {min(missing)!r} and does not define it")
    return "".join(f"{_rule(name)}: {_whole(parts, name)}\n" for name, parts in rules.items())


def _tokens(text: str) -> list[tuple[str, str]]:
    found: list[tuple[str, str]] = []
    at = 0
    while at < len(text):
        token = _TOKEN.match(text, at)
        if token is None:
            line = text.count("\n", 0, at) + 1
            raise InvalidGrammar(f"line {line} of the grammar cannot be read at {text[at : at + 20]!r}")
        if token.lastgroup != "space":
            found.append((token.lastgroup or "", token[0]))
        at = token.end()
    return found


def _part(kind: str, written: str) -> str:
    if kind == "name":
        return _rule(written)
    if kind == "text":
        characters = _unescaped(written[1:-1])
        return (
            "(" + " ".join(json.dumps(char, ensure_ascii=False) for char in characters) + ")"
            if characters
            else '""'
        )
    if kind == "set":
        return _set(written[1:-1])
    if kind == "repeat":
        return _repeat(written)
    return "/(?s:.)/" if written == "." else written


def _repeat(written: str) -> str:
    low, comma, high = written[1:-1].replace(" ", "").partition(",")
    if high and int(high) < int(low):
        raise InvalidGrammar(f"{written!r} repeats from more to less; swap the two numbers")
    return f"{{{low}{comma}{high}}}"


def _rule(name: str) -> str:
    if name == "root":
        return "start"
    # Case counts in GBNF, while in Lark upper case makes a terminal.
    return "g_" + "".join(f"{char.lower()}_u" if char.isupper() else char.replace("-", "_h") for char in name)


def _whole(parts: list[str], name: str) -> str:
    depth = 0
    out: list[str] = []
    for part in parts:
        depth += (part == "(") - (part == ")")
        if depth < 0 or depth > _DEEPEST:
            raise InvalidGrammar(
                f"the parentheses of rule {name!r} do not pair, or nest deeper than {_DEEPEST}"
            )
        if part in ("|", ")") and (not out or out[-1] in ("|", "(")):
            out.append('""')
        out.append(part)
    if depth:
        raise InvalidGrammar(f"the parentheses of rule {name!r} do not pair")
    if not out or out[-1] == "|":
        out.append('""')
    return _joined(out)


def _joined(parts: list[str]) -> str:
    line = ""
    for part in parts:
        line += part if part[0] in "?*+{" else f" {part}"
    return line.strip()


def _unescaped(text: str) -> str:
    def character(found: re.Match[str]) -> str:
        code = found[1] or found[2] or found[3]
        if code is None:
            return _NAMED.get(found[4], found[4])
        number = int(code, 16)
        if number > 0x10FFFF or 0xD800 <= number < 0xE000:
            raise InvalidGrammar(f"{found[0]!r} is no character")
        return chr(number)

    return _ESCAPE.sub(character, text)


def _set(inner: str) -> str:
    negated = "^" if inner.startswith("^") else ""
    items = re.findall(r"\\(?:x[0-9A-Fa-f]{2}|u[0-9A-Fa-f]{4}|U[0-9A-Fa-f]{8}|.)|.", inner[len(negated) :])
    written: list[str] = []
    for at, item in enumerate(items):
        between = item == "-" and 0 < at < len(items) - 1
        written.append("-" if between else f"\\x{{{ord(_unescaped(item)):x}}}")
    pattern = f"[{negated}{''.join(written)}]"
    if not written:
        raise InvalidGrammar(f"the class '[{inner}]' is empty")
    try:
        rust_matcher(pattern)
    except NotRegular as error:
        raise InvalidGrammar(f"the class '[{inner}]' cannot be read: {error}") from error
    return f"/{pattern}/"
