"""Whose turn it is: a batch is computed with one set of adapters, so sequences with different sets alternate.

A change of the set costs llama.cpp some milliseconds (it plans its work anew), nearly as much as a step of a
small model: with a change before each step, two streams of smollm2 take twice the time. So a set keeps its
turn for a while, and the next one is that which has waited longest: none starves, and each has the same share
of the time. One that comes, or comes again, waits from then on: short requests that follow each other do not
pass by who was there all the time. Where all sequences have the same set there is nothing to decide.
"""

from __future__ import annotations

from collections.abc import Callable
from time import monotonic_ns

from agentkit_server.engine.sequence import Sequence

TURN_NS = 80_000_000
"""That a turn lasts at least: long against a change, short for who reads along."""
TURN_STEPS = 3
"""… and so many batches, where other programs make them slow, but …"""
LONGEST_NS = 4 * TURN_NS
"""… no batch is added to a turn that took so long: one of a long prompt may take seconds."""
LONG_AGO_NS = -LONGEST_NS


class Turns:
    """`clock` gives nanoseconds."""

    def __init__(self, clock: Callable[[], int] = monotonic_ns) -> None:
        self._clock = clock
        self._current = -1
        self._began_ns = LONG_AGO_NS
        self._steps = 0
        self._since: dict[int, int] = {}
        """Since when each set waits."""

    def pick(self, running: list[Sequence]) -> list[Sequence]:
        """Those of `running` that are computed now."""
        sets = {sequence.adapters for sequence in running}
        if len(sets) < 2:
            # Who has had it all alone gives way to the next who comes.
            self._current, self._began_ns = next(iter(sets), -1), LONG_AGO_NS
            return running
        now = self._clock()
        self._since = {number: self._since.get(number, now) for number in sets}
        self._steps += 1
        enough = self._steps >= TURN_STEPS or now - self._began_ns >= LONGEST_NS
        over = enough and now - self._began_ns >= TURN_NS
        if over or self._current not in sets:
            # Who just had a turn waits shortest.
            self._since.pop(self._current, None)
            self._current = min(self._since, key=lambda number: (self._since[number], number))
            self._since = {number: self._since.get(number, now) for number in sets}
            self._began_ns, self._steps = now, 0
        return [sequence for sequence in running if sequence.adapters == self._current]

    def give_up(self) -> None:
        """Who has the turn can do nothing with it."""
        self._began_ns = LONG_AGO_NS
