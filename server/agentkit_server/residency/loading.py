"""One load: a runner, or an error that says what happened.

A load that shows no progress for too long is given up; a child that a signal ended while it warmed up
is tried once more without repacked buffers. Cancelling the load cancels the launch.
"""

from __future__ import annotations

import asyncio
import logging
import signal
from collections.abc import Callable
from dataclasses import dataclass

import msgspec

from agentkit_server.engine.types import LoadSpec
from agentkit_server.errors import InsufficientMemory, LoadFailed, RunnerCrashed
from agentkit_server.residency.clock import Clock, Timer
from agentkit_server.runner.protocol import Launcher, OnProgress, Runner

log = logging.getLogger(__name__)

UNPACKED_NOTE = "loaded without repacked weight buffers after signal {signal} at warm-up; slower"
_MEMORY_WORDS = ("out of memory", "alloc", "no memory", "insufficient memory")


@dataclass(frozen=True)
class Load:
    """How a model is loaded. `stall` is the longest time in seconds without progress; <= 0 = no limit."""

    launcher: Launcher
    clock: Clock
    stall: float

    async def run(self, spec: LoadSpec, on_progress: OnProgress) -> tuple[Runner, str]:
        """The runner, and a note on what was unusual ("" = nothing). Raises LoadFailed."""
        try:
            return await self._launch(spec, on_progress), ""
        except RunnerCrashed as crash:
            if is_memory(crash) or not spec.use_extra_bufts:
                raise
            note = UNPACKED_NOTE.format(signal=crash.signal)
            log.warning("%s: %s; trying once more without repacked buffers", spec.path, crash.message)
        safe = msgspec.structs.replace(spec, use_extra_bufts=False)
        return await self._launch(safe, on_progress), note

    async def _launch(self, spec: LoadSpec, on_progress: OnProgress) -> Runner:
        try:
            async with asyncio.timeout(None) as limit:
                alarm = _Alarm(self.clock, self.stall, lambda: limit.reschedule(0))
                try:
                    return await self.launcher.launch(spec, alarm.heard(on_progress))
                finally:
                    alarm.cancel()
        except TimeoutError:
            raise LoadFailed(
                f"loading {spec.path!r} made no progress for {self.stall:g} seconds and was given up; "
                f"try again, or raise AGENTKIT_LOAD_TIMEOUT"
            ) from None


def is_memory(error: LoadFailed) -> bool:
    """Whether a load failed for want of memory, as far as can be told: other models are evicted for
    such a failure only, a broken file must not cost them their place."""
    if isinstance(error, RunnerCrashed) and error.signal == signal.SIGKILL:
        return True
    return isinstance(error, InsufficientMemory) or any(
        word in error.message.lower() for word in _MEMORY_WORDS
    )


class _Alarm:
    """Rings when nothing was heard for `seconds`."""

    def __init__(self, clock: Clock, seconds: float, ring: Callable[[], None]) -> None:
        self._clock = clock
        self._seconds = seconds
        self._ring = ring
        self._timer: Timer | None = None
        self._set()

    def heard(self, report: OnProgress) -> OnProgress:
        """`report`, winding the alarm up anew with each call."""

        def progress(fraction: float) -> None:
            self._set()
            report(fraction)

        return progress

    def cancel(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _set(self) -> None:
        self.cancel()
        if self._seconds > 0:
            self._timer = self._clock.call_later(self._seconds, self._ring)
