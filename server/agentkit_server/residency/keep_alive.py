"""Durations as people write them in requests and settings, read as Ollama reads them.

A request's `keep_alive` is a number of seconds or a Go duration; anything negative means for ever and 0
means right after. Settings take a bare integer (seconds) too.
"""

from __future__ import annotations

import math
import re

from agentkit_server.errors import BadRequest
from agentkit_server.residency.types import KeepAlive

_SECONDS = {"ns": 1e-9, "us": 1e-6, "µs": 1e-6, "μs": 1e-6, "ms": 1e-3, "s": 1.0, "m": 60.0, "h": 3600.0}
_PART = re.compile(r"(\d+(?:\.\d*)?|\.\d+)(ns|us|µs|μs|ms|s|m|h)", re.ASCII)
_WHOLE = re.compile(rf"([+-]?)((?:{_PART.pattern})+)", re.ASCII)
_BARE = re.compile(r"[+-]?\d+(\.\d+)?", re.ASCII)
# Go counts nanoseconds in 64 bits: about 292 years.
_LONGEST = (2**63 - 1) / 1e9


def parse_keep_alive(raw: str | float) -> KeepAlive:
    """Read a request's `keep_alive`: seconds to stay loaded once idle, None = for ever.

    A text must carry units ("5m", "1h30m", "300ms"), except "0" and negative numbers, which mean the
    same in every unit. Raises BadRequest for anything else.
    """
    if isinstance(raw, bool):
        raise _invalid(raw)
    seconds = _go_duration(raw) if isinstance(raw, str) else float(raw)
    if seconds is None and isinstance(raw, str) and _BARE.fullmatch(raw) and raw.startswith("-"):
        return None
    if seconds is None or math.isnan(seconds):
        raise _invalid(raw)
    return None if seconds < 0 or seconds > _LONGEST else seconds


def parse_duration(text: str) -> float:
    """Read a setting: a Go duration, or a bare integer of seconds. Negative stays negative.

    Raises BadRequest when it is neither.
    """
    seconds = _go_duration(text)
    if seconds is not None:
        return seconds
    if _BARE.fullmatch(text) and "." not in text:
        return float(text)
    raise BadRequest(f"invalid duration {text!r}: write seconds or a duration such as '5m' or '1h30m'")


def _go_duration(text: str) -> float | None:
    if text in ("0", "+0", "-0"):
        return 0.0
    whole = _WHOLE.fullmatch(text)
    if whole is None:
        return None
    seconds = sum(float(number) * _SECONDS[unit] for number, unit in _PART.findall(whole[2]))
    if seconds > _LONGEST:
        return None
    return -seconds if whole[1] == "-" else seconds


def _invalid(raw: object) -> BadRequest:
    hint = "write a number of seconds, or a duration with units such as '5m', '1h30m' or '-1s'"
    return BadRequest(f"invalid keep_alive {raw!r}: {hint}", param="keep_alive")
