"""From raw numbers to a table of medians and ratios, and a JSON file of everything."""

from __future__ import annotations

import json
import platform
import statistics
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import psutil
from rich.console import Console
from rich.table import Table


@dataclass(frozen=True)
class Metric:
    name: str
    unit: str
    more_is_better: bool
    compared: bool = True
    """Whether a ratio to another contender says anything."""


@dataclass
class Results:
    """One list of values for each metric and contender, one value a round."""

    values: dict[Metric, dict[str, list[float]]] = field(default_factory=dict[Metric, dict[str, list[float]]])

    def add(self, metric: Metric, contender: str, value: float) -> None:
        self.values.setdefault(metric, {}).setdefault(contender, []).append(value)

    def ratios(self, metric: Metric, other: str) -> list[float]:
        """Ours against `other`, round by round, so that what slows a whole round down cancels out.
        Above 1 is better than the other, also for times."""
        if not metric.compared:
            return []
        pairs = zip(self.values[metric]["agentkit"], self.values[metric].get(other, []), strict=False)
        return [ours / theirs if metric.more_is_better else theirs / ours for ours, theirs in pairs]


def spread(values: list[float], digits: int) -> str:
    if not values:
        return ""
    low, middle, high = min(values), statistics.median(values), max(values)
    return f"{middle:.{digits}f} ({low:.{digits}f}-{high:.{digits}f})"


def show(results: Results, contenders: list[str], commands: dict[str, str]) -> None:
    console = Console(width=140)
    for name in contenders:
        console.print(f"{name}: {commands[name]}", soft_wrap=True, highlight=False)
    table = Table(title="median (min-max); a ratio above 1 means that agentkit is better")
    table.add_column("")
    for name in contenders:
        table.add_column(name, justify="right")
    others = [name for name in contenders if name != "agentkit"]
    for name in others:
        table.add_column(f"against {name}", justify="right")
    for metric, values in results.values.items():
        digits = 1 if metric.unit == "tokens/s" else 3
        cells = [spread(values.get(name, []), digits) for name in contenders]
        ratios = [spread(results.ratios(metric, name), 2) for name in others]
        table.add_row(f"{metric.name}, {metric.unit}".rstrip(", "), *cells, *ratios)
    console.print(table)


def write(results: Results, facts: dict[str, Any], folder: Path) -> Path:
    """Write everything measured; returns the file."""
    path = folder / time.strftime("bench-%Y%m%d-%H%M%S.json")
    metrics = [
        {
            "metric": metric.name,
            "unit": metric.unit,
            "values": values,
            "ratios": {name: results.ratios(metric, name) for name in values if name != "agentkit"},
        }
        for metric, values in results.values.items()
    ]
    machine = {
        "system": platform.platform(),
        "machine": platform.machine(),
        "physical_cores": psutil.cpu_count(logical=False),
        "load": psutil.getloadavg()[0],
    }
    path.write_text(json.dumps({"machine": machine, **facts, "metrics": metrics}, indent=2) + "\n")
    return path
