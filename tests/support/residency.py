"""What residency tests are made of: models that need no file, a machine of a given size, a clock that
is moved by hand, and requests that hold their lease until told to end."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import anyio

from agentkit_server.machine import Memory
from agentkit_server.models.model import Details, GGUFInfo, Model
from agentkit_server.models.names import ModelName
from agentkit_server.residency.memory import GIB, MIB
from agentkit_server.residency.residency import Residence
from agentkit_server.residency.types import Lease, LoadOptions
from agentkit_server.runner.scripted import ScriptedLauncher, ScriptedModel
from agentkit_server.settings import Settings


def make_gguf(**changes: Any) -> GGUFInfo:
    """A small model of llama's shape; `changes` replace fields."""
    fields: dict[str, Any] = {
        "metadata": {"llama.feed_forward_length": 1536},
        "tensors": (),
        "file_size": 100 * MIB,
        "architecture": "llama",
        "parameter_count": 135_000_000,
        "quantization": "Q4_1",
        "context_length": 8192,
        "embedding_length": 576,
        "block_count": 30,
        "head_count": 9,
        "head_count_kv": (3,) * 30,
        "key_length": 64,
        "value_length": 64,
        "pooling": None,
        "chat_template": None,
        "vocab_size": 49152,
    }
    return GGUFInfo(**(fields | changes))


def make_model(name: str = "a", **gguf: Any) -> Model:
    """A model whose name, digest and path all say `name`."""
    info = make_gguf(**gguf)
    return Model(
        name=ModelName.parse(name),
        digest=f"digest-of-{name}",
        size=info.file_size,
        modified_at=datetime(2025, 1, 1, tzinfo=UTC),
        path=Path(f"{name}.gguf"),
        gguf=info,
        details=Details("gguf", "llama", ("llama",), "135M", "Q4_1", info.context_length, 576),
        capabilities=("completion",),
    )


async def settle() -> None:
    """Let everything that can happen now happen: no chain of reactions takes this many steps."""
    for _ in range(60):
        await asyncio.sleep(0)


@dataclass
class HandClock:
    """Time stands still until `advance`."""

    time: float = 1000.0
    timers: list[HandTimer] = field(default_factory=list["HandTimer"])

    def now(self) -> float:
        return self.time

    def call_later(self, delay: float, callback: Callable[[], None]) -> HandTimer:
        timer = HandTimer(self.time + delay, callback)
        self.timers.append(timer)
        return timer

    @property
    def pending(self) -> list[float]:
        """Seconds until each timer that is set."""
        return sorted(timer.due - self.time for timer in self.timers if not timer.cancelled)

    async def advance(self, seconds: float) -> None:
        """Let time pass, then everything that follows from it."""
        self.time += seconds
        for timer in sorted(self.timers, key=lambda timer: timer.due):
            if timer.due <= self.time and not timer.cancelled:
                timer.cancelled = True
                timer.callback()
        await settle()


@dataclass
class HandTimer:
    due: float
    callback: Callable[[], None]
    cancelled: bool = False

    def cancel(self) -> None:
        self.cancelled = True


class Request:
    """A request that holds its lease until `end`."""

    def __init__(self, residence: Residence, model: Model, options: LoadOptions, **named: Any) -> None:
        self.lease: Lease | None = None
        self.progress: list[float] = []
        self._leased = asyncio.Event()
        self._end = asyncio.Event()
        self._arguments = (model, options)
        self._named = {"on_progress": self.progress.append} | named
        self.task = asyncio.create_task(self._run(residence))

    async def _run(self, residence: Residence) -> None:
        async with residence.lease(*self._arguments, **self._named) as lease:
            self.lease = lease
            self._leased.set()
            await self._end.wait()

    async def leased(self) -> Lease:
        """Wait for the lease where a thread is in the way, and settling does not do."""
        with anyio.fail_after(20):
            await self._leased.wait()
        assert self.lease is not None
        return self.lease

    @property
    def holds(self) -> bool:
        return self.lease is not None and not self.task.done()

    @property
    def waits(self) -> bool:
        return self.lease is None and not self.task.done()

    @property
    def n_ctx(self) -> int:
        assert self.lease is not None
        return self.lease.runner.spec.n_ctx

    def finish(self) -> None:
        """Let go of the lease as soon as it is there."""
        self._end.set()

    async def end(self) -> None:
        self.finish()
        with anyio.fail_after(10):
            await self.task
        await settle()

    async def cancel(self) -> None:
        self.task.cancel()
        await asyncio.gather(self.task, return_exceptions=True)
        await settle()

    @property
    def error(self) -> BaseException:
        assert self.task.done()
        error = self.task.exception()
        assert error is not None
        return error


@dataclass
class House:
    """A Residence on a scripted launcher, with its surroundings in reach."""

    launcher: ScriptedLauncher
    clock: HandClock
    memory: Memory
    residence: Residence
    requests: list[Request] = field(default_factory=list[Request])

    @classmethod
    def build(cls, *, memory: Memory | None = None, **settings: Any) -> House:
        launcher = ScriptedLauncher("hello", ScriptedModel())
        clock = HandClock()
        memory = memory or Memory(available=64 * GIB, capacity=64 * GIB)
        house = cls(launcher, clock, memory, residence=None)  # pyright: ignore[reportArgumentType]
        house.residence = Residence(launcher, Settings(**settings), probe=lambda: house.memory, clock=clock)
        return house

    async def ask(self, model: Model, *, wait: bool = True, **fields: Any) -> Request:
        """Send a request; fields of LoadOptions go into its options. Returns when all has settled."""
        options = LoadOptions(**{name: fields.pop(name) for name in list(fields) if name in _OPTIONS})
        request = Request(self.residence, model, options, **fields)
        self.requests.append(request)
        if wait:
            await settle()
        return request

    async def use(self, model: Model, **fields: Any) -> None:
        """One request from beginning to end."""
        await (await self.ask(model, **fields)).end()

    @property
    def loaded(self) -> list[str]:
        """Names of the models that are ready, in order of the alphabet."""
        return sorted(row.model.name.model for row in self.residence.loaded() if row.loading is None)

    async def close(self) -> None:
        for request in self.requests:
            request.task.cancel()
        await asyncio.gather(*(request.task for request in self.requests), return_exceptions=True)
        with anyio.fail_after(10):
            await self.residence.close()


_OPTIONS = frozenset(LoadOptions.__dataclass_fields__)
