"""Reads values of an Anthropic request by their types, and names the place of what is wrong."""

from __future__ import annotations

import re
from typing import Any, TypeVar, cast

import msgspec

from agentkit_server.dialects._invalid import problem_of
from agentkit_server.dialects._shared import shown
from agentkit_server.errors import BadRequest

T = TypeVar("T")


def read(value: Any, shape: type[T], where: str = "") -> T:
    """`value`, which stands at `where`, as `shape`. Raises BadRequest naming the place."""
    try:
        return msgspec.convert(value, shape, str_keys=True)
    except msgspec.ValidationError as error:
        what, path = problem_of(error)
        place = f"{where}.{path}" if where and path and path[0] != "[" else f"{where}{path}"
        raise BadRequest(
            f"{place or 'the request body'} is invalid: {what}; it was {shown(_at(value, path))}",
            param=place or None,
        ) from None


def _at(value: Any, path: str) -> Any:
    """What stands at `path` in `value`, as far as that goes."""
    for step in re.findall(r"[^.\[\]]+", path):
        if isinstance(value, list):
            entries = cast("list[Any]", value)
            known = step.isdigit() and int(step) < len(entries)
            value = entries[int(step)] if known else entries
        elif isinstance(value, dict):
            fields = cast("dict[str, Any]", value)
            value = fields.get(step, fields)
    return value
