"""Durations are read as Ollama reads them."""

from __future__ import annotations

import pytest

from agentkit_server.errors import BadRequest
from agentkit_server.residency.keep_alive import parse_duration, parse_keep_alive


@pytest.mark.parametrize(
    ("raw", "seconds"),
    [
        (5, 5.0),
        (0.5, 0.5),
        (0, 0.0),
        (-0.0, 0.0),
        ("5m", 300.0),
        ("1h30m", 5400.0),
        ("300ms", 0.3),
        ("1.5h", 5400.0),
        (".5s", 0.5),
        ("1.s", 1.0),
        ("+5s", 5.0),
        ("2us", 2e-6),
        ("2µs", 2e-6),
        ("2μs", 2e-6),
        ("7ns", 7e-9),
        ("0", 0.0),
        ("-0", 0.0),
        ("0s", 0.0),
    ],
)
def test_a_keep_alive_is_seconds_or_a_go_duration(raw: str | float, seconds: float) -> None:
    assert parse_keep_alive(raw) == pytest.approx(seconds)


@pytest.mark.parametrize("raw", [-1, -0.1, "-1s", "-5m", "-1", 1e300, float("inf")])
def test_a_negative_or_endless_keep_alive_is_for_ever(raw: str | float) -> None:
    assert parse_keep_alive(raw) is None


@pytest.mark.parametrize(
    "raw",
    [
        "5",
        "",
        " ",
        "5 m",
        "5x",
        "1d",
        "m",
        "1m-2s",
        "abc",
        ".s",
        "5m ",
        "٣s",
        "9999999h9",
        "-",
        True,
        float("nan"),
    ],
)
def test_anything_else_is_refused_by_name(raw: str | float) -> None:
    with pytest.raises(BadRequest, match="invalid keep_alive") as caught:
        parse_keep_alive(raw)
    assert repr(raw) in caught.value.message
    assert caught.value.param == "keep_alive"


@pytest.mark.parametrize("text", ["9" * 4_000_000, "1h" * 1_000_000 + "x", "." + "1" * 4_000_000])
def test_a_text_is_refused_at_once_however_long_it_is(text: str) -> None:
    with pytest.raises(BadRequest, match="invalid keep_alive"):
        parse_keep_alive(text)


def test_a_duration_longer_than_go_can_count_is_refused() -> None:
    with pytest.raises(BadRequest):
        parse_keep_alive("9999999h")


@pytest.mark.parametrize(
    ("text", "seconds"), [("300", 300.0), ("-1", -1.0), ("5m", 300.0), ("-5m", -300.0), ("0", 0.0)]
)
def test_a_setting_takes_bare_seconds_too(text: str, seconds: float) -> None:
    assert parse_duration(text) == seconds


@pytest.mark.parametrize("text", ["", "soon", "1.5", "5 m"])
def test_a_setting_that_is_no_duration_is_refused(text: str) -> None:
    with pytest.raises(BadRequest, match="invalid duration"):
        parse_duration(text)
