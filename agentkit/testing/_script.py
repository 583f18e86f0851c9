"""What a scripted model writes in one turn, and what may go wrong in the midst of it."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Literal

from agentkit._errors import ConnectionError
from agentkit._turn import CallArguments, CallOpened, Piece, Text, Thought

Arguments = Mapping[str, Any] | str | Sequence[str]
"""A call's arguments: values, JSON text (valid or not), or the pieces in which that text comes."""
_PIECE = 8
"""Characters of a piece, where a step does not say where to split."""


@dataclass
class Hang:
    """A place where a turn waits until it is cancelled."""

    reached: asyncio.Event = field(default_factory=asyncio.Event)
    """Is set once the turn is there: `await hang.reached.wait()`."""
    cancelled: bool = False

    async def wait(self) -> None:
        """Until it is cancelled."""
        self.reached.set()
        try:
            await asyncio.Event().wait()
        finally:
            self.cancelled = True


@dataclass(frozen=True, kw_only=True)
class Answer:
    """One turn of a model. Made by `answer`, `calls` and `thinking`."""

    thinking: str = ""
    text: str = ""
    calls: tuple[tuple[str, Arguments], ...] = ()
    after: int | None = None
    """Pieces that come before `fault`; None = all."""
    fault: BaseException | Hang | Literal["length", "deadline"] | None = None

    def pieces(self, first_id: int) -> list[Piece]:
        """All but the last piece. Calls have the ids `call_<n>`, from `first_id` on."""
        made: list[Piece] = [
            *map(Thought, _split(self.thinking)),
            *map(Text, _split(self.text)),
        ]
        for at, (name, arguments) in enumerate(self.calls):
            made.append(CallOpened(at, f"call_{first_id + at}", name))
            made += [CallArguments(at, text) for text in _written(arguments)]
        return made if self.after is None else made[: self.after]


def answer(text: str, *, thinking: str = "") -> Answer:
    """A turn that answers. A step that is a str is the same."""
    return Answer(text=text, thinking=thinking)


def calls(*made: tuple[str, Arguments], text: str = "", thinking: str = "") -> Answer:
    """A turn that calls tools: `calls(("weather", {"city": "Oslo"}))`. Arguments that are a list of str come
    in just these pieces, so that they can be split anywhere."""
    return Answer(calls=made, text=text, thinking=thinking)


def thinking(thoughts: str, then: Answer | str) -> Answer:
    """Thoughts before what `then` says."""
    return replace(_as_answer(then), thinking=thoughts)


def broken(step: Answer | str = "", *, after: int = 0, error: BaseException | None = None) -> Answer:
    """`step`, with `error` (default: the connection is lost) in place of what follows its first `after`
    pieces."""
    lost = ConnectionError("the script breaks the connection here")
    return replace(_as_answer(step), after=after, fault=error or lost)


def cut(step: Answer | str, *, after: int, reason: Literal["length", "deadline"] = "length") -> Answer:
    """`step`, ended by the server after `after` pieces, be it in the midst of a call's arguments."""
    return replace(_as_answer(step), after=after, fault=reason)


def hanging(hang: Hang, step: Answer | str = "", *, after: int = 0) -> Answer:
    """`step`, of which no more than `after` pieces ever come: the turn waits at `hang`."""
    return replace(_as_answer(step), after=after, fault=hang)


def _as_answer(step: Answer | str) -> Answer:
    return Answer(text=step) if isinstance(step, str) else step


def _split(text: str) -> list[str]:
    return [text[at : at + _PIECE] for at in range(0, len(text), _PIECE)]


def _written(arguments: Arguments) -> Sequence[str]:
    if isinstance(arguments, Mapping):
        return _split(json.dumps(arguments, ensure_ascii=False))
    return _split(arguments) if isinstance(arguments, str) else arguments
