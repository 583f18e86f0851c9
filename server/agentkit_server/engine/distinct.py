"""Follows the JSON value in an answer, or the arguments of its calls, token by token, and refuses the token
with which an array would repeat an item that it may not repeat. A grammar cannot: it does not remember.

It takes for granted that the text follows a grammar of those values. What it does not expect ends it: from
there on everything passes.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable
from typing import ClassVar, NamedTuple

from agentkit_server.engine.items import Items, Listed, canonical
from agentkit_server.engine.lead import BLANKS, NEXT_CALL, LeadReader, Reached
from agentkit_server.engine.types import Distinct, ItemsRule

_STRING_STOP = re.compile(rb'["\\]')
_LITERALS = {ord("t"): canonical(b"true"), ord("f"): canonical(b"false"), ord("n"): canonical(b"null")}
_NOTHING = ItemsRule()


class _Container(NamedTuple):
    """An object or an array that is open."""

    outer: _Container | None
    array: bool
    rule: ItemsRule
    start: int
    """Of its text."""
    items: Items | None
    """The finished ones, of an array where they are distinct."""
    at: int = 0
    """Number of the item that is being written, or comes next."""

    def copy(self) -> _Container:
        outer = None if self.outer is None else self.outer.copy()
        return self._replace(outer=outer, items=None if self.items is None else self.items.copy())


class _Position(NamedTuple):
    """All that changes with a token, but for the text, which only grows."""

    length: int
    lead: Reached | None
    """None while a value is read."""
    top: _Container | None
    place: int
    """Of the value that comes next."""
    start: int
    """Of the running string, number or literal; -1 = none runs."""
    in_string: bool
    escaped: bool
    naming: bool
    """The next string, or the running one, is a property's name."""
    waits: bool
    """A value has to come."""
    over: bool


class _Refused(Exception):
    pass


