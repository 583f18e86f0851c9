"""How many threads compute: as many as the machine really gives.

llama.cpp's threads meet at a barrier after every operation and spin there. One that loses its core to
another program holds up all the others: with a compiler running beside it, decode fell from 106 to 5
tokens/s on two cores, where a single thread still made 40 to 70. Waiting without spinning avoids that and
costs a third of the speed on a quiet machine. So spin, and when the threads get less processor time than
they ask for, try fewer and keep what is faster.
"""

from __future__ import annotations

from collections.abc import Callable

WINDOW_NS = 300_000_000
"""Of computing; judged as a whole."""
MOST_ROWS = 64
"""Larger batches are prefill, whose rows cost less: they would not compare."""
CROWDED = 0.85
"""Below this share of the asked-for processor time it is worth trying fewer threads."""
FIRST_HOLD_NS = 1_000_000_000
LONGEST_HOLD_NS = 8_000_000_000


class Threads:
    """Chooses between 1 and `most` threads; `apply` is told each change."""

    def __init__(self, most: int, apply: Callable[[int], None]) -> None:
        self._most = most
        self._apply = apply
        self.count = most
        self._wall_ns = 0
        self._cpu_ns = 0
        self._rows = 0
        self._before: tuple[int, float] | None = None
        """While a change is on trial: the count and the time a row it has to beat."""
        self._hold_ns = FIRST_HOLD_NS
        self._hold_until_ns = 0

    def observe(self, rows: int, wall_ns: int, cpu_ns: int, now_ns: int) -> None:
        """A batch of `rows` took `wall_ns`, in which this process used `cpu_ns` of processor time."""
        if self._most == 1 or rows > MOST_ROWS:
            return
        self._wall_ns += wall_ns
        self._cpu_ns += cpu_ns
        self._rows += rows
        if self._wall_ns >= WINDOW_NS:
            share = self._cpu_ns / (self._wall_ns * self.count)
            self._judge(share, self._wall_ns / self._rows, now_ns)
            self._wall_ns = self._cpu_ns = self._rows = 0

    def _judge(self, share: float, ns_per_row: float, now_ns: int) -> None:
        if self._before is not None:
            self._end_trial(ns_per_row, now_ns)
        elif now_ns < self._hold_until_ns:
            return
        elif share < CROWDED and self.count > 1:
            self._try(max(1, min(self.count - 1, round(share * self.count))), ns_per_row)
        elif self.count < self._most:
            self._try(self.count + 1, ns_per_row)

    def _try(self, count: int, ns_per_row: float) -> None:
        self._before = self.count, ns_per_row
        self._change(count)

    def _end_trial(self, ns_per_row: float, now_ns: int) -> None:
        """Keep the change if it made rows faster. Each trial in vain makes the next one wait longer."""
        assert self._before is not None
        (count, best), self._before = self._before, None
        if ns_per_row < best:
            self._hold_ns = FIRST_HOLD_NS
        else:
            self._change(count)
            self._hold_ns = min(2 * self._hold_ns, LONGEST_HOLD_NS)
        self._hold_until_ns = now_ns + self._hold_ns

    def _change(self, count: int) -> None:
        self.count = count
        self._apply(count)
