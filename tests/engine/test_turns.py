"""Whose turn it is when sequences have different adapters."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import pytest

from agentkit_server.engine.turns import LONGEST_NS, TURN_NS, TURN_STEPS, Turns


@dataclass
class Runs:
    """Stands in for a sequence."""

    adapters: int


class Clock:
    def __init__(self) -> None:
        self.now = 1

    def __call__(self) -> int:
        return self.now


def picked(turns: Turns, running: list[Any]) -> list[int]:
    return [sequence.adapters for sequence in turns.pick(running)]


def no_clock() -> int:
    pytest.fail("nobody has to look at the clock")


def test_sequences_of_one_set_all_run_without_a_look_at_the_clock() -> None:
    turns = Turns(no_clock)
    same: list[Any] = [Runs(3), Runs(3)]
    assert turns.pick(same) is same
    assert turns.pick([]) == []


def test_each_set_has_its_turn_for_the_same_time() -> None:
    clock = Clock()
    turns = Turns(clock)
    running = [Runs(0), Runs(1), Runs(0), Runs(2)]
    seen: list[int] = []
    for _ in range(30):
        group = picked(turns, running)
        assert len(set(group)) == 1
        seen.append(group[0])
        clock.now += TURN_NS // 5
    assert seen == [*[0] * 5, *[1] * 5, *[2] * 5] * 2


def test_a_turn_has_some_steps_where_they_take_long() -> None:
    clock = Clock()
    turns = Turns(clock)
    seen: list[int] = []
    for _ in range(2 * TURN_STEPS):
        seen += picked(turns, [Runs(0), Runs(1)])
        clock.now += TURN_NS
    assert seen == [0] * TURN_STEPS + [1] * TURN_STEPS


def test_a_step_that_takes_very_long_is_a_turn() -> None:
    clock = Clock()
    turns = Turns(clock)
    seen: list[int] = []
    for _ in range(4):
        seen += picked(turns, [Runs(0), Runs(1)])
        clock.now += LONGEST_NS
    assert seen == [0, 1, 0, 1]


def test_who_was_alone_gives_way_to_who_comes() -> None:
    turns = Turns(Clock())
    assert picked(turns, [Runs(1), Runs(2)]) == [1]
    for alone in (1, 2):
        assert picked(turns, [Runs(alone)]) == [alone]
        assert picked(turns, [Runs(1), Runs(2)]) == [3 - alone]


def test_who_comes_anew_waits_behind_who_waits_already_and_before_who_had_a_turn_since() -> None:
    clock = Clock()
    turns = Turns(clock)
    seen: list[int] = []
    for others in ([], [Runs(7)], [Runs(7)], [Runs(7)]):
        for _ in range(TURN_STEPS):
            seen += picked(turns, [Runs(0), Runs(1), *others])
            clock.now += TURN_NS
    assert seen == [each for number in (0, 1, 0, 7) for each in [number] * TURN_STEPS]


def test_a_turn_ends_when_its_sequences_do_or_can_do_nothing() -> None:
    turns = Turns(Clock())
    assert picked(turns, [Runs(1), Runs(2)]) == [1]
    assert picked(turns, [Runs(2), Runs(3)]) == [2]
    turns.give_up()
    assert picked(turns, [Runs(2), Runs(3)]) == [3]


def test_sets_that_come_and_go_do_not_pass_by_who_is_there_all_the_time() -> None:
    clock = Clock()
    turns = Turns(clock)
    seen: list[int] = []
    # Requests of one step each: while one of 1 and 2 has its turn, the next of the other comes.
    coming = 1
    for _ in range(30):
        seen += set(picked(turns, [Runs(coming), Runs(3)]))
        if seen[-1] != 3:
            coming = 3 - coming
        clock.now += TURN_NS // TURN_STEPS
    assert seen.count(3) >= 10
