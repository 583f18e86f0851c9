"""The prefix cache: finished sequences, kept for the next prompt that begins like them.

An entry is *resident* (its KV cells stay where they are) or *parked* (a copy of its state in ordinary
memory, its cells given up). Resident entries are free to continue, and slow everyone else down:
attention walks over every cell up to the last one in use, whoever it belongs to, and divides the walk
among threads by cell number. With 2,000 foreign cells in front, smollm2 decoded at 88 tokens/s where it
made 142 alone; copying them out and back takes milliseconds.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from time import monotonic

import numpy as np
import numpy.typing as npt

Ints = npt.NDArray[np.int32]
Bytes = npt.NDArray[np.uint8]

LONGEST_PIN_S = 1800.0
"""A run that was not heard of for so long has died without a word."""
MOST_ENTRIES = 256
"""The search is linear and takes about 1 ms at this many."""
MOST_PINS = MOST_ENTRIES // 4
"""So that runs leave room for everybody else. Beyond that the oldest is let go of."""
# Bringing a parked entry back copies all of it: worth it from these on, for computing a token costs as
# much as copying a hundred.
LEAST_PARKED = 16
PARKED_SHARE = 64


def common_prefix(a: Ints, b: Ints) -> int:
    """Length of the longest common prefix."""
    n = min(len(a), len(b))
    if n == 0 or a[0] != b[0]:
        return 0
    differs = a[:n] != b[:n]
    at = int(differs.argmax())
    return at if differs[at] else n


@dataclass(eq=False)
class Cached:
    """`tokens[i]` is in cell `cells[i]` of sequence `seq_id`, or all of it is in `state`."""

    seq_id: int
    tokens: Ints
    cells: Ints
    state: Bytes | None = None
    used: int = 0
    """Tick of the last use; the smallest goes first."""
    pins: dict[str, float] = field(default_factory=dict[str, float])
    """Who wants it kept, and since when in seconds of the monotonic clock."""
    adapters: int = 0
    """The set of adapters that it was computed with: it is worth nothing to any other."""

    @property
    def parked(self) -> bool:
        return self.state is not None

    @property
    def held(self) -> bool:
        """Does somebody want it kept who was heard of lately?"""
        return bool(self.pins) and monotonic() - max(self.pins.values()) < LONGEST_PIN_S

    def usable(self, n: int, *, whole_only: bool) -> bool:
        """Is it worth, and possible, to begin with the first `n` tokens of this entry?"""
        if whole_only and n < len(self.tokens):
            return False
        return not self.parked or (n >= LEAST_PARKED and n * PARKED_SHARE >= len(self.tokens))


class PrefixCache:
    """Entries found by content and given up least recently used first."""

    def __init__(self, *, whole_only: bool) -> None:
        self._whole_only = whole_only
        self._entries: list[Cached] = []
        self._tick = 0

    def __len__(self) -> int:
        return len(self._entries)

    @property
    def entries(self) -> tuple[Cached, ...]:
        return tuple(self._entries)

    @property
    def parked_bytes(self) -> int:
        return sum(e.state.nbytes for e in self._entries if e.state is not None)

    def add(self, entry: Cached) -> list[Cached]:
        """Keep `entry`; returns entries that must go: those that it makes superfluous (their tokens
        begin it), and the oldest when there are too many."""
        self._pin_once(entry)
        same = (e for e in self._entries if e.adapters == entry.adapters)
        stale = [e for e in same if common_prefix(e.tokens, entry.tokens) == len(e.tokens)]
        if self._whole_only:
            # The state of a shorter sequence cannot be cut out of a longer one.
            stale = [e for e in stale if len(e.tokens) == len(entry.tokens)]
        for old in stale:
            # What others pinned and this covers is kept by this.
            entry.pins.update(old.pins)
            self._entries.remove(old)
        self._entries.append(entry)
        self._bound_pins()
        self.touch(entry)
        if len(self._entries) > MOST_ENTRIES:
            oldest = min(self._entries, key=_order)
            self._entries.remove(oldest)
            stale.append(oldest)
        return stale

    def _pin_once(self, entry: Cached) -> None:
        """A name pins only the prefix that it was given for last, with each set of adapters."""
        for other in (e for e in self._entries if e.adapters == entry.adapters):
            for pin in entry.pins.keys() & other.pins.keys():
                older = other if other.pins[pin] <= entry.pins[pin] else entry
                del older.pins[pin]

    def _bound_pins(self) -> None:
        pins = [(since, pin, entry) for entry in self._entries for pin, since in entry.pins.items()]
        for _, pin, entry in sorted(pins, key=lambda each: each[0])[: max(0, len(pins) - MOST_PINS)]:
            del entry.pins[pin]

    def touch(self, entry: Cached) -> None:
        self._tick += 1
        entry.used = self._tick

    def longest(self, tokens: Ints, adapters: int = 0) -> tuple[Cached | None, int]:
        """The entry that shares the longest usable prefix with `tokens`, computed with `adapters`, and its
        length. Of equals a resident one, then the one with least to lose."""
        best: Cached | None = None
        best_key = (0, False, 0)
        for entry in self._entries:
            if entry.adapters != adapters:
                continue
            n = common_prefix(entry.tokens, tokens)
            key = (n, not entry.parked, -len(entry.tokens))
            if n and key > best_key and entry.usable(n, whole_only=self._whole_only):
                best, best_key = entry, key
        return best, best_key[0]

    def remove(self, entry: Cached) -> None:
        self._entries.remove(entry)

    def oldest(self, *, parked: bool = False, but: Cached | None = None) -> Cached | None:
        """The resident (or the parked) entry that was not used for longest, pinned ones last."""
        some = (e for e in self._entries if e.parked == parked and e is not but)
        return min(some, key=_order, default=None)

    @property
    def pins(self) -> int:
        """How many entries are pinned."""
        return sum(bool(entry.pins) for entry in self._entries)

    @property
    def held_bytes(self) -> int:
        """Of the parked entries that are held."""
        return sum(e.state.nbytes for e in self._entries if e.state is not None and e.held)

    def unpin(self, pin: str) -> None:
        """Let what is pinned as `pin` go like any other."""
        for entry in self._entries:
            entry.pins.pop(pin, None)


def _order(entry: Cached) -> tuple[bool, int]:
    return entry.held, entry.used
