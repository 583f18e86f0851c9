"""What a program may do around every tool call."""

from __future__ import annotations

import inspect
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from typing import Any, TypeVar

from agentkit._context import RunContext
from agentkit._events import PendingCall, ToolResult

T = TypeVar("T")
Maybe = T | Awaitable[T]
Before = Callable[[RunContext[Any], PendingCall], Maybe[Mapping[str, Any] | None]]
After = Callable[[RunContext[Any], PendingCall, ToolResult], Maybe[ToolResult | None]]
Approve = Callable[[RunContext[Any], PendingCall], Maybe[bool | str | None]]


@dataclass(frozen=True, kw_only=True)
class Hooks:
    """Functions, each synchronous or not. An exception in one is the caller's: it ends the run.

    `before_tool` may return other arguments, or raise ToolError, whose message is then the result.
    `after_tool` may return another result. `approve` decides on calls of tools with `requires_approval`:
    True, False, the reason why not, or None to pause the run.
    """

    before_tool: Before | None = None
    after_tool: After | None = None
    approve: Approve | None = None


async def settled(value: Maybe[T]) -> T:
    """The value of a function that may be a coroutine function."""
    return await value if inspect.isawaitable(value) else value  # pyright: ignore[reportReturnType]
