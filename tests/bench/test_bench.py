"""The arithmetic of the benchmark; what it measures is not asserted anywhere."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.bench import prompts
from tests.bench.client import rate
from tests.bench.report import Metric, Results, write

SPEED = Metric("decode", "tokens/s", more_is_better=True)
WAIT = Metric("first token", "s", more_is_better=False)


def words(text: str) -> int:
    return len(text.split())


def test_the_rate_counts_only_what_came_while_every_stream_was_running() -> None:
    early, late = [0.0, 1.0, 2.0, 3.0], [1.0, 2.0, 3.0, 4.0, 5.0]
    assert rate([early, late], [4, 5]) == pytest.approx((2 + 2) / 2)


def test_the_rate_counts_tokens_where_a_line_carries_more_than_one() -> None:
    assert rate([[0.0, 1.0, 2.0]], [6]) == pytest.approx(2.0 * 2 / 2)


def test_fillers_have_the_asked_for_length_and_share_no_prefix() -> None:
    first, second = prompts.filler(1, 50, words), prompts.filler(2, 50, words)
    assert words(first) == words(second) == 50
    assert first.split()[1] != second.split()[1]
    assert first == prompts.filler(1, 50, words)


def test_streams_that_run_side_by_side_have_prompts_of_their_own() -> None:
    assert len(set(prompts.stories(1, 16))) == 16


def test_a_ratio_above_one_is_better_for_speeds_and_for_times() -> None:
    results = Results()
    for metric, ours, theirs in ((SPEED, 20.0, 10.0), (WAIT, 1.0, 2.0)):
        results.add(metric, "agentkit", ours)
        results.add(metric, "other", theirs)
    assert results.ratios(SPEED, "other") == [2.0]
    assert results.ratios(WAIT, "other") == [2.0]


def test_the_json_file_holds_every_value_and_ratio(tmp_path: Path) -> None:
    results = Results()
    results.add(SPEED, "agentkit", 20.0)
    results.add(SPEED, "other", 10.0)
    path = write(results, {"options": {}}, tmp_path)
    (metric,) = json.loads(path.read_text())["metrics"]
    assert metric["values"] == {"agentkit": [20.0], "other": [10.0]}
    assert metric["ratios"] == {"other": [2.0]}
