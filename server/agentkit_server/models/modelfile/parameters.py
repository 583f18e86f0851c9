"""What PARAMETER may name, and the type of each value. The names are those of `turn/options.py`; ranges are
left to it."""

from __future__ import annotations

import difflib
import math
import re
from typing import Any, Literal

Kind = Literal["integer", "number", "boolean", "strings"]

_INTEGERS = """
    num_keep seed num_predict top_k repeat_last_n mirostat num_ctx num_batch num_gpu main_gpu num_thread
    draft_num_predict dry_allowed_length dry_penalty_last_n
"""
_NUMBERS = """
    top_p min_p typical_p temperature repeat_penalty presence_penalty frequency_penalty mirostat_tau
    mirostat_eta xtc_probability xtc_threshold dry_multiplier dry_base
"""
KINDS: dict[str, Kind] = {
    **dict.fromkeys(_INTEGERS.split(), "integer"),
    **dict.fromkeys(_NUMBERS.split(), "number"),
    "use_mmap": "boolean",
    "stop": "strings",
}
"""Type of the value by parameter name. Only `stop` may be repeated; of the others, the last one holds."""
_FORMER = "f16_kv logits_all low_vram numa penalize_newline tfs_z use_mlock vocab_only"
DEPRECATED = frozenset(_FORMER.split())
"""Names of former times, which no program reads any more: left out, with a warning."""

_INTEGER = re.compile(r"[+-]?[0-9]{1,20}", re.ASCII)
_NUMBER = re.compile(r"[+-]?([0-9]+(\.[0-9]*)?|\.[0-9]+)(e[+-]?[0-9]+)?", re.ASCII | re.IGNORECASE)
_LEAST, _MOST = -(2**63), 2**64 - 1
_BOOLEANS = {"1": True, "t": True, "true": True, "0": False, "f": False, "false": False}
_WANTED = {
    "integer": "a whole number of at most 64 bits, such as 42",
    "number": "a number such as 0.7",
    "boolean": "true or false",
}


def suggestion(name: str, known: list[str]) -> str:
    """`; did you mean …?` for the name in `known` that is nearest to `name`, or nothing."""
    near = difflib.get_close_matches(name[:50], known, n=1)
    return f"; did you mean {near[0]}?" if near else ""


def unknown(name: str) -> str:
    """What to say about a parameter that there is not."""
    known = sorted(KINDS)
    near = suggestion(name.lower(), known) or f"; the parameters are {', '.join(known)}"
    return f"unknown parameter {name!r:.50}{near}"


def read_value(name: str, text: str) -> Any:
    """The value of the parameter `name` that is written as `text`; one string for `stop`.

    Raises ValueError that says what is wanted.
    """
    kind = KINDS[name]
    value = text if kind == "strings" else _READERS[kind](text)
    if value is None:
        raise ValueError(f"the parameter {name} needs {_WANTED[kind]}: {text!r:.50}")
    return value


def read_number(text: str) -> float | None:
    """A finite number in decimal digits, None for anything else."""
    if not _NUMBER.fullmatch(text):
        return None
    value = float(text)
    return value if math.isfinite(value) else None


def _integer(text: str) -> int | None:
    value = int(text) if _INTEGER.fullmatch(text) else None
    return value if value is not None and _LEAST <= value <= _MOST else None


def _boolean(text: str) -> bool | None:
    return _BOOLEANS.get(text.lower())


_READERS = {"integer": _integer, "number": read_number, "boolean": _boolean}
