"""Tokens of a template. Trimming by `{{-` and `-}}` is done here, and nothing later sees comments."""

from __future__ import annotations

import re
from bisect import bisect_right
from collections.abc import Iterator
from enum import Enum
from typing import NamedTuple

from agentkit_server.errors import GoTemplateError
from agentkit_server.gotemplate.literals import quoted
from agentkit_server.gotemplate.nodes import Position

SPACES = " \t\r\n"
KEYWORDS = frozenset(
    {"block", "break", "continue", "define", "else", "end", "if", "nil", "range", "template", "with"}
)
_TRIMMED_OPEN = re.compile(r"\{\{-[ \t\r\n]")
_CLOSE = re.compile(r"[ \t\r\n]-\}\}|\}\}")
_SPACE = re.compile(r"[ \t\r\n]+")
_STRING = re.compile(r'"(?:[^"\\\n]|\\[^\n])*"')
_CHARACTER = re.compile(r"'(?:[^'\\\n]|\\[^\n])*'")
_NUMBER = re.compile(
    r"[+-]?(?:0[xX][\da-fA-F_]*(?:\.[\da-fA-F_]*)?(?:[pP][+-]?[\d_]*)?"
    r"|0[oO][0-7_]*(?:\.[0-7_]*)?|0[bB][01_]*(?:\.[01_]*)?"
    r"|[\d_]*(?:\.[\d_]*)?(?:[eE][+-]?[\d_]*)?)i?",
    re.ASCII,
)
_DIGITS = frozenset("0123456789")


class Lexeme(Enum):
    """Kinds of tokens. What has a fixed spelling has it as its value."""

    TEXT = "text"
    OPEN = "{{"
    CLOSE = "}}"
    SPACE = "space"
    LEFT = "("
    RIGHT = ")"
    PIPE = "|"
    DECLARE = ":="
    ASSIGN = "="
    DOT = "."
    FIELD = "field"
    VARIABLE = "variable"
    WORD = "identifier"
    KEYWORD = "keyword"
    BOOL = "bool"
    NUMBER = "number"
    CHARACTER = "character"
    STRING = "string"
    OTHER = "other"
    END = "EOF"


class Token(NamedTuple):
    lexeme: Lexeme
    source: str
    at: Position

    def is_word(self, *words: str) -> bool:
        """One of these keywords."""
        return self.lexeme is Lexeme.KEYWORD and self.source in words

    def __str__(self) -> str:
        if self.lexeme is Lexeme.END:
            return "EOF"
        if self.lexeme is Lexeme.KEYWORD or self.lexeme is Lexeme.DOT:
            return f"<{self.source}>"
        if len(self.source) > 10:
            return quoted(self.source[:10]) + "..."
        return quoted(self.source)


