"""Notation of the table: a function, and above it the schema that it has to give.

`@row({"city": TEXT, "days": INT | {"default": 3}})` wants an object with these properties. Those without a
default are required, except the ones in `optional`.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

TEXT = {"type": "string"}
INT = {"type": "integer"}
NUMBER = {"type": "number"}
BOOL = {"type": "boolean"}
NULL = {"type": "null"}


@dataclass(frozen=True)
class Row:
    """One line of the table. `name`: of the function; `tool`: what `as_tool` takes."""

    name: str
    tool: Any
    schema: dict[str, Any]
    description: str
    returns: dict[str, Any] | None
    checked: Sequence[str]


def thing(properties: dict[str, Any], *, optional: Sequence[str] = (), more: Any = None) -> dict[str, Any]:
    """Schema of an object."""
    left_out = {name for name, schema in properties.items() if "default" in schema} | set(optional)
    required = [name for name in properties if name not in left_out]
    made: dict[str, Any] = {"type": "object", "properties": properties}
    if required:
        made["required"] = required
    return made if more is None else {**made, "additionalProperties": more}


def some(item: dict[str, Any], **keywords: Any) -> dict[str, Any]:
    """Schema of an array."""
    return {"type": "array", "items": item, **keywords}


def said(schema: dict[str, Any], description: str) -> dict[str, Any]:
    return {**schema, "description": description}


def any_of(*schemas: dict[str, Any], **keywords: Any) -> dict[str, Any]:
    return {"anyOf": list(schemas), **keywords}


class Table:
    """Collects rows in the order in which they are written."""

    def __init__(self) -> None:
        self.rows: list[Row] = []

    def __call__(
        self,
        properties: dict[str, Any],
        *,
        optional: Sequence[str] = (),
        more: Any = False,
        says: str = "",
        returns: dict[str, Any] | None = None,
        checked: Sequence[str] = (),
        make: Callable[[Any], Any] = lambda function: function,
        **root: Any,
    ) -> Callable[[Any], Any]:
        """`more`: additionalProperties. `says`: the tool's description. `checked`: keywords that the
        server checks after generation, and not by its grammar. `make` gives the tool of what is decorated.
        `root`: other keywords of the schema."""
        schema = {**thing(properties, optional=optional, more=more), **root}

        def add(function: Any) -> Any:
            name = getattr(function, "__name__", type(function).__name__)
            self.rows.append(Row(name, make(function), schema, says, returns, checked))
            return function

        return add