class Guard:
    """Of one answer under `rules`. `piece` gives the bytes of a token's text; control tokens have none."""

    def __init__(self, rules: Distinct, piece: Callable[[int], bytes]) -> None:
        self._rules = rules
        self._piece = piece
        self._listed = {id(rule): Listed(rule.values) for rule in rules.places if rule.values}
        self._text = bytearray()
        self._reader = LeadReader(rules.lead)
        self._lead: Reached | None = Reached(inside=rules.lead.inside)
        self._top: _Container | None = None
        self._place, self._start = 0, -1
        self._in_string = self._escaped = self._naming = self._waits = self._over = False

    def copy(self) -> Guard:
        """One at the same place."""
        made = Guard.__new__(Guard)
        made.__dict__.update(self.__dict__)
        made._text = self._text.copy()
        made._top = None if self._top is None else self._top.copy()
        return made

    def take(self, token: int) -> bool:
        """Go on by `token`; False, and nothing has changed, when with it an item comes twice, or when only
        items that are there already could be written after it."""
        if self._over:
            return True
        piece = self._bytes(token)
        if self._in_string and not self._escaped and self._plain(piece):
            self._text += piece
            return True
        before = self.position()
        try:
            self._read(self._value_part(piece))
        except _Refused:
            self.go_back(before)
            return False
        return True

    @property
    def repeats(self) -> bool:
        """Would an item come twice if everything ended here that is open in it?"""
        top, start, closing = self._top, self._start, b'"' if self._in_string else b""
        while top is not None and top.items is None:
            closing += b"]" if top.array else b"}"
            top, start = top.outer, top.start
        if top is None or top.items is None or not top.at or start < 0:
            return False
        return top.items.has(canonical(self._text[start:] + closing), top.at)

    def goes_on(self, tokens: Iterable[int]) -> bool:
        """Does one of `tokens` pass that is more than white space between two others?"""
        here = self.position()
        for token in tokens:
            if self.take(token):
                self.go_back(here)
                if here.in_string or self._bytes(token).strip(BLANKS):
                    return True
        return False

    def _bytes(self, token: int) -> bytes:
        return self._piece(token) or b"\xff<%d>" % token

    def _plain(self, piece: bytes) -> bool:
        """Is `piece`, in a string, nothing but more of it?"""
        top = self._top
        watched = top is not None and top.items is not None and top.items.listed is not None
        return not watched and _STRING_STOP.search(piece) is None

    def position(self) -> _Position:
        """For `go_back`."""
        return _Position(
            len(self._text),
            self._lead,
            self._top,
            self._place,
            self._start,
            self._in_string,
            self._escaped,
            self._naming,
            self._waits,
            self._over,
        )

    def go_back(self, to: _Position) -> None:
        """To where it was when `to` was taken."""
        del self._text[to.length :]
        self._lead, self._top, self._place, self._start = to.lead, to.top, to.place, to.start
        self._in_string, self._escaped = to.in_string, to.escaped
        self._naming, self._waits, self._over = to.naming, to.waits, to.over

    def _value_part(self, piece: bytes) -> bytes:
        """What of `piece` belongs to a value."""
        if self._lead is None:
            return piece
        self._lead = self._reader.read_on(self._lead, piece)
        self._over = self._lead.lost
        begun = self._lead.value
        if begun is not None:
            self._place, self._lead, self._waits = self._lead.place, None, True
        return begun or b""

    # The value

    def _read(self, piece: bytes) -> None:
        at = len(self._text)
        self._text += piece
        while at < len(self._text) and not self._over:
            at = self._in_string_from(at) if self._in_string else self._byte(at)
            if self._lead is not None:
                behind = bytes(self._text[at:])
                del self._text[at:]
                self._text += self._value_part(behind)
        top = self._top
        if self._over or top is None or top.items is None or top.items.listed is None:
            return
        begun = bytes(self._text[self._start :]) if self._start >= 0 else b""
        if begun or self._waits:
            self._refuse(not top.items.listed.left(begun, top.items, top.at))

    def _in_string_from(self, at: int) -> int:
        if self._escaped:
            self._escaped = False
            return at + 1
        stop = _STRING_STOP.search(self._text, at)
        if stop is None:
            return len(self._text)
        if stop[0] == b"\\":
            self._escaped = True
        else:
            self._in_string = False
            if self._naming:
                self._named(stop.end())
            else:
                self._finished(self._start, stop.end())
        return stop.end()

    def _byte(self, at: int) -> int:
        byte = self._text[at]
        handle = self._HANDLERS.get(byte)
        if handle is not None:
            handle(self, at)
        elif byte >= 0x80:
            self._over = True
        elif self._start < 0:
            self._start, top = at, self._top
            # One letter says which literal it is: later there would be no way out.
            if byte in _LITERALS and top is not None and top.items is not None:
                self._refuse(top.items.has(_LITERALS[byte], top.at))
        return at + 1

    @staticmethod
    def _refuse(repeats: bool) -> None:
        if repeats:
            raise _Refused

    def _blank(self, at: int) -> None:
        """Ends a number or a literal, as whatever cannot be part of one does."""
        if self._start >= 0:
            self._finished(self._start, at)

    def _quote(self, at: int) -> None:
        self._start, self._in_string = at, True

    def _open(self, at: int) -> None:
        array = self._text[at] == ord("[")
        rule = self._rules.places[self._place] if self._place >= 0 else _NOTHING
        items = Items(self._listed.get(id(rule))) if array and rule.unique else None
        self._top = _Container(self._top, array, rule, at, items)
        self._next(self._top)

    def _next(self, top: _Container) -> None:
        """An item or a property comes next."""
        self._waits, self._naming = top.array, not top.array
        if top.array:
            first = top.rule.first
            self._place = first[top.at] if top.at < len(first) else top.rule.items

    def _close(self, at: int) -> None:
        self._blank(at)
        closed = self._top
        if closed is None:
            self._over = True
            return
        self._top, self._naming = closed.outer, False
        self._finished(closed.start, at + 1)

    def _comma(self, at: int) -> None:
        self._blank(at)
        if self._top is None:
            self._over = True
            return
        self._top = self._top._replace(at=self._top.at + 1)
        self._next(self._top)

    def _colon(self, at: int) -> None:
        del at
        self._naming, self._waits = False, True

    def _named(self, end: int) -> None:
        rule = _NOTHING if self._top is None else self._top.rule
        self._place = rule.rest
        if rule.names:
            name = canonical(self._text[self._start : end])
            self._place = rule.names.get(name, rule.rest) if isinstance(name, str) else -1
        self._start, self._naming = -1, False

    def _finished(self, start: int, end: int) -> None:
        """The value from `start` to `end`."""
        self._start, self._waits = -1, False
        top = self._top
        if top is None:
            self._lead = NEXT_CALL if self._reader.calls else None
            self._over = self._lead is None
        elif top.items is not None:
            self._refuse(not top.items.add(canonical(self._text[start:end]), top.at))

    _HANDLERS: ClassVar = {
        **dict.fromkeys(BLANKS, _blank),
        **dict.fromkeys(b"[{", _open),
        **dict.fromkeys(b"]}", _close),
        ord('"'): _quote,
        ord(","): _comma,
        ord(":"): _colon,
    }
