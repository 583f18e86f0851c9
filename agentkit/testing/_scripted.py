"""A model that follows a script, turn by turn, and keeps what it was asked."""

from __future__ import annotations

from collections import deque
from collections.abc import AsyncGenerator, Callable, Sequence
from contextlib import asynccontextmanager
from typing import Self

from agentkit._errors import AgentkitError
from agentkit._turn import ModelSession, Piece, TurnDone, TurnRequest
from agentkit._usage import Usage
from agentkit.testing._examples import example
from agentkit.testing._script import Answer, Hang, calls

Step = str | Answer | BaseException | Callable[[TurnRequest], "Step"]
"""A text, an Answer, an exception to raise, or a function of the request that gives one of these."""


class ScriptedModel:
    """Answers turns by `steps`, the first one first, whatever runs they belong to.

    Give it to an agent as `backend`. One turn counts a token for each piece in its usage.
    """

    def __init__(self, steps: Sequence[Step]) -> None:
        self._steps = deque(steps)
        self._fallback: Step | None = None
        self._calls = 0
        self.requests: list[TurnRequest] = []
        """What was asked, turn after turn."""
        self.released: list[str] = []
        """Runs whose prefix may go."""

    @classmethod
    def auto(cls, *steps: Step, text: str = "done") -> Self:
        """A model that goes on by itself after `steps`: it calls every tool that it may call once, then
        answers, with the smallest values that fit their schemas; with `text` where any text will do. A schema
        for which it knows no value is an AgentkitError."""
        model = cls(steps)
        model._fallback = lambda request: _fitting(request, text)
        return model

    @asynccontextmanager
    async def connect(self) -> AsyncGenerator[ModelSession]:
        """Itself."""
        yield self

    async def turn(self, request: TurnRequest) -> AsyncGenerator[Piece]:
        """The pieces of the next step. Raises what the step says, and AgentkitError when there is none."""
        self.requests.append(request)
        step = self._next(request)
        if isinstance(step, BaseException):
            raise step
        pieces = step.pieces(self._calls)
        self._calls += len(step.calls)
        for piece in pieces:
            yield piece
        yield await _ended(step, len(pieces))

    async def release(self, run_id: str) -> None:
        """Notes it in `released`."""
        self.released.append(run_id)

    def assert_complete(self) -> None:
        """Raises AssertionError while steps are left over."""
        if self._steps:
            raise AssertionError(
                f"{len(self._steps)} steps of the script were not asked for; the next is {self._steps[0]!r}"
            )

    def _next(self, request: TurnRequest) -> Answer | BaseException:
        step = self._steps.popleft() if self._steps else self._fallback
        if step is None:
            raise AgentkitError(
                f"the script has no step for request {len(self.requests)}", hint="add one, or use auto()"
            )
        while callable(step):
            step = step(request)
        return Answer(text=step) if isinstance(step, str) else step


async def _ended(step: Answer, pieces: int) -> TurnDone:
    """The last piece, or the step's fault."""
    fault = step.fault
    if isinstance(fault, BaseException):
        raise fault
    if isinstance(fault, Hang):
        await fault.wait()
        raise AssertionError("nothing ends a hang but a cancellation")
    if fault is not None:
        return TurnDone(fault, Usage(completion_tokens=pieces, turns=1))
    usage = Usage(completion_tokens=pieces, turns=1, tool_calls=len(step.calls))
    return TurnDone("tool_calls" if step.calls else "stop", usage)


def _fitting(request: TurnRequest, text: str) -> Answer:
    """The smallest answer to `request`."""
    functions = [tool["function"] for tool in request.tools]
    usable = [one for one in functions if request.allowed is None or one["name"] in request.allowed]
    if usable and request.tool_choice != "none" and not _called(request):
        chosen = usable if request.parallel else usable[:1]
        return calls(*((one["name"], example(one["parameters"])) for one in chosen))
    return Answer(text=_text(request, text))


def _text(request: TurnRequest, text: str) -> str:
    import json

    demand = request.demand
    if demand is None:
        return text
    if demand.kind == "json_schema":
        return json.dumps(example(demand.value), ensure_ascii=False)
    if demand.kind == "choice":
        return str(demand.value[0])
    raise AgentkitError(f"auto() knows no text for a {demand.kind}", hint="give a step with one")


def _called(request: TurnRequest) -> bool:
    """Has a tool been called since the last question?"""
    for message in reversed(request.messages):
        if message.role == "user":
            return False
        if message.tool_calls:
            return True
    return False
