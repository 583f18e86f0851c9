from __future__ import annotations

import numpy as np

from agentkit_server.engine.prefix import LONGEST_PIN_S, MOST_ENTRIES, Cached, PrefixCache, common_prefix


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
    pinned.pin = "run"
    cache.add(pinned)
    cache.add(other)
    assert cache.oldest() is other
    pinned.pinned_at -= LONGEST_PIN_S
    assert cache.oldest() is pinned
    pinned.pinned_at += LONGEST_PIN_S
    cache.unpin("run")
    assert cache.oldest() is pinned


def test_a_run_pins_only_the_last_prefix_it_left() -> None:
    cache = PrefixCache(whole_only=False)
    first, second, longer = cached(1, 1, 2), cached(2, 3, 4), cached(3, 3, 4, 5)
    for entry in (first, second):
        entry.pin = "run"
        cache.add(entry)
    assert (first.pin, second.pin, cache.pins) == ("", "run", 1)
    cache.add(longer)
    assert (longer.pin, cache.pins) == ("run", 1)
