"""What `import agentkit` costs: wall time of a fresh interpreter, beside one that imports pydantic and httpx
alone. The two take turns, so that a machine that slows down slows down both.

    python -m tests.bench.imports
"""

from __future__ import annotations

import os
import statistics
import subprocess
import sys
import time
from dataclasses import dataclass

from rich.console import Console
from rich.table import Table

PROGRAMS = {
    "pydantic, httpx": "import pydantic, httpx",
    "agentkit": "import agentkit",
    "agentkit.Client": "from agentkit import Client",
    "agentkit, every name": "from agentkit import *",
    "the ollama package": "import ollama",
}
BASE = next(iter(PROGRAMS))
MOST = 1.2
"""How often the time of the base `import agentkit` may take."""


@dataclass(frozen=True)
class Start:
    """One start of a process, in milliseconds. On a machine that does other work, only `cpu` says much."""

    wall: float
    cpu: float


def measured(rounds: int) -> dict[str, list[Start]]:
    """`rounds` starts of each program, after one that counts for nothing."""
    starts: dict[str, list[Start]] = {name: [] for name in PROGRAMS}
    for round_ in range(rounds + 1):
        for name in PROGRAMS if round_ % 2 else reversed(PROGRAMS):
            start = _start(PROGRAMS[name])
            if round_:
                starts[name].append(start)
    return starts


def ratios(ours: list[float], base: list[float]) -> list[float]:
    """One against the other, round by round."""
    return [one / other for one, other in zip(ours, base, strict=True)]


def show(starts: dict[str, list[Start]]) -> None:
    title = f"start of a process, median (least-most); the goal of `import agentkit`: {MOST} times the base"
    table = Table("imports", title=title)
    for heading in ("wall, ms", "times the base", "CPU, ms", "times the base"):
        table.add_column(heading, justify="right")
    for name in PROGRAMS:
        cells: list[str] = []
        for values, base in zip(_columns(starts[name]), _columns(starts[BASE]), strict=True):
            cells += [_spread(values, 0), "" if name == BASE else _spread(ratios(values, base), 2)]
        table.add_row(name, *cells)
    Console(width=120).print(table)


def _columns(starts: list[Start]) -> tuple[list[float], list[float]]:
    return [start.wall for start in starts], [start.cpu for start in starts]


def _start(program: str) -> Start:
    before, begin = _children_cpu(), time.perf_counter()
    subprocess.run([sys.executable, "-c", program], check=True)
    return Start(1000 * (time.perf_counter() - begin), 1000 * (_children_cpu() - before))


def _children_cpu() -> float:
    times = os.times()
    return times.children_user + times.children_system


def _spread(values: list[float], digits: int) -> str:
    low, middle, high = min(values), statistics.median(values), max(values)
    return f"{middle:.{digits}f} ({low:.{digits}f}-{high:.{digits}f})"


if __name__ == "__main__":
    show(measured(10))
