"""What this machine has for us right now: memory and cores, by the system and by every cgroup above us.

Server and runner both ask: the one before it loads a model, the other before it keeps something.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import psutil


@dataclass(frozen=True)
class Memory:
    """What a machine has right now. `capacity` is what it would have with nothing else running."""

    available: int
    capacity: int
    vram_total: int = 0


Probe = Callable[[], Memory]


def cores(root: Path = Path("/")) -> int:
    """Cores that this process may use: physical ones, by affinity, and by a container's quota."""
    allowed = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return max(1, min(psutil.cpu_count(logical=False) or allowed, allowed, _quota(root / "sys/fs/cgroup")))


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


def probe(root: Path = Path("/")) -> Memory:
    """Ask the system. `root` is where /proc and /sys are."""
    system = psutil.virtual_memory()
    limits = [*_cgroup_v2(root), *_cgroup_v1(root)]
    return Memory(
        available=min([system.available, *(max(limit - used, 0) for limit, used in limits)]),
        capacity=min([system.total, *(limit for limit, _ in limits)]),
    )


def _cgroup_v2(root: Path) -> list[tuple[int, int]]:
    """(limit, used) of our group and every group above it that has a limit."""
    return [
        (limit, max(used - _stat(folder, "inactive_file"), 0))
        for folder in _folders(root, "sys/fs/cgroup", "")
        if (limit := _count(folder / "memory.max")) is not None
        and (used := _count(folder / "memory.current")) is not None
    ]


def _cgroup_v1(root: Path) -> list[tuple[int, int]]:
    return [
        (limit, max(used - _stat(folder, "total_inactive_file"), 0))
        for folder in _folders(root, "sys/fs/cgroup/memory", "memory")
        if (limit := _count(folder / "memory.limit_in_bytes")) is not None
        and (used := _count(folder / "memory.usage_in_bytes")) is not None
    ]


def _folders(root: Path, mount: str, controller: str) -> list[Path]:
    """Our group's folder of `controller` and its parents. Inside a container the path of the host may
    not exist: then the mount itself is our group."""
    top = root / mount
    own = ""
    for line in _read(root / "proc/self/cgroup").splitlines():
        _, names, path = line.split(":", 2)
        if controller in names.split(","):
            own = path.strip("/")
    folder = top / own
    above = [folder, *folder.parents] if own else [top]
    return [candidate for candidate in above if candidate == top or candidate.is_relative_to(top)]


def _count(path: Path) -> int | None:
    """A number in a file; None when there is none or it means "no limit"."""
    text = _read(path).strip()
    # cgroup v1 writes "no limit" as the largest multiple of a page.
    return int(text) if text.isdigit() and int(text) < 1 << 62 else None


def _stat(folder: Path, key: str) -> int:
    for line in _read(folder / "memory.stat").splitlines():
        name, _, value = line.partition(" ")
        if name == key and value.strip().isdigit():
            return int(value)
    return 0


def _read(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8")
    except OSError:
        return ""
