"""What a turn stands on: the store, the residency, the settings. The app makes one and keeps it."""

from __future__ import annotations

import time
from collections.abc import Generator
from contextlib import contextmanager
from dataclasses import dataclass

from anyio import fail_after, to_thread

from agentkit_server.errors import BadRequest, DeadlinePassed
from agentkit_server.models.model import Model
from agentkit_server.models.store import Store
from agentkit_server.residency.types import Residency
from agentkit_server.settings import Settings
from agentkit_server.turn.options import read_options


@dataclass(frozen=True)
class Backend:
    """What a turn needs."""

    store: Store
    residency: Residency
    settings: Settings


async def resolve(backend: Backend, name: str) -> Model:
    """The model called `name`. Raises ModelNotFound, InvalidModelName."""
    return await to_thread.run_sync(backend.store.resolve, name)


def context_length(backend: Backend, model: Model) -> int:
    """Tokens that a request to `model` gets which asks for none: those that it is loaded with, else what a
    load would aim at."""
    try:
        return backend.residency.context_length(model, read_options(model.parameters).load)
    except BadRequest:
        # Of the model's own PARAMETER lines: whoever uses it hears of them.
        return model.gguf.context_length


def deadline(max_seconds: float | None, began_ns: int) -> int:
    """On the clock of `time.monotonic_ns`; 0 = none."""
    return 0 if max_seconds is None else began_ns + round(max_seconds * 1e9)


@contextmanager
def within(max_seconds: float | None, began_ns: int, otherwise: str) -> Generator[None]:
    """What has to be done by then, counted from `began_ns` on the same clock. Raises DeadlinePassed, which
    says what is the case `otherwise`."""
    if max_seconds is None:
        yield
        return
    try:
        with fail_after((deadline(max_seconds, began_ns) - time.monotonic_ns()) / 1e9):
            yield
    except TimeoutError:
        raise DeadlinePassed(
            f"{otherwise} within {max_seconds:g} seconds; allow more, or load the model beforehand",
            param="max_seconds",
        ) from None


def now_ns() -> int:
    """A clock for durations, in nanoseconds."""
    return time.perf_counter_ns()
