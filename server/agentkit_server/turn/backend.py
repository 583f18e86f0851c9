"""What a turn stands on: the store, the residency, the settings. The app makes one and keeps it."""

from __future__ import annotations

import time
from dataclasses import dataclass

from anyio import to_thread

from agentkit_server.models.model import Model
from agentkit_server.models.store import Store
from agentkit_server.residency.types import Residency
from agentkit_server.settings import Settings


@dataclass(frozen=True)
class Backend:
    """What a turn needs."""

    store: Store
    residency: Residency
    settings: Settings


async def resolve(backend: Backend, name: str) -> Model:
    """The model called `name`. Raises ModelNotFound, InvalidModelName."""
    return await to_thread.run_sync(backend.store.resolve, name)


def now_ns() -> int:
    """A clock for durations, in nanoseconds."""
    return time.perf_counter_ns()
