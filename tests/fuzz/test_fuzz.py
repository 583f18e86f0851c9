"""A short and repeatable part of `just fuzz`: the same requests every time, none slower than it must be."""

from __future__ import annotations

from tests.fuzz.__main__ import fuzz


def test_schemathesis_finds_nothing_wrong() -> None:
    done = fuzz("--phases=examples,fuzzing", "--max-examples=3", "--generation-deterministic", "--no-shrink")
    assert done.returncode == 0, done.stdout
