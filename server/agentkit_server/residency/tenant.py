"""One model in memory, from the moment its room is promised until its runner has ended, and the
requests that wait for one. State only: residency.py decides what happens when."""

from __future__ import annotations

import asyncio
import enum
import math
from dataclasses import dataclass

from agentkit_server.models.model import Model
from agentkit_server.residency.clock import Timer
from agentkit_server.residency.context import Plan, suits
from agentkit_server.residency.types import KeepAlive, LoadOptions
from agentkit_server.runner.protocol import OnProgress, Runner

Key = tuple[str, str]
"""Identity of a loaded model: digest and path."""


def key_of(model: Model) -> Key:
    return model.digest, str(model.path)


class State(enum.Enum):
    LOADING = enum.auto()
    READY = enum.auto()
    LEAVING = enum.auto()
    """Its requests run to their end, no new ones come in."""
    CLOSING = enum.auto()
    """Its runner is being ended."""
    GONE = enum.auto()


class Reason(enum.Enum):
    """Why a model leaves."""

    RELOAD = "other load options were asked for"
    ROOM = "another model needs its room"
    ASKED = "it was asked to"
    EXPIRED = "its keep-alive ran out"


@dataclass(frozen=True)
class KeptFor:
    """A keep-alive that a request named; `seconds` None = for ever."""

    seconds: KeepAlive


@dataclass(eq=False)
class Waiter:
    """A request that waits for its model. `future` gives the tenant, with the request counted in."""

    model: Model
    options: LoadOptions
    keep_alive: KeptFor | None
    """None = it named none: the model keeps what it has."""
    on_progress: OnProgress | None
    future: asyncio.Future[Tenant]

    @property
    def key(self) -> Key:
        return key_of(self.model)


@dataclass(eq=False)
class Tenant:
    """A model that has a place in memory."""

    model: Model
    plan: Plan
    keep_alive: KeepAlive
    state: State = State.LOADING
    runner: Runner | None = None
    progress: float = 0.0
    """How much of its load is done, 0.0 to 1.0."""
    note: str = ""
    leases: int = 0
    used_at: float = 0.0
    leaves_after: bool = False
    """Asked to unload while it was loading: it serves those who wait, then leaves."""
    reason: Reason | None = None
    timer: Timer | None = None
    task: asyncio.Task[None] | None = None
    """What loads it, and then what watches its runner."""
    closing: asyncio.Task[None] | None = None

    @property
    def key(self) -> Key:
        return key_of(self.model)

    @property
    def full(self) -> bool:
        """Whether as many requests hold it as its runner has sequences: more would only queue inside."""
        return self.leases >= self.plan.spec.n_seq_max

    @property
    def idle(self) -> bool:
        return self.leases == 0

    @property
    def leaving(self) -> bool:
        return self.state in (State.LEAVING, State.CLOSING)

    def suits(self, waiter: Waiter) -> bool:
        return suits(self.plan.spec, self.model, waiter.options)

    def takes(self, waiter: Waiter) -> bool:
        """Whether `waiter` can have a lease now."""
        return self.state is State.READY and not self.full and self.suits(waiter)

    def expires_at(self, now: float) -> float:
        """When it would leave if nobody used it from now on; infinity for a model kept for ever."""
        begin = self.used_at if self.idle and self.state is not State.LOADING else now
        return math.inf if self.keep_alive is None else begin + self.keep_alive

    def eviction_order(self, now: float) -> tuple[bool, float, float]:
        """Smallest goes first: idle before busy, then whichever would leave soonest (with equal
        keep-alives the least recently used), then the least recently used."""
        return not self.idle, self.expires_at(now), self.used_at

    def stop_timer(self) -> None:
        if self.timer is not None:
            self.timer.cancel()
            self.timer = None
