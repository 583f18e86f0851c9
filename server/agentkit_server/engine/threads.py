"""How many threads compute: as many as the machine really gives.

llama.cpp's threads meet at a barrier after every operation and spin there. One that loses its core to
another program holds up all the others: with a compiler running beside it, decode fell from 106 to 5
tokens/s on two cores, where a single thread still made 40 to 70. Waiting without spinning avoids that and
costs a third of the speed on a quiet machine. So spin, watch the share of processor time that the
threads got while llama_decode ran, and use fewer while others need the cores.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import psutil

WINDOW_NS = 300_000_000
CROWDED = 0.72
"""Below this share of the asked-for processor time a core is being fought over: two programs that want
the same core get half of it each."""
FIRST_HOLD_NS = 2_000_000_000
LONGEST_HOLD_NS = 60_000_000_000


def cores() -> int:
    """Cores that this process may use: physical ones, by affinity, and by a container's quota."""
    allowed = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return max(1, min(psutil.cpu_count(logical=False) or allowed, allowed, _quota(Path("/sys/fs/cgroup"))))


def _quota(folder: Path) -> int:
    """Whole cores of a cgroup's processor quota (v2, then v1); very many when there is none."""
    for names in (("cpu.max",), ("cpu/cpu.cfs_quota_us", "cpu/cpu.cfs_period_us")):
        files = [folder / name for name in names]
        if not all(file.exists() for file in files):
            continue
        words = " ".join(file.read_text() for file in files).split()
        if len(words) == 2 and words[0] not in ("max", "-1"):
            return max(1, int(words[0]) // max(1, int(words[1])))
    return 1 << 16


class Threads:
    """Chooses between 1 and `most` threads; `apply` is told each change."""

    def __init__(self, most: int, apply: Callable[[int], None]) -> None:
        self._most = most
        self._apply = apply
        self.count = most
        self._wall_ns = 0
        self._cpu_ns = 0
        self._hold_ns = FIRST_HOLD_NS
        self._held_ns = 0

    def observe(self, wall_ns: int, cpu_ns: int) -> None:
        """One llama_decode took `wall_ns`, in which this process used `cpu_ns` of processor time."""
        if self._most == 1:
            return
        self._wall_ns += wall_ns
        self._cpu_ns += cpu_ns
        if self._wall_ns < WINDOW_NS:
            return
        share = self._cpu_ns / (self._wall_ns * self.count)
        self._held_ns += self._wall_ns
        self._wall_ns = self._cpu_ns = 0
        if share < CROWDED and self.count > 1:
            self._fewer(share)
        elif self.count < self._most and self._held_ns >= self._hold_ns:
            self._change(self.count + 1)
        elif self.count == self._most and self._held_ns >= self._hold_ns:
            self._hold_ns = FIRST_HOLD_NS

    def _fewer(self, share: float) -> None:
        """As many as the share is worth. Each attempt at more that fails makes the next one wait longer."""
        if self._held_ns < self._hold_ns:
            self._hold_ns = min(2 * self._hold_ns, LONGEST_HOLD_NS)
        self._change(max(1, min(self.count - 1, round(share * self.count))))

    def _change(self, count: int) -> None:
        self.count = count
        self._held_ns = 0
        self._apply(count)
