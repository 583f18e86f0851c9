"""Weights in memory, from the moment their room is promised until their runner has ended, the models that
use them, and the requests that wait for one. State only: residency.py decides what happens when."""

from __future__ import annotations

import asyncio
import enum
import math
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple

from agentkit_server.engine.types import AdapterFile
from agentkit_server.models.model import Model
from agentkit_server.residency.clock import Timer
from agentkit_server.residency.context import Plan, suits
from agentkit_server.residency.memory import adapter_sizes
from agentkit_server.residency.types import KeepAlive, LoadOptions
from agentkit_server.runner.protocol import OnProgress, Runner

Key = tuple[str, str]
"""Identity of a model: name and digest."""
Files = tuple[AdapterFile, ...]


def key_of(model: Model) -> Key:
    return model.name.key, model.digest


def base_of(model: Model) -> tuple[str, ...]:
    """Identity of the weights: models of one base differ in adapters and texts, and can share a runner."""
    return (model.weights or model.digest, str(model.path), *map(str, model.projectors))


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
    """A request that waits for its model. `future` gives its place, with the request counted in."""

    model: Model
    options: LoadOptions
    keep_alive: KeptFor | None
    """None = it named none: the model keeps what it has."""
    on_progress: OnProgress | None
    future: asyncio.Future[Place]
    number: int
    """Smaller = came before."""

    @property
    def key(self) -> Key:
        return key_of(self.model)


@dataclass(eq=False)
class Guest:
    """A model that is loaded: a row of `ps`. `used_at` is the clock's time."""

    model: Model
    keep_alive: KeepAlive
    used_at: float
    leases: int = 0
    leaves_after: bool = False
    """Asked to unload while requests wait for it or run: it serves them, then leaves."""
    timer: Timer | None = None
    files: set[Files] = field(default_factory=set[Files])
    """Its adapters as its runner knows them; several when a file was written anew meanwhile."""
    note: str = ""
    """What of them is left out."""
    adapters: dict[Path, int] = field(init=False)
    """Sizes of its adapters' files."""

    def __post_init__(self) -> None:
        self.adapters = adapter_sizes(self.model)

    @property
    def key(self) -> Key:
        return key_of(self.model)

    @property
    def idle(self) -> bool:
        return self.leases == 0

    def stop_timer(self) -> None:
        if self.timer is not None:
            self.timer.cancel()
            self.timer = None


@dataclass
class AdapterSet:
    """What a runner calls the adapters of one or several guests."""

    number: int
    ready: bool = False


@dataclass(eq=False)
class Tenant:
    """Weights that have a place in memory, and the models that use them, one at least until it is gone."""

    model: Model
    """For which they were loaded."""
    plan: Plan
    asked: bool
    """Whether the length of its context was asked for."""
    guests: dict[Key, Guest] = field(default_factory=dict[Key, Guest])
    state: State = State.LOADING
    runner: Runner | None = None
    progress: float = 0.0
    """How much of its load is done, 0.0 to 1.0."""
    note: str = ""
    reason: Reason | None = None
    task: asyncio.Task[None] | None = None
    """What loads it, and then what watches its runner."""
    closing: asyncio.Task[None] | None = None
    sets: dict[Files, AdapterSet] = field(default_factory=dict[Files, AdapterSet])
    numbered: int = 0
    """Sets so far: no number comes twice."""

    @property
    def names(self) -> str:
        return ", ".join(guest.model.name.short for guest in self.guests.values())

    @property
    def leases(self) -> int:
        return sum(guest.leases for guest in self.guests.values())

    @property
    def full(self) -> bool:
        """Whether as many requests hold it as its runner has sequences: more would only queue inside."""
        return self.leases >= self.plan.spec.n_seq_max

    @property
    def idle(self) -> bool:
        return all(guest.idle for guest in self.guests.values())

    @property
    def leaving(self) -> bool:
        return self.state in (State.LEAVING, State.CLOSING)

    @property
    def used_at(self) -> float:
        return max((guest.used_at for guest in self.guests.values()), default=0.0)

    @property
    def total(self) -> int:
        """Bytes that it takes, as estimated, with the adapters of all its guests."""
        sizes: dict[Path, int] = {}
        for guest in self.guests.values():
            sizes |= guest.adapters
        own = self.plan.estimate
        return own.total - own.adapters + sum(sizes.values())

    def extra(self, model: Model) -> int:
        """Bytes that it would take in addition to have `model` as a guest."""
        known = {path for guest in self.guests.values() for path in guest.adapters}
        return sum(size for path, size in adapter_sizes(model).items() if path not in known)

    def suits(self, waiter: Waiter) -> bool:
        return self.fits(waiter.model, waiter.options)

    def fits(self, model: Model, options: LoadOptions) -> bool:
        """Whether it is of the base of `model`, loaded as `options` ask for."""
        return base_of(self.model) == base_of(model) and suits(self.plan.spec, model, options)

    def takes(self, waiter: Waiter) -> bool:
        """Whether `waiter` can have a lease now."""
        return self.state is State.READY and not self.full and self.suits(waiter)

    def expires_at(self, guest: Guest, now: float) -> float:
        """When `guest` would leave if nobody used it from now on; infinity for a model kept for ever."""
        begin = guest.used_at if guest.idle and self.state is not State.LOADING else now
        return math.inf if guest.keep_alive is None else begin + guest.keep_alive

    def eviction_order(self, now: float) -> tuple[bool, float, float]:
        """Smallest goes first: idle before busy, then whichever would leave soonest (with equal
        keep-alives the least recently used), then the least recently used."""
        expires = max((self.expires_at(guest, now) for guest in self.guests.values()), default=now)
        return not self.idle, expires, self.used_at

    def stop_timers(self) -> None:
        for guest in self.guests.values():
            guest.stop_timer()


class Place(NamedTuple):
    """Where a request is served."""

    tenant: Tenant
    guest: Guest
