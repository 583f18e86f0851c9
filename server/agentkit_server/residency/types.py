"""The contract of residency: ask for a model with load options, get a lease on a runner."""

from __future__ import annotations

from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass
from datetime import datetime
from typing import Protocol

from agentkit_server.models.model import Model
from agentkit_server.runner.protocol import OnProgress, Runner

KeepAlive = float | None
"""Seconds a model stays loaded once idle: 0 = unload right after, None = for ever."""


@dataclass(frozen=True, kw_only=True)
class LoadOptions:
    """The load-time part of a request's options; a field left None means the default. Asking for
    other values than a loaded model has reloads it once it is idle."""

    num_ctx: int | None = None
    num_batch: int | None = None
    num_gpu: int | None = None
    main_gpu: int | None = None
    use_mmap: bool | None = None
    num_thread: int | None = None


@dataclass(frozen=True)
class Lease:
    """A runner that stays loaded for as long as the lease is held."""

    runner: Runner
    context_length: int
    load_ns: int
    """How long this request waited for a load; ~0 when the model was there."""
    adapters: int = 0
    """The set of adapters that makes the runner this model: requests to it must name it."""


@dataclass(frozen=True)
class Loaded:
    """A row of `ps`. Sizes in bytes; those of a model that is still loading are estimates."""

    model: Model
    size: int
    size_vram: int
    context_length: int
    expires_at: datetime | None
    """None = never."""
    stopping: bool
    note: str
    """What was unusual about the load, for example the retry without repacked buffers. "" = nothing."""
    pid: int | None
    loading: float | None = None
    """How much of a load is done, 0.0 to 1.0. None = it is ready."""


class Residency(Protocol):
    """Which models are loaded.

    Raises ServerBusy when the queue is full, LoadFailed or InsufficientMemory when a load fails,
    BadRequest for absurd load options.
    """

    def lease(
        self,
        model: Model,
        options: LoadOptions,
        keep_alive: str | float | None = None,
        on_progress: OnProgress | None = None,
    ) -> AbstractAsyncContextManager[Lease]:
        """`keep_alive` is the request's raw value (number = seconds, string = Go duration, negative =
        for ever) and replaces what the model has; None = keep that, the server's default at a load."""
        ...

    async def unload(self, model: Model) -> bool:
        """Unload once idle; running requests finish first. False when it was not loaded."""
        ...

    def loaded(self) -> list[Loaded]:
        """Models in memory and on their way into it."""
        ...

    def context_length(self, model: Model, options: LoadOptions) -> int:
        """The context that a request with `options` gets: what the model is loaded with where that suits it,
        else what a load would aim at. Raises BadRequest for absurd options."""
        ...

    async def release(self, run_id: str) -> None:
        """Let the prefixes that a run pinned, on whatever model, go like any other."""
        ...

    async def close(self) -> None:
        """Unload everything, now."""
        ...
