"""Agents on a scripted model, for tests."""

from __future__ import annotations

from typing import Any

from agentkit import (
    Agent,
    Run,
    RunEvent,
    tool,
)
from agentkit.testing import ScriptedModel


def add(a: int, b: int) -> int:
    """Adds."""
    return a + b


def shout(text: str) -> str:
    """Shouts."""
    return text.upper()


def agent_of(*steps: Any, output: Any = None, **options: Any) -> tuple[Agent[Any], ScriptedModel]:
    model = ScriptedModel(steps)
    options.setdefault("tools", [add, shout])
    return Agent("any", output, backend=model, **options), model


def contents(run: Run) -> list[tuple[str, str | None]]:
    return [(message.role, message.content) for message in run.messages]


async def events_of(agent: Agent[Any], prompt: str, **options: Any) -> list[RunEvent]:
    async with agent.run_stream(prompt, **options) as stream:
        return [event async for event in stream]


@tool(requires_approval=True)
def wipe(name: str) -> str:
    """Wipes a disk."""
    return f"{name} is empty"
