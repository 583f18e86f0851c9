"""References written out where llguidance would have to intersect them with something while it is still
reading what they lead to: it refuses recursive references with siblings.

Each value that has such references in place becomes a definition of its own, so that meeting it again, inside
what was written out, ends in a reference to that.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, cast

import msgspec

from agentkit_server.turn.schema.keywords import Schema

_MOST_MADE = 2_000
"""Definitions made; past that references stay."""


def inlined(
    root: Schema, defs: Mapping[str, Schema], pointers: dict[int, str]
) -> tuple[Schema, dict[str, Schema]]:
    """`root` and `defs` with references next to other keywords written out. `pointers` gets the places of
    the copies."""
    work = _Inlining(defs, pointers)
    made = work.value(root)
    for name, schema in defs.items():
        work.made[name] = work.value(schema)
    return made, work.made


class _Inlining:
    def __init__(self, defs: Mapping[str, Schema], pointers: dict[int, str]) -> None:
        self._defs = defs
        self._pointers = pointers
        self._names: dict[bytes, str] = {}
        self.made: dict[str, Schema] = {}

    def value(self, schema: Any) -> Any:
        """The schema of one value."""
        if not isinstance(schema, dict) or not _meets(schema, alone=True) or len(self._names) > _MOST_MADE:
            return self._copy(schema, ())
        key = msgspec.json.encode(schema)
        name = self._names.get(key)
        if name is None:
            name = self._names[key] = f"w{len(self._names)}"
            self.made[name] = self._copy(schema, None)
        return {"$ref": f"#/$defs/{name}"}

    def _copy(self, schema: Any, open_: tuple[str, ...] | None) -> Any:
        """`open_`: definitions being written out here; () writes none."""
        if not isinstance(schema, dict):
            return schema
        given = cast("dict[str, Any]", schema)
        made: dict[str, Any] = {}
        for keyword, value in given.items():
            if keyword in ("allOf", "anyOf"):
                made[keyword] = [self._copy(part, open_) for part in value]
            elif keyword in ("properties", "patternProperties"):
                made[keyword] = {name: self.value(part) for name, part in value.items()}
            elif keyword == "prefixItems":
                made[keyword] = [self.value(part) for part in value]
            elif keyword in ("items", "additionalProperties"):
                made[keyword] = self.value(value)
            else:
                made[keyword] = value
        if "$ref" in made and open_ != ():
            made = self._written_out(made, open_ or ())
        self._pointers[id(made)] = self._pointers.get(id(given), "")
        return made

    def _written_out(self, made: dict[str, Any], open_: tuple[str, ...]) -> dict[str, Any]:
        name = str(made["$ref"]).removeprefix("#/$defs/")
        if name in open_ or name not in self._defs:
            return made
        rest = {keyword: value for keyword, value in made.items() if keyword != "$ref"}
        target = self._copy(self._defs[name], (*open_, name))
        return {"allOf": [target, rest] if rest else [target]}


def _meets(schema: Any, *, alone: bool) -> bool:
    """Does `schema` hold a reference of whose value something else has to hold too?"""
    if not isinstance(schema, dict):
        return False
    given = cast("dict[str, Any]", schema)
    if "$ref" in given and not (alone and len(given) == 1):
        return True
    alone = alone and len(given) == 1
    whole: list[Any] = given.get("allOf", [])
    return any(_meets(part, alone=alone and len(whole) == 1) for part in whole) or any(
        _meets(part, alone=alone) for part in given.get("anyOf", ())
    )
