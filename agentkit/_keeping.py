"""What is written down of a run while it is under way: into its session, and into a run file."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass

from agentkit._errors import RequestError
from agentkit._events import RunEnded, RunEvent, RunPaused, ToolResult, ToolStarted, TurnEnded
from agentkit._recording import Recording
from agentkit._run import Run
from agentkit._session import Session, copied
from agentkit._types import Message
from agentkit._worker import in_thread

_STEPS = (TurnEnded, ToolStarted, ToolResult, RunPaused, RunEnded)


@dataclass
class Keeping:
    """Where a run is written down, if anywhere."""

    session: Session | None = None
    recording: Recording | None = None
    answered: bool = False
    """Has anything happened yet that is worth a place in the session?"""
    _saving: asyncio.Future[None] | None = None

    async def step(self, run: Run, event: RunEvent) -> None:
        """Write down what `event` has changed, before anybody hears of it: the process may end, and what was
        done must not be done again then."""
        if self.recording is not None:
            self.recording.note(event)
        if isinstance(event, _STEPS):
            self.answered = True
            await self._save(run)

    async def end(self, run: Run, error: BaseException | None) -> None:
        """The run is over, or is being left."""
        if self.recording is not None:
            self.recording.end(error)
        await self._save(run)

    async def _save(self, run: Run) -> None:
        session = self.session
        if session is None or not self.answered:
            return
        now, before = copied(run), self._saving

        async def save() -> None:
            if before is not None:
                # A save goes on when the run that waited for it is cancelled: never overtake it.
                await asyncio.wait([before])
            await in_thread(lambda: session.save(now))

        self._saving = asyncio.ensure_future(save())
        await asyncio.shield(self._saving)


@dataclass(frozen=True)
class Kept:
    """What a run finds in its session."""

    messages: Sequence[Message]
    pending: Run | None

    def run(self, prompt: str | None) -> Run | None:
        """The run to go on with; None: a new one, after `messages`. Raises RequestError where the session
        waits for something else than what is asked."""
        waiting = self.pending.open_calls if self.pending is not None else []
        if prompt is None:
            if self.pending is None:
                raise RequestError("nothing is pending in the session; give a prompt")
            return self.pending
        if waiting:
            raise RequestError(
                f"the session's run waits for {len(waiting)} tool calls; go on with it without a prompt, "
                "or deny them first"
            )
        return None


async def kept_in(session: Session) -> Kept:
    """What is in `session`."""
    return await in_thread(lambda: Kept(session.messages, session.pending_run()))