class Lexer:
    """Reads `source` once, from its beginning. `names` are the functions: `break` and `continue` are no
    keywords where there is a function of that name. Raises GoTemplateError."""

    def __init__(self, source: str, names: frozenset[str] = frozenset()) -> None:
        self._source = source
        self._keywords = KEYWORDS - (names & {"break", "continue"})
        self._lines = [0, *(match.end() for match in re.finditer("\n", source))]
        self._at = 0
        self._parentheses = 0

    def tokens(self) -> Iterator[Token]:
        """All of them; the last one is END, and repeated for whoever asks for more."""
        while self._at < len(self._source):
            yield from self._text()
            if self._at < len(self._source) and not self._comment():
                yield from self._action()
        while True:
            yield self._token(Lexeme.END, len(self._source), len(self._source))

    def position(self, offset: int) -> Position:
        line = bisect_right(self._lines, offset)
        return Position(line, offset - self._lines[line - 1] + 1)

    def _text(self) -> Iterator[Token]:
        start = self._at
        stop = self._source.find("{{", start)
        stop = len(self._source) if stop < 0 else stop
        self._at = stop
        if _TRIMMED_OPEN.match(self._source, stop):
            stop = start + len(self._source[start:stop].rstrip(SPACES))
        if stop > start:
            yield self._token(Lexeme.TEXT, start, stop)

    def _comment(self) -> bool:
        """Read over a comment, if one begins here."""
        start = self._opened()
        if not self._source.startswith("/*", start):
            return False
        end = self._source.find("*/", start + 2)
        if end < 0:
            raise self._error("unclosed comment", start)
        close = _CLOSE.match(self._source, end + 2)
        if close is None:
            raise self._error("comment ends before closing delimiter", start)
        self._close(close)
        return True

    def _opened(self) -> int:
        """Where the inside of the action that begins here begins; the space behind `{{-` is outside of it."""
        return self._at + (4 if _TRIMMED_OPEN.match(self._source, self._at) else 2)

    def _close(self, close: re.Match[str]) -> None:
        self._at = close.end()
        if len(close.group()) > 2:
            space = _SPACE.match(self._source, self._at)
            self._at = space.end() if space else self._at

    def _action(self) -> Iterator[Token]:
        start = self._at
        yield self._token(Lexeme.OPEN, start, start + 2)
        self._at = self._opened()
        self._parentheses = 0
        while (close := _CLOSE.match(self._source, self._at)) is None:
            if self._at >= len(self._source):
                raise self._error(f"unclosed action started at line {self.position(start).line}", self._at)
            yield self._item()
        if self._parentheses:
            raise self._error("unclosed left paren", self._at)
        yield self._token(Lexeme.CLOSE, close.end() - 2, close.end())
        self._close(close)

    def _item(self) -> Token:
        """One token of an action, which does not end here."""
        char = self._source[self._at]
        following = self._source[self._at + 1 : self._at + 2]
        if char in SPACES:
            return self._space()
        if char in "()":
            return self._parenthesis(char)
        if char in "=|":
            return self._taken(Lexeme(char), 1)
        if char == ":":
            if following != "=":
                raise self._error("expected :=", self._at)
            return self._taken(Lexeme.DECLARE, 2)
        if char in "\"'`":
            return self._quoted(char)
        if char in "+-" or char in _DIGITS or (char == "." and following and following in _DIGITS):
            return self._number()
        if char == "." or char == "$" or _is_alphanumeric(char):
            return self._name(char)
        if char.isascii() and char.isprintable():
            return self._taken(Lexeme.OTHER, 1)
        raise self._error(f"unrecognized character in action: {_codepoint(char)}", self._at)

    def _space(self) -> Token:
        """A run of spaces; its last one belongs to the delimiter when that is ` -}}`."""
        space = _SPACE.match(self._source, self._at)
        assert space is not None, "called at a space"
        end = space.end() - (1 if self._source.startswith("-}}", space.end()) else 0)
        return self._taken(Lexeme.SPACE, end - self._at)

    def _parenthesis(self, char: str) -> Token:
        self._parentheses += 1 if char == "(" else -1
        if self._parentheses < 0:
            raise self._error("unexpected right paren", self._at)
        return self._taken(Lexeme(char), 1)

    def _quoted(self, quote: str) -> Token:
        if quote == "`":
            end = self._source.find("`", self._at + 1)
            if end < 0:
                raise self._error("unterminated raw quoted string", self._at)
            return self._taken(Lexeme.STRING, end + 1 - self._at)
        match = (_STRING if quote == '"' else _CHARACTER).match(self._source, self._at)
        if match is None:
            what = "quoted string" if quote == '"' else "character constant"
            raise self._error(f"unterminated {what}", self._at)
        return self._taken(Lexeme.STRING if quote == '"' else Lexeme.CHARACTER, len(match.group()))

    def _number(self) -> Token:
        end = self._scanned_number(self._at)
        if self._source[end : end + 1] in ("+", "-"):
            # An imaginary part, and nothing else, may follow without a space.
            end = self._scanned_number(end)
            if self._source[end - 1] != "i":
                raise self._bad_number(end)
        return self._taken(Lexeme.NUMBER, end - self._at)

    def _scanned_number(self, start: int) -> int:
        match = _NUMBER.match(self._source, start)
        assert match is not None, "every part of a number is optional"
        if _is_alphanumeric(self._source[match.end() : match.end() + 1]):
            raise self._bad_number(match.end() + 1)
        return match.end()

    def _bad_number(self, end: int) -> GoTemplateError:
        return self._error(f"bad number syntax: {quoted(self._source[self._at : end])}", self._at)

    def _name(self, char: str) -> Token:
        """A field, variable, keyword or function."""
        end = self._at + 1
        while _is_alphanumeric(self._source[end : end + 1]):
            end += 1
        if not self._terminates(end):
            raise self._error(f"bad character {_codepoint(self._source[end])}", end)
        source = self._source[self._at : end]
        if char == "$":
            return self._taken(Lexeme.VARIABLE, len(source))
        if char == ".":
            return self._taken(Lexeme.FIELD if len(source) > 1 else Lexeme.DOT, len(source))
        if source in ("true", "false"):
            return self._taken(Lexeme.BOOL, len(source))
        return self._taken(Lexeme.KEYWORD if source in self._keywords else Lexeme.WORD, len(source))

    def _terminates(self, at: int) -> bool:
        """A name may end before this."""
        char = self._source[at : at + 1]
        return not char or char in " \t\r\n.,|:)(" or self._source.startswith("}}", at)

    def _taken(self, lexeme: Lexeme, length: int) -> Token:
        token = self._token(lexeme, self._at, self._at + length)
        self._at += length
        return token

    def _token(self, lexeme: Lexeme, start: int, stop: int) -> Token:
        return Token(lexeme, self._source[start:stop], self.position(start))

    def _error(self, message: str, offset: int) -> GoTemplateError:
        return GoTemplateError(message, *self.position(offset))


def _is_alphanumeric(char: str) -> bool:
    return bool(char) and (char == "_" or char.isalpha() or char.isdecimal())


def _codepoint(char: str) -> str:
    shown = f" '{char}'" if char.isprintable() else ""
    return f"U+{ord(char):04X}{shown}"
