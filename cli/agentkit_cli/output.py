"""What commands print: data on stdout, notes on stderr, JSON, plain tables, and sizes and times for people.

Everything is readable without colour, and nothing here uses any.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Sequence
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from agentkit import ListResponse, ProcessResponse, ShowResponse, VerifyResponse

_SIZES = (("TB", 10**12), ("GB", 10**9), ("MB", 10**6), ("KB", 10**3))
_SPANS = (
    ("year", 365 * 86400),
    ("month", 30 * 86400),
    ("week", 7 * 86400),
    ("day", 86400),
    ("hour", 3600),
    ("minute", 60),
    ("second", 1),
)
_NEVER_SECONDS = 100 * 365 * 86400


def say(text: str = "") -> None:
    """Data, to stdout."""
    print(text)


def note(text: str = "") -> None:
    """Anything else, to stderr."""
    print(text, file=sys.stderr)


def say_json(value: Any) -> None:
    """`value` as indented JSON on stdout."""
    say(json.dumps(value, indent=2, ensure_ascii=False))


def say_record(record: ListResponse | ProcessResponse | ShowResponse | VerifyResponse) -> None:
    """An answer of the server as JSON on stdout, with the field names of the HTTP API."""
    say_json(record.model_dump(mode="json", by_alias=True, exclude_none=True))


def table(header: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """Left-aligned columns, four spaces apart, without lines."""
    lines = [header, *rows]
    widths = [max(len(line[column]) for line in lines) for column in range(len(header))]
    return "\n".join(
        "    ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)).rstrip()
        for line in lines
    )


def size_text(count: int) -> str:
    """Bytes in decimal units: `98 MB`, `1.1 GB`."""
    for unit, factor in _SIZES:
        if count >= factor:
            value = count / factor
            return f"{value:.0f} {unit}" if value >= 10 else f"{value:.1f} {unit}"
    return f"{count} B"


def time_text(moment: datetime | None, now: datetime | None = None) -> str:
    """How far `moment` is from now: `5 minutes ago`, `4 minutes from now`, `Never` for a century."""
    if moment is None:
        return "Never"
    now = now or datetime.now(UTC)
    seconds = (moment.astimezone(UTC) - now).total_seconds()
    if abs(seconds) > _NEVER_SECONDS:
        return "Never"
    return f"{span_text(abs(seconds))} {'from now' if seconds > 0 else 'ago'}"


def span_text(seconds: float) -> str:
    """A length of time by its largest unit: `3 days`, `1 minute`; under a second is `Less than a second`."""
    for name, length in _SPANS:
        if seconds >= length:
            count = int(seconds // length)
            return f"{count} {name}{'' if count == 1 else 's'}"
    return "Less than a second"


def duration_text(nanoseconds: int) -> str:
    """A measured duration: `12.3ms`, `4.56s`, `2m3s`."""
    seconds = nanoseconds / 1e9
    if seconds >= 60:
        return f"{int(seconds // 60)}m{seconds % 60:.0f}s"
    return f"{seconds:.3g}s" if seconds >= 1 else f"{seconds * 1000:.3g}ms"
