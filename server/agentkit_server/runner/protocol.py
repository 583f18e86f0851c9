"""What the rest of the server sees of a loaded model. `Process` (process.py) is the real one, a child
process; `Scripted` (scripted.py) replays given tokens and is what most tests run on."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Callable
from typing import Protocol

from agentkit_server.engine.types import (
    AdapterFile,
    Delta,
    Embedded,
    Finished,
    Generate,
    LoadSpec,
    ModelFacts,
    Stats,
)

OnProgress = Callable[[float], None]
"""Called with 0.0 to 1.0 while a model loads."""


class Runner(Protocol):
    """One loaded model. Every method is called on the event loop that launched it.

    Raises RunnerDied from any call, and from inside a running stream, once the child is gone.
    """

    @property
    def facts(self) -> ModelFacts: ...

    @property
    def spec(self) -> LoadSpec: ...

    @property
    def alive(self) -> bool: ...

    @property
    def pid(self) -> int | None:
        """Process id of the child, None for a runner without one."""
        ...

    def generate(self, request: Generate) -> AsyncGenerator[Delta | Finished]:
        """Stream `request` (its `id` is replaced). Ends after one Finished for each of `request.n`.
        Closing the iterator (aclose, or cancelling its task) cancels the request in the engine."""
        ...

    async def tokenize(
        self, text: str, *, add_special: bool = True, parse_special: bool = True
    ) -> list[int]: ...

    async def detokenize(self, tokens: list[int], *, special: bool = True) -> str:
        """Raises BadRequest for an id outside the vocabulary."""
        ...

    async def embed(self, inputs: list[list[int]], *, adapters: int = 0) -> Embedded:
        """With a set of adapters of `load_adapters`. Raises PromptTooLong when an input does not fit."""
        ...

    async def stats(self) -> Stats: ...

    async def drop_cache(self) -> Stats: ...

    async def unpin(self, pin: str) -> Stats:
        """Let the prefix that requests pinned as `pin` go like any other."""
        ...

    async def load_adapters(self, number: int, files: list[AdapterFile]) -> Stats:
        """Let requests name `files` by `number` (1 or more), which from then on means them. Raises LoadFailed
        when one does not fit the model."""
        ...

    async def drop_adapters(self, number: int) -> Stats:
        """Free what no other set needs. Requests that name the set must have ended."""
        ...

    async def wait_closed(self) -> None:
        """Returns when the child has ended, for whatever reason."""
        ...

    async def close(self) -> None:
        """End the child (politely, then by force) and wait for it. Idempotent."""
        ...


class Launcher(Protocol):
    """Starts runners. Raises LoadFailed with what happened."""

    async def launch(self, spec: LoadSpec, on_progress: OnProgress | None = None) -> Runner: ...
