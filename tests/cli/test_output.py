from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest

from agentkit_cli.output import duration_text, size_text, table, time_text

NOW = datetime(2030, 1, 1, tzinfo=UTC)


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (-1, "1 second ago"),
        (-90, "1 minute ago"),
        (-7300, "2 hours ago"),
        (-3 * 86400, "3 days ago"),
        (-15 * 86400, "2 weeks ago"),
        (-70 * 86400, "2 months ago"),
        (-800 * 86400, "2 years ago"),
        (299, "4 minutes from now"),
        (0.5, "Less than a second from now"),
        (200 * 365 * 86400, "Never"),
    ],
)
def test_times_are_told_by_their_largest_unit(seconds: float, text: str) -> None:
    assert time_text(NOW + timedelta(seconds=seconds), NOW) == text


def test_no_time_is_never() -> None:
    assert time_text(None, NOW) == "Never"


@pytest.mark.parametrize(
    ("count", "text"), [(12, "12 B"), (1500, "1.5 KB"), (98_000_000, "98 MB"), (1_100_000_000, "1.1 GB")]
)
def test_sizes_are_decimal(count: int, text: str) -> None:
    assert size_text(count) == text


@pytest.mark.parametrize(
    ("nanoseconds", "text"), [(1_230_000, "1.23ms"), (2_500_000_000, "2.5s"), (123_000_000_000, "2m3s")]
)
def test_durations_are_short(nanoseconds: int, text: str) -> None:
    assert duration_text(nanoseconds) == text


def test_columns_are_as_wide_as_their_widest_cell() -> None:
    assert (
        table(("A", "B"), [("long cell", "x"), ("y", "z")])
        == "A            B\nlong cell    x\ny            z"
    )
