"""A pull goes on where another one ended, whatever ended it."""

from __future__ import annotations

import os
import random
import signal
import sys
from collections.abc import Sequence
from contextlib import aclosing
from dataclasses import replace
from pathlib import Path

import anyio
import msgspec
import pytest
from anyio.abc import Process
from support.fault_registry import Answer, Asked, FaultRegistry, Memory, fault_registry
from support.registries import (
    REPOSITORY,
    SYSTEM,
    goes_forward,
    publish,
    pull,
    real_where_installed,
    visible,
    weights,
)

from agentkit_server.errors import AgentkitError, PullFailed
from agentkit_server.models.digest import Digest
from agentkit_server.models.pull import Pulls, default_sources
from agentkit_server.models.registry.options import Access, TransferOptions
from agentkit_server.models.store import Store

pytestmark = pytest.mark.anyio

PULLS = """
import asyncio, os, sys
from pathlib import Path
from agentkit_server.models.pull import Pulls, default_sources
from agentkit_server.models.registry.options import Access, TransferOptions
from agentkit_server.models.store import Store

async def main(root, reference):
    options = TransferOptions(part_bytes=200_000, streams=3, key=None)
    pulls = Pulls(Store(Path(root)), default_sources(options))
    async for line in pulls.pull(reference, Access(insecure=True)):
        pass

for _ in sys.stdin:
    # A process for each, without the second of CPU that the imports take.
    child = os.fork()
    if not child:
        asyncio.run(main(*sys.argv[1:]))
        os._exit(0)
    os.write(1, str(child).encode())
    os.waitpid(child, 0)
    os.write(1, b"gone")
"""
"""Each line of its input is a pull in a process of its own, whose number it prints."""
Range = tuple[int, int]


def reference(registry: FaultRegistry) -> str:
    return f"http://{registry.host}/{REPOSITORY}"


def finished(root: Path, digest: Digest) -> list[Range]:
    """First and last byte of each part that the note of a download has as whole."""
    note = root / "blobs" / f"{digest.file_name}.part.json"
    if not note.exists():
        return []
    parts = msgspec.json.decode(note.read_bytes())["parts"]
    return [(start, stop - 1) for start, stop, done in parts if start + done == stop]


def overlapping(ranges: Sequence[Range], others: Sequence[Range]) -> list[tuple[Range, Range]]:
    return [(one, two) for one in ranges for two in others if one[0] <= two[1] and two[0] <= one[1]]


async def killed_when_held(registry: FaultRegistry, pulls: Process) -> None:
    """A pull in a process of its own, killed once the registry holds it up."""
    assert pulls.stdin is not None
    assert pulls.stdout is not None
    await pulls.stdin.send(b"\n")
    child = int(await pulls.stdout.receive())
    await registry.held.wait()
    os.kill(child, signal.SIGKILL)
    assert await pulls.stdout.receive() == b"gone"
    registry.release()


async def test_a_pull_that_is_killed_goes_on_and_never_fetches_a_finished_part_again(
    tmp_path: Path, options: TransferOptions
) -> None:
    model = weights(tmp_path, 8_000_000)
    digest, root = Digest.of(model), tmp_path / "store"
    points = random.Random(5).sample(range(600_000, 1_500_000), 5)
    done: list[Range] = []
    with anyio.fail_after(120):
        async with (
            real_where_installed(tmp_path / "registry", {"model": model}) as upstream,
            fault_registry(upstream) as registry,
            await anyio.open_process(
                [sys.executable, "-c", PULLS, str(root), reference(registry)], stderr=None
            ) as pulls,
        ):
            for point in points:
                registry.hold(point)
                before = len(registry.asked)
                await killed_when_held(registry, pulls)
                assert not overlapping(registry.ranges(digest.hex, before), done)
                assert set(done) <= set(finished(root, digest))
                done = finished(root, digest)
            before = len(registry.asked)
            store = Store(root)
            lines = await pull(store, reference(registry), options)
            assert not overlapping(registry.ranges(digest.hex, before), done)
            assert store.resolve(reference(registry)).path.read_bytes() == model
    assert done
    assert goes_forward(lines)
    first = next(line for line in lines if line.digest == str(digest))
    assert (first.completed or 0) >= sum(last - start + 1 for start, last in done)


async def test_a_pull_that_is_left_goes_on_with_the_next_byte(
    memory: Memory, store: Store, model: bytes, options: TransferOptions
) -> None:
    digest = Digest.of(model)
    async with fault_registry(memory) as registry:
        registry.hold(1_000_000)
        pulls = Pulls(store, default_sources(replace(options, streams=2)))
        async with aclosing(pulls.pull(reference(registry), Access(insecure=True))) as lines:
            async for line in lines:
                if line.digest == str(digest) and (line.completed or 0) >= 400_000:
                    break
        assert visible(store) == []
        with store.partial(digest, len(model)) as left:
            had = left.done
        registry.release()
        before = len(registry.asked)
        await pull(store, reference(registry), options)
        fetched = registry.ranges(digest.hex, before)
    assert had >= 400_000
    assert sum(last - first + 1 for first, last in fetched) == len(model) - had
    assert store.resolve(reference(registry)).path.read_bytes() == model


