"""Server-sent events as a client sees them."""

from __future__ import annotations

import json
from typing import Any


def events(text: str) -> list[Any]:
    """The data of each event: JSON decoded, `[DONE]` as it stands."""
    blocks = [block for block in text.split("\n\n") if block]
    assert all(block.startswith("data: ") and "\n" not in block for block in blocks), text
    data = [block.removeprefix("data: ") for block in blocks]
    return [each if each == "[DONE]" else json.loads(each) for each in data]
