"""What the user has said about a server, as far as its tools are concerned."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass
from typing import Any, Literal

from agentkit._context import RunContext

McpApproval = bool | Literal["unless_read_only"] | Callable[[RunContext[Any], Mapping[str, Any]], bool]


@dataclass(frozen=True, kw_only=True)
class Rules:
    """How a server's tools are offered."""

    server: str
    """What it is called in messages."""
    prefix: str
    allowed: Collection[str] | None
    excluded: Collection[str]
    timeout: float | None
    requires_approval: McpApproval
    max_result: int