async def test_what_came_before_an_error_is_not_fetched_again(
    memory: Memory, store: Store, model: bytes, options: TransferOptions
) -> None:
    digest = Digest.of(model)
    async with fault_registry(memory) as registry:
        # The first parts come, then the registry is gone for good.
        registry.on(digest.hex, lambda asked, answer: _fails_behind(600_000, asked, answer))
        with pytest.raises(AgentkitError, match="answered 500"):
            await pull(store, reference(registry), replace(options, streams=1))
        done, before = finished(store.root, digest), len(registry.asked)
        registry.faults.clear()
        await pull(store, reference(registry), options)
        assert done == [(0, 199_999), (200_000, 399_999), (400_000, 599_999)]
        assert not overlapping(registry.ranges(digest.hex, before), done)
    assert store.resolve(reference(registry)).path.read_bytes() == model


def _fails_behind(limit: int, asked: Asked, answer: Answer) -> Answer:
    first = int(asked.headers.get("range", "bytes=0-").removeprefix("bytes=").partition("-")[0])
    return Answer(500, body=b"gone") if first >= limit else answer


async def test_two_pulls_that_share_a_blob_fetch_it_once(
    memory: Memory, store: Store, model: bytes, options: TransferOptions
) -> None:
    publish(memory, {"model": model, "system": b"Other."}, "library/other")
    digest = Digest.of(model)
    async with fault_registry(memory) as registry, anyio.create_task_group() as group:
        for name in ("tiny", "other"):
            # As two processes would, with a store each.
            group.start_soon(pull, Store(store.root), f"http://{registry.host}/library/{name}", options)
    fetched = registry.ranges(digest.hex)
    assert sum(last - first + 1 for first, last in fetched) == len(model)
    assert len(store.list()) == 2


async def test_notes_that_cannot_be_are_not_believed(
    memory: Memory, store: Store, model: bytes, options: TransferOptions
) -> None:
    digest = Digest.of(model)
    note = store.root / "blobs" / f"{digest.file_name}.part.json"
    note.with_suffix("").write_bytes(b"\0" * len(model))
    for content in (b"no", b"{}", b'{"size":1500000,"tag":"","parts":[[0,1500000,1500001]]}'):
        note.write_bytes(content)
        with store.partial(digest, len(model)) as partial:
            assert partial.done == 0
    # The bytes are not what it says, so it is fetched again from its start.
    note.write_bytes(b'{"size":1500000,"tag":"","parts":[[0,1500000,1500000]]}')
    async with fault_registry(memory) as registry:
        lines = await pull(store, reference(registry), options)
        assert goes_forward(lines)
        assert store.resolve(reference(registry)).path.read_bytes() == model


async def test_a_pull_that_does_not_fit_says_so_before_anything_is_fetched(
    memory: Memory, store: Store, options: TransferOptions, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(store, "free_bytes", lambda: 1_000_000)
    async with fault_registry(memory) as registry:
        with pytest.raises(PullFailed, match=r"needs 15\d+ bytes and the disk of the store has 1000000 left"):
            await pull(store, reference(registry), options)
        assert not registry.ranges("blobs")


async def test_layers_that_are_there_are_not_fetched_and_unused_ones_go(
    memory: Memory, store: Store, model: bytes, options: TransferOptions
) -> None:
    async with fault_registry(memory) as registry:
        await pull(store, reference(registry), options)
        publish(memory, {"model": model, "system": b"You are large."})
        before = len(registry.asked)
        lines = await pull(store, reference(registry), options)
        fetched = [each.target for each in registry.asked[before:] if "/blobs/" in each.target]
        again = [line.status for line in await pull(store, reference(registry), options)]
    assert [target.rpartition("/")[2] for target in fetched] == [str(Digest.of(b"You are large."))]
    assert [line.status for line in lines][-3:] == ["writing manifest", "removing unused layers", "success"]
    assert store.resolve(reference(registry)).system == "You are large."
    assert not store.has_blob(str(Digest.of(SYSTEM)))
    assert again[-2:] == ["writing manifest", "success"]


async def test_a_blob_that_was_found_damaged_is_fetched_again(
    memory: Memory, store: Store, model: bytes, options: TransferOptions
) -> None:
    async with fault_registry(memory) as registry:
        await pull(store, reference(registry), options)
        blob = store.resolve(reference(registry)).path
        blob.write_bytes(model[:-1] + b"?")
        for _ in store.verify_steps():
            pass
        assert not store.has_blob(str(Digest.of(model)))
        await pull(store, reference(registry), options)
    assert store.has_blob(str(Digest.of(model)))
    assert blob.read_bytes() == model


async def test_a_server_that_starts_leaves_what_a_pull_is_fetching(
    memory: Memory, store: Store, model: bytes, options: TransferOptions
) -> None:
    digest = Digest.of(model)
    part = store.root / "blobs" / f"{digest.file_name}.part"
    async with fault_registry(memory) as registry:
        registry.hold(500_000)
        pulls = Pulls(store, default_sources(options))
        async with aclosing(pulls.pull(reference(registry), Access(insecure=True))) as lines:
            with anyio.fail_after(60):
                async for line in lines:
                    if line.digest == str(digest):
                        break
            long_ago = part.stat().st_mtime - 7200
            os.utime(part, (long_ago, long_ago))
            Store(store.root).prune()
            assert part.exists()
            registry.release()
            with anyio.fail_after(60):
                assert [line.status async for line in lines][-1] == "success"
        with store.partial(Digest.of(b"gone"), 10) as left:
            os.utime(left.path, (long_ago, long_ago))
        Store(store.root).prune()
        assert not left.path.exists()
