"""The result of preparing a JSON Schema: what the grammar is made of, and how far it enforces the schema."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from agentkit_server.engine.types import Distinct
from agentkit_server.errors import SchemaProblem
from agentkit_server.turn.events import Level


@dataclass(frozen=True, kw_only=True)
class PreparedSchema:
    """A JSON Schema that can be enforced."""

    schema: Mapping[str, Any] | bool
    """As it was given."""
    level: Level
    loose: tuple[SchemaProblem, ...] = ()
    """Where the grammar allows more than the schema; none at level `exact`."""
    distinct: Distinct | None = None
    """What a guard beside the grammar sees to."""
    warnings: tuple[str, ...] = ()
    """Parts that constrain nothing, such as unknown formats."""
    fragment: Callable[[str], str]
    """rule name -> Lark source that defines a rule of that name, and any others it needs under names that
    begin with it and two underscores. Matches the JSON value without white space round it."""
    problems: Callable[[Any], list[str]]
    """What jsonschema says against a value, most important first; [] when it is valid. Bounded in time."""
