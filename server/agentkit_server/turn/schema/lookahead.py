"""Patterns that begin with look-aheads, `^(?!\\.)(?=.*[0-9])\\w+$`, taken apart into patterns that a linear
engine can match: all of some, none of others."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache

from agentkit_server.turn.schema.patterns import NotRegular, matcher


@dataclass(frozen=True)
class Parts:
    """A pattern as several: it is in a text that has `rest`, all of `also` and none of `none`."""

    rest: str
    """What is left of the pattern."""
    also: tuple[str, ...] = ()
    none: tuple[str, ...] = ()


@lru_cache(1024)
def parts(pattern: str) -> Parts:
    """`pattern` taken apart. Raises NotRegular where that cannot be done."""
    if not pattern.startswith(("^(?!", "^(?=")):
        return Parts(pattern)
    also: list[str] = []
    none: list[str] = []
    rest = pattern[1:]
    while rest.startswith(("(?!", "(?=")):
        end = _closing(rest)
        inner = f"^(?:{rest[3:end]})" if _splits(rest[3:end]) else f"^{rest[3:end]}"
        (none if rest[2] == "!" else also).append(inner)
        rest = rest[end + 1 :]
    if rest[:1] in ("?", "*", "+", "{") or _splits(rest):
        raise NotRegular("look-around cannot be enforced but where the whole pattern begins with it")
    return Parts(f"^{rest}", tuple(also), tuple(none))


@lru_cache(1024)
def finder(pattern: str) -> Callable[[str], bool]:
    """A search for `pattern`, look-aheads at its beginning included, in linear time. Raises NotRegular."""
    split = parts(pattern)
    if split == Parts(pattern):
        return matcher(pattern)
    every = [matcher(part) for part in (split.rest, *split.also)]
    none = [matcher(part) for part in split.none]
    return lambda text: all(finds(text) for finds in every) and not any(finds(text) for finds in none)


def _closing(text: str) -> int:
    """Where the group that `text` begins with ends."""
    depth = 0
    for at, char in _outside_classes(text):
        depth += (char == "(") - (char == ")")
        if depth == 0:
            return at
    raise NotRegular("a group is not closed")


def _splits(text: str) -> bool:
    """Has `text` alternatives that no group holds?"""
    depth = 0
    for _, char in _outside_classes(text):
        depth += (char == "(") - (char == ")")
        if char == "|" and depth == 0:
            return True
    return False


def _outside_classes(text: str) -> list[tuple[int, str]]:
    """The characters of a pattern that are neither escaped nor in a class."""
    found: list[tuple[int, str]] = []
    in_class = escaped = False
    for at, char in enumerate(text):
        if escaped or char == "\\":
            escaped = not escaped
        elif in_class:
            in_class = char != "]"
        elif char == "[":
            in_class = True
        else:
            found.append((at, char))
    return found
