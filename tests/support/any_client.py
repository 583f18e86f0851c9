"""What clients do to a stream: read it in any pieces, and leave it anywhere."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable
from itertools import pairwise
from typing import Any

import anyio
import httpx
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from agentkit_server.runner.scripted import Scripted

Read = Callable[[bytes, list[int]], Awaitable[Any]]


class Pieces:
    """`raw`, cut at `cuts`, as the stream of an answer."""

    def __init__(self, raw: bytes, cuts: list[int]) -> None:
        edges = [0, *sorted(cut % len(raw) for cut in cuts), len(raw)]
        self._pieces = [raw[a:b] for a, b in pairwise(edges)]

    async def __aiter__(self) -> AsyncIterator[bytes]:
        for piece in self._pieces:
            yield piece

    async def aclose(self) -> None:
        self._pieces.clear()


async def same_in_any_pieces(read: Read, raw: bytes) -> Any:
    """What `read` makes of `raw`, which is the same wherever it is cut: nowhere, everywhere, at random."""
    whole = await read(raw, [])
    assert await read(raw, list(range(len(raw)))) == whole

    @settings(max_examples=30, deadline=None, suppress_health_check=list(HealthCheck))
    @given(cuts=st.lists(st.integers(0, 10**6), max_size=40))
    def at_any(cuts: list[int]) -> None:
        assert anyio.from_thread.run(read, raw, cuts) == whole

    await anyio.to_thread.run_sync(at_any)
    return whole


class Held:
    """A gate that never opens; tells when a generation stands before it, and when it has been sent away."""

    def __init__(self) -> None:
        self.full, self.empty = anyio.Event(), anyio.Event()

    def is_set(self) -> bool:
        return False

    async def wait(self) -> None:
        self.full.set()
        try:
            await anyio.sleep_forever()
        finally:
            self.empty.set()


async def leave_after(
    runner: Scripted, tokens: int, client: httpx.AsyncClient, path: str, body: dict[str, Any]
) -> None:
    """Ask, and hang up once `tokens` of the answer are made; returns when the generation has ended too."""
    runner.hold = gate = Held()
    runner.hold_after = runner._emitted + tokens  # pyright: ignore[reportPrivateUsage]
    with anyio.fail_after(10):
        async with anyio.create_task_group() as group:
            group.start_soon(_leave, client, path, body, gate.full)
        await gate.empty.wait()
    runner.hold = None


async def _leave(client: httpx.AsyncClient, path: str, body: dict[str, Any], when: anyio.Event) -> None:
    with anyio.CancelScope() as scope:
        async with anyio.create_task_group() as group:
            group.start_soon(_cancel_when, when, scope)
            async with client.stream("POST", path, json=body) as answer:
                async for _ in answer.aiter_raw():
                    pass


async def _cancel_when(event: anyio.Event, scope: anyio.CancelScope) -> None:
    await event.wait()
    scope.cancel()
