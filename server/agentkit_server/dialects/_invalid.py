"""What the dialects under /v1 have in common when a body cannot be read: where msgspec found something wrong,
and the errors for parameters that are not known or not built."""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterable
from typing import Any

import msgspec

from agentkit_server.dialects._shared import shown
from agentkit_server.errors import NotBuiltYet, UnsupportedParameter

_PATH = re.compile(r"(?P<what>.*?)(?: - at (?:`key` in )?`\$\.?(?P<path>.*?)`)?", re.DOTALL)


def problem_of(error: msgspec.ValidationError) -> tuple[str, str]:
    """What is wrong, and the path of the value that it is wrong with; "" = the whole."""
    match = _PATH.fullmatch(str(error))
    assert match is not None
    what: str = match["what"]
    return what[:1].lower() + what[1:], match["path"] or ""


def not_built(name: str, value: Any) -> NotBuiltYet:
    """The error for a parameter that this version lacks."""
    return NotBuiltYet(
        f"{name!r} = {shown(value)} is not built yet in this version; leave it out", param=name
    )


def unknown(name: str, known: Iterable[str]) -> UnsupportedParameter:
    """The error for a parameter that is none of the `known`."""
    close = difflib.get_close_matches(name, [*known], n=1, cutoff=0.7)
    hint = f"did you mean {close[0]!r}?" if close else "leave it out"
    return UnsupportedParameter(f"unknown parameter {name!r}: {hint}", param=name)
