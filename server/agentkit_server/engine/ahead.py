"""A thread that computes masks while the model computes: the mask of a place depends only on the tokens
before it, and both calls release the interpreter lock.

On two cores that are both busy it gains nothing and costs nothing (99 against 100 tokens/s): it is for
machines with a core to spare, and for batches of many constrained sequences.
"""

from __future__ import annotations

import threading
from collections.abc import Sequence
from queue import SimpleQueue

from agentkit_server.engine.constraint import Constraint


class Ahead:
    """`begin` hands constraints over to the thread, `finish` gives them back, each with its mask."""

    def __init__(self) -> None:
        self._orders: SimpleQueue[Sequence[Constraint] | None] = SimpleQueue()
        self._results: SimpleQueue[BaseException | None] = SimpleQueue()
        self._thread: threading.Thread | None = None
        self._busy = False

    def begin(self, constraints: Sequence[Constraint]) -> None:
        """Nobody else may use `constraints` until `finish`."""
        if not constraints:
            return
        if self._thread is None:
            self._thread = threading.Thread(target=self._work, name="masks", daemon=True)
            self._thread.start()
        self._orders.put(constraints)
        self._busy = True

    def finish(self) -> None:
        if self._busy:
            self._busy = False
            error = self._results.get()
            if error is not None:
                raise error

    def close(self) -> None:
        if self._thread is not None:
            self._orders.put(None)
            self._thread.join()
            self._thread = None

    def _work(self) -> None:
        while (constraints := self._orders.get()) is not None:
            try:
                for constraint in constraints:
                    constraint.prepare()
                self._results.put(None)
            except BaseException as error:
                self._results.put(error)
