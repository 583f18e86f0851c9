from __future__ import annotations

from time import monotonic

import numpy as np

from agentkit_server.engine.prefix import (
    LONGEST_PIN_S,
    MOST_ENTRIES,
    MOST_PINS,
    Cached,
    PrefixCache,
    common_prefix,
)


def row(*tokens: int) -> np.ndarray[tuple[int], np.dtype[np.int32]]:
    return np.array(tokens, np.int32)


def cached(seq_id: int, *tokens: int) -> Cached:
    return Cached(seq_id, row(*tokens), np.arange(len(tokens), dtype=np.int32))


def test_the_common_prefix_ends_at_the_first_difference_or_the_shorter_end() -> None:
    assert common_prefix(row(1, 2, 3), row(1, 2, 4, 5)) == 2
    assert common_prefix(row(1, 2), row(1, 2, 3)) == 2
    assert common_prefix(row(), row(1)) == 0
    assert common_prefix(row(9), row(1)) == 0


def test_the_longest_prefix_wins_and_of_equals_the_one_with_least_to_lose() -> None:
    cache = PrefixCache(whole_only=False)
    cache.add(cached(0, 1, 2, 3, 9, 9))
    cache.add(cached(1, 1, 2, 3, 8))
    cache.add(cached(2, 1, 7))
    entry, length = cache.longest(row(1, 2, 3, 4))
    assert entry is not None
    assert (entry.seq_id, length) == (1, 3)


def test_a_recurrent_state_is_used_whole_or_not_at_all() -> None:
    cache = PrefixCache(whole_only=True)
    cache.add(cached(0, 1, 2, 3, 9))
    assert cache.longest(row(1, 2, 3, 4)) == (None, 0)
    cache.add(cached(1, 1, 2, 3))
    entry, length = cache.longest(row(1, 2, 3, 4))
    assert entry is not None
    assert (entry.seq_id, length) == (1, 3)


def test_an_entry_that_begins_another_is_superfluous() -> None:
    cache = PrefixCache(whole_only=False)
    short = cached(0, 1, 2)
    cache.add(short)
    assert cache.add(cached(1, 1, 2, 3)) == [short]
    assert len(cache) == 1


def test_an_entry_is_for_its_adapters_alone() -> None:
    cache = PrefixCache(whole_only=False)
    bare, adapted = cached(0, 1, 2, 3), cached(1, 1, 2, 3, 4)
    adapted.adapters = 7
    bare.pins, adapted.pins = {"run": monotonic()}, {"run": monotonic()}
    cache.add(bare)
    assert cache.add(adapted) == []
    assert cache.pins == 2
    assert cache.longest(row(1, 2, 3, 4, 5)) == (bare, 3)
    assert cache.longest(row(1, 2, 3, 4, 5), 7) == (adapted, 4)
    assert cache.longest(row(1, 2, 3, 4, 5), 8) == (None, 0)


def test_the_least_recently_used_entry_goes_first() -> None:
    cache = PrefixCache(whole_only=False)
    first, second = cached(0, 1), cached(1, 2)
    cache.add(first)
    cache.add(second)
    cache.touch(first)
    assert cache.oldest() is second
    assert cache.oldest(but=second) is first


def test_a_parked_entry_is_worth_bringing_back_only_for_enough_of_it() -> None:
    cache = PrefixCache(whole_only=False)
    tokens = np.arange(1, 3001, dtype=np.int32)
    parked = Cached(-1, tokens, row(), np.zeros(10, np.uint8))
    cache.add(parked)
    assert cache.longest(tokens[:8]) == (None, 0)
    assert cache.longest(np.concatenate([tokens[:40], row(9, 9)])) == (None, 0)
    assert cache.longest(tokens[:100]) == (parked, 100)
    resident = cached(1, *range(1, 51))
    resident.tokens = np.concatenate([tokens[:100], row(7)])
    cache.add(resident)
    assert cache.longest(tokens[:100]) == (resident, 100)


def test_there_are_never_more_entries_than_can_be_searched() -> None:
    cache = PrefixCache(whole_only=False)
    gone = [stale for i in range(MOST_ENTRIES + 3) for stale in cache.add(cached(i, i + 1, 5))]
    assert [entry.seq_id for entry in gone] == [0, 1, 2]
    assert len(cache) == MOST_ENTRIES


def test_what_is_pinned_leaves_after_everything_else() -> None:
    cache = PrefixCache(whole_only=False)
    pinned, other = cached(1, 1, 2, 3), cached(2, 4, 5, 6)
    pinned.pins = {"run": monotonic()}
    cache.add(pinned)
    cache.add(other)
    assert cache.oldest() is other
    pinned.pins["run"] -= LONGEST_PIN_S
    assert cache.oldest() is pinned
    pinned.pins["run"] += LONGEST_PIN_S
    cache.unpin("run")
    assert cache.oldest() is pinned


def test_a_run_pins_only_the_last_prefix_it_left() -> None:
    cache = PrefixCache(whole_only=False)
    first, second, longer = cached(1, 1, 2), cached(2, 3, 4), cached(3, 3, 4, 5)
    for since, entry in enumerate((first, second)):
        entry.pins = {"run": since}
        cache.add(entry)
    assert (first.pins, second.pins, cache.pins) == ({}, {"run": 1}, 1)
    cache.add(longer)
    assert (longer.pins, cache.pins) == ({"run": 1}, 1)
    late = cached(4, 7, 8)
    late.pins = {"run": 0.5}
    cache.add(late)
    assert (late.pins, longer.pins) == ({}, {"run": 1})


def test_a_prefix_that_covers_what_another_run_pinned_is_kept_for_both() -> None:
    cache = PrefixCache(whole_only=False)
    mine, longer = cached(1, 1, 2), cached(2, 1, 2, 3)
    mine.pins, longer.pins = {"mine": monotonic()}, {"yours": monotonic()}
    cache.add(mine)
    assert cache.add(longer) == [mine]
    cache.unpin("yours")
    assert longer.held
    cache.unpin("mine")
    assert not longer.held


def test_a_recurrent_state_that_is_pinned_stays_pinned_beside_a_longer_one() -> None:
    cache = PrefixCache(whole_only=True)
    mine, longer = cached(1, 1, 2), cached(2, 1, 2, 3)
    mine.pins = {"mine": monotonic()}
    cache.add(mine)
    assert cache.add(longer) == []
    assert mine.held and not longer.held


def test_beyond_so_many_pins_the_oldest_is_let_go_of() -> None:
    cache = PrefixCache(whole_only=False)
    entries = [cached(i, i + 1, 5) for i in range(MOST_PINS + 2)]
    for at, entry in enumerate(entries):
        entry.pins = {f"run {at}": monotonic() - 100 + at}
        cache.add(entry)
    assert cache.pins == MOST_PINS
    assert [entry.held for entry in entries[:3]] == [False, False, True]
