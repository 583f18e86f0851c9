"""Bookkeeping of KV cells: how many are free, and which are shared.

llama.cpp shares a cell between sequences by itself and tells nobody how many are left. Here every cell
that a sequence holds is a number; sharing raises its count, release lowers it, zero frees it.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

Ids = npt.NDArray[np.int32]


class Cells:
    """`total` cells with reference counts. Ids are ours, not llama.cpp's cell indices."""

    def __init__(self, total: int) -> None:
        self.total = total
        self._count = np.zeros(total, np.int32)
        self._stack = np.arange(total - 1, -1, -1, dtype=np.int32)
        self._top = total

    @property
    def free(self) -> int:
        return self._top

    @property
    def used(self) -> int:
        return self.total - self._top

    def take(self, n: int) -> Ids:
        """`n` fresh cells (n <= free), each with one holder."""
        if n > self._top:
            raise ValueError(f"{n} cells asked for and {self._top} free")
        ids = self._stack[self._top - n : self._top].copy()
        self._top -= n
        self._count[ids] = 1
        return ids

    def share(self, ids: Ids) -> None:
        """One more holder for each of `ids` (all held already, no id twice)."""
        self._count[ids] += 1

    def release(self, ids: Ids) -> None:
        """One holder less; cells without a holder are free again."""
        self._count[ids] -= 1
        freed = ids[self._count[ids] == 0]
        self._stack[self._top : self._top + len(freed)] = freed
        self._top += len(freed)

    def only_held_once(self, ids: Ids) -> int:
        """How many of `ids` a release would free."""
        return int((self._count[ids] == 1).sum())
