"""Pieces of work that say how far they are, one after the other."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Callable
from contextlib import aclosing

from agentkit_server.models.sources.source import PullProgress

Part = Callable[[], AsyncGenerator[PullProgress]]


async def in_turn(*parts: Part) -> AsyncGenerator[PullProgress]:
    """The lines of each part. A part is called once the one before has ended, and closed with this one."""
    for part in parts:
        async with aclosing(part()) as lines:
            async for line in lines:
                yield line
