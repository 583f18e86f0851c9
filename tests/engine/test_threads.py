from __future__ import annotations

from agentkit_server.engine.threads import FIRST_HOLD_NS, WINDOW_NS, Threads


def test_threads_that_get_their_cores_stay() -> None:
    changes: list[int] = []
    threads = Threads(4, changes.append)
    for _ in range(50):
        threads.observe(WINDOW_NS, int(3.9 * WINDOW_NS))
    assert changes == []


def test_threads_that_lose_their_cores_become_fewer_down_to_one() -> None:
    changes: list[int] = []
    threads = Threads(3, changes.append)
    for _ in range(4):
        threads.observe(WINDOW_NS, WINDOW_NS // 2)
    assert changes == [2, 1]


def test_after_a_while_more_are_tried_and_each_failure_makes_the_while_longer() -> None:
    threads = Threads(2, lambda _: None)
    waits: list[int] = []
    waited = 0
    for _ in range(200):
        crowded = threads.count == 2
        before = threads.count
        threads.observe(WINDOW_NS, WINDOW_NS)
        waited = waited + 1 if not crowded else waited
        if before == 1 and threads.count == 2:
            waits.append(waited)
            waited = 0
    assert waits[0] * WINDOW_NS >= FIRST_HOLD_NS
    assert waits[1] > waits[0]
    assert waits[2] > waits[1]


def test_a_machine_that_has_become_quiet_is_used_again() -> None:
    threads = Threads(2, lambda _: None)
    threads.observe(WINDOW_NS, WINDOW_NS)
    assert threads.count == 1
    for _ in range(20):
        threads.observe(WINDOW_NS, threads.count * WINDOW_NS)
    assert threads.count == 2


def test_short_steps_are_judged_together() -> None:
    changes: list[int] = []
    threads = Threads(2, changes.append)
    for _ in range(9):
        threads.observe(WINDOW_NS // 10, WINDOW_NS // 10)
    assert changes == []
    threads.observe(WINDOW_NS // 10, WINDOW_NS // 10)
    assert changes == [1]
