"""What the model reads of a tool's result."""

from __future__ import annotations

import json
from enum import Enum
from typing import Any

from pydantic_core import PydanticSerializationError, to_json, to_jsonable_python


def result_text(value: Any) -> str:
    """Text as it is, everything else as compact JSON; so None is `null`.

    A member of an enum is its value. Bytes are text where they are UTF-8, otherwise base64. What JSON
    cannot say is told by `str`.
    """
    known = value.value if isinstance(value, Enum) else value
    text = known if isinstance(known, str) else _bytes(known) if isinstance(known, bytes) else _json(known)
    # A lone surrogate, as in a file's name that is no UTF-8, cannot be sent.
    return text.encode("utf-8", "replace").decode()


def _bytes(value: bytes) -> str:
    try:
        return value.decode()
    except UnicodeDecodeError:
        return _json(value).strip('"')


def _json(value: Any) -> str:
    try:
        return to_json(value, fallback=str, bytes_mode="base64", inf_nan_mode="strings").decode()
    except (PydanticSerializationError, ValueError):
        return _loosely(value)


def _loosely(value: Any) -> str:
    """JSON of what holds text that is no Unicode; `str` of what holds itself."""
    try:
        plain = to_jsonable_python(value, fallback=str, bytes_mode="base64", inf_nan_mode="strings")
        return json.dumps(plain, ensure_ascii=False, separators=(",", ":"))
    except (PydanticSerializationError, ValueError):
        return str(value)
