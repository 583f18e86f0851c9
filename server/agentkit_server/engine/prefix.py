"""The prefix cache: finished sequences that stay resident until their cells are needed."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

Ints = npt.NDArray[np.int32]


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
    """A resident sequence: `tokens[i]` is in cell `cells[i]`."""

    seq_id: int
    tokens: Ints
    cells: Ints
    used: int = 0
    """Tick of the last use; the smallest goes first."""


class PrefixCache:
    """Resident sequences, found by content and evicted least recently used first.

    A linear search: at the 256 sequences that llama.cpp allows it costs under 1 ms, once a request.
    """

    def __init__(self, *, whole_only: bool) -> None:
        self._whole_only = whole_only
        self._entries: list[Cached] = []
        self._tick = 0

    def __len__(self) -> int:
        return len(self._entries)

    @property
    def entries(self) -> tuple[Cached, ...]:
        return tuple(self._entries)

    def add(self, entry: Cached) -> list[Cached]:
        """Keep `entry`; returns entries that it makes superfluous (their tokens begin it)."""
        stale = [e for e in self._entries if common_prefix(e.tokens, entry.tokens) == len(e.tokens)]
        if self._whole_only:
            # The state of a shorter sequence cannot be cut out of a longer one.
            stale = [e for e in stale if len(e.tokens) == len(entry.tokens)]
        for old in stale:
            self._entries.remove(old)
        self._entries.append(entry)
        self.touch(entry)
        return stale

    def touch(self, entry: Cached) -> None:
        self._tick += 1
        entry.used = self._tick

    def longest(self, tokens: Ints) -> tuple[Cached | None, int]:
        """The entry that shares the longest usable prefix with `tokens`, and its length."""
        best: Cached | None = None
        length = 0
        for entry in self._entries:
            n = common_prefix(entry.tokens, tokens)
            if self._whole_only and n < len(entry.tokens):
                continue
            if n > length or (n == length and best is not None and len(entry.tokens) < len(best.tokens)):
                best, length = entry, n
        return best, length

    def remove(self, entry: Cached) -> None:
        self._entries.remove(entry)

    def oldest(self, *, but: Cached | None = None) -> Cached | None:
        return min((e for e in self._entries if e is not but), key=lambda e: e.used, default=None)
