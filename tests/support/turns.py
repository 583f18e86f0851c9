"""A model that says what it is told to: one list of pieces for each turn."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncGenerator, Sequence
from contextlib import asynccontextmanager
from typing import Any

from agentkit._turn import CallArguments, CallOpened, ModelSession, Piece, Text, TurnDone, TurnRequest
from agentkit._usage import Usage

Turn = Sequence[Piece | BaseException]
_USED = Usage(prompt_tokens=10, cached_tokens=4, completion_tokens=3, turns=1)


def says(text: str) -> Turn:
    """An answer."""
    return [Text(text), TurnDone("stop", _USED)]


def calls(*wanted: tuple[str, dict[str, Any]]) -> Turn:
    """Calls of tools, with ids c0, c1, …"""
    pieces: list[Piece] = []
    for at, (name, arguments) in enumerate(wanted):
        pieces += [CallOpened(at, f"c{at}", name), CallArguments(at, json.dumps(arguments))]
    return [*pieces, TurnDone("tool_calls", _USED.model_copy(update={"tool_calls": len(wanted)}))]


class Turns:
    """A backend. `None` as a turn is one that never ends."""

    def __init__(self, *turns: Turn | None) -> None:
        self.requests: list[TurnRequest] = []
        self.waiting = asyncio.Event()
        """Set once a turn that never ends is under way."""
        self._turns = list(turns)

    @asynccontextmanager
    async def connect(self) -> AsyncGenerator[ModelSession]:
        yield self

    async def turn(self, request: TurnRequest) -> AsyncGenerator[Piece]:
        self.requests.append(request)
        turn = self._turns.pop(0)
        if turn is None:
            self.waiting.set()
            await asyncio.Event().wait()
        for piece in turn or ():
            if isinstance(piece, BaseException):
                raise piece
            yield piece

    async def release(self, run_id: str) -> None:
        pass
