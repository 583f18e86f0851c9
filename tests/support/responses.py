"""Responses' server-sent events as a client sees them."""

from __future__ import annotations

import json
from typing import Any


def events(text: str) -> list[dict[str, Any]]:
    """The data of each event, whose names and numbers are as they should be."""
    found: list[dict[str, Any]] = []
    for block in text.split("\n\n")[:-1]:
        name, data = block.split("\n")
        found.append(json.loads(data.removeprefix("data: ")))
        assert name == f"event: {found[-1]['type']}"
    assert [event["sequence_number"] for event in found] == list(range(len(found)))
    return found


def kinds(found: list[dict[str, Any]]) -> list[str]:
    """Their types, deltas of one kind that follow each other once."""
    types = [event["type"].removeprefix("response.") for event in found]
    return [
        kind
        for at, kind in enumerate(types)
        if not kind.endswith("delta") or at == 0 or types[at - 1] != kind
    ]
