from __future__ import annotations

from dataclasses import dataclass, field

from agentkit_server.engine.threads import FIRST_HOLD_NS, LONGEST_HOLD_NS, MOST_ROWS, WINDOW_NS, Threads


@dataclass
class Machine:
    """Computes in virtual time: `speed[count]` rows a window, at a share of the cores."""

    speed: dict[int, int]
    share: dict[int, float]
    most: int = 2
    now: int = 0
    changes: list[tuple[int, int]] = field(default_factory=list[tuple[int, int]])

    def __post_init__(self) -> None:
        self.threads = Threads(self.most, lambda count: self.changes.append((self.now, count)))

    def compute(self, windows: int) -> None:
        for _ in range(windows):
            self.now += WINDOW_NS
            count = self.threads.count
            cpu = int(self.share[count] * count * WINDOW_NS)
            self.threads.observe(self.speed[count], WINDOW_NS, cpu, self.now)


def test_threads_that_get_their_cores_stay() -> None:
    machine = Machine({2: 30, 1: 16}, {2: 0.97, 1: 1.0})
    machine.compute(100)
    assert machine.changes == []


def test_on_a_crowded_machine_fewer_are_kept_because_they_are_faster() -> None:
    machine = Machine({3: 2, 2: 4, 1: 12}, {3: 0.4, 2: 0.6, 1: 1.0}, most=3)
    machine.compute(20)
    assert machine.threads.count == 1


def test_where_fewer_are_slower_the_trial_is_short_and_trials_become_rare() -> None:
    machine = Machine({2: 30, 1: 16}, {2: 0.8, 1: 1.0})
    machine.compute(400)
    tries = [now for now, count in machine.changes if count == 1]
    ends = [now for now, count in machine.changes if count == 2]
    assert [b - a for a, b in zip(tries, ends, strict=True)] == [WINDOW_NS] * len(tries)
    waits = [b - a for a, b in zip(ends, tries[1:], strict=False)]
    assert waits == sorted(waits)
    assert waits[0] >= FIRST_HOLD_NS
    assert waits[-1] >= LONGEST_HOLD_NS


def test_a_machine_that_has_become_quiet_is_used_again() -> None:
    machine = Machine({2: 4, 1: 16}, {2: 0.5, 1: 1.0})
    machine.compute(60)
    assert machine.threads.count == 1
    machine.speed[2], machine.share[2] = 30, 1.0
    machine.compute(2 + LONGEST_HOLD_NS // WINDOW_NS)
    assert machine.threads.count == 2


def test_prefill_is_not_judged() -> None:
    machine = Machine({2: MOST_ROWS + 1, 1: 1}, {2: 0.1, 1: 1.0})
    machine.compute(50)
    assert machine.changes == []


def test_a_single_thread_is_left_alone() -> None:
    machine = Machine({1: 5}, {1: 0.1}, most=1)
    machine.compute(50)
    assert machine.changes == []
