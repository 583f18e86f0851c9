"""The items of one JSON array that may not be repeated: equal is what JSON Schema calls equal."""

from __future__ import annotations

import json
from bisect import bisect_left
from collections.abc import Hashable, Sequence
from typing import Any, cast


def canonical(text: bytes | bytearray) -> Hashable:
    """What two JSON texts have in common when they mean the same value: 1 and 1.0, keys in any order. A text
    that cannot be read is like no other."""
    try:
        return _canonical(json.loads(text.decode("utf-8", "replace")))
    except (ValueError, RecursionError):
        return object()


def _canonical(value: Any) -> Hashable:
    if isinstance(value, dict):
        members = cast("dict[str, Any]", value).items()
        return "object", frozenset((name, _canonical(member)) for name, member in members)
    if isinstance(value, list):
        return "array", tuple(map(_canonical, cast("list[Any]", value)))
    # Python takes True for 1.
    return ("literal", value) if value is None or isinstance(value, bool) else value


class Listed:
    """All values that an item can have, by their JSON texts."""

    def __init__(self, texts: Sequence[str]) -> None:
        self._texts = sorted(text.encode() for text in texts)
        self._values = list(map(canonical, self._texts))

    def left(self, begun: bytes, items: Items, index: int) -> bool:
        """Can item `index`, which begins like `begun`, still become one that is not there yet?"""
        if b"\\" in begun or (begun[:1] != b'"' and any(mark in begun for mark in b".eE+")):
            # Spelled otherwise than in the list, perhaps. (No literal comes so far when it is taken.)
            return True
        at = bisect_left(self._texts, begun)
        while at < len(self._texts) and self._texts[at].startswith(begun):
            if not items.has(self._values[at], index):
                return True
            at += 1
        return False


class Items:
    """The finished items. To go back to item n is to ask, and add, with `index` n again: what was
    noted of later ones does not count any more."""

    __slots__ = ("_at", "_items", "listed")

    def __init__(self, listed: Listed | None) -> None:
        self.listed = listed
        self._items: list[Hashable] = []
        self._at: dict[Hashable, int] = {}

    def copy(self) -> Items:
        made = Items(self.listed)
        made._items = self._items.copy()
        made._at = self._at.copy()
        return made

    def has(self, item: Hashable, index: int) -> bool:
        """Is `item` among the first `index`?"""
        at = self._at.get(item, index)
        return at < index and self._items[at] == item

    def add(self, item: Hashable, index: int) -> bool:
        """Note `item` as number `index`; False, and nothing has changed, when it is among those before."""
        if self.has(item, index):
            return False
        del self._items[index:]
        self._items.append(item)
        self._at[item] = index
        return True
