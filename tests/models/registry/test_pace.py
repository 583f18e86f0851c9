from __future__ import annotations

import pytest

from agentkit_server.models.registry.pace import Pace

pytestmark = pytest.mark.anyio


class Clock:
    """Time that passes when somebody sleeps."""

    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now

    async def sleep(self, seconds: float) -> None:
        self.now += seconds


async def test_what_is_moved_takes_as_long_as_the_rate_says() -> None:
    clock = Clock()
    pace = Pace(1000, clock=clock, sleep=clock.sleep)
    for _ in range(20):
        await pace.spend(500)
    assert clock.now == pytest.approx(110.0)


async def test_idle_time_is_not_saved_up() -> None:
    clock = Clock()
    pace = Pace(1000, clock=clock, sleep=clock.sleep)
    await pace.spend(1000)
    clock.now += 60
    await pace.spend(1000)
    assert clock.now == pytest.approx(162.0)


async def test_without_a_rate_nobody_waits() -> None:
    clock = Clock()
    await Pace(0, clock=clock, sleep=clock.sleep).spend(1 << 40)
    assert clock.now == 100.0
