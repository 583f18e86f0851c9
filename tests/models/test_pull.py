from __future__ import annotations

import sys
from collections.abc import AsyncGenerator
from contextlib import aclosing
from pathlib import Path

import anyio
import anyio.lowlevel
import pytest
from support.tiny_gguf import write_tiny_gguf

from agentkit_server.errors import InvalidModelName, PullFailed
from agentkit_server.models.names import ModelName
from agentkit_server.models.pull import PullProgress, Pulls
from agentkit_server.models.registry.options import Access
from agentkit_server.models.sources.file import LocalFile
from agentkit_server.models.store import Store

pytestmark = pytest.mark.anyio


class Gated:
    """A source that stops half-way until it is let go."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.started = 0
        self.cleaned_up = 0
        self.half_way = anyio.Event()
        self.go_on = anyio.Event()
        self.error: Exception | None = None

    def matches(self, reference: str) -> bool:
        return reference.lower().startswith("gated")

    def name(self, reference: str) -> ModelName:
        return ModelName.parse(reference)

    async def pull(
        self, reference: str, name: ModelName, store: Store, access: Access
    ) -> AsyncGenerator[PullProgress]:
        self.started += 1
        try:
            yield PullProgress("pulling manifest")
            yield PullProgress("pulling it", total=4, completed=1)
            yield PullProgress("pulling it", total=4, completed=2)
            self.half_way.set()
            await self.go_on.wait()
            if self.error is not None:
                raise self.error
            yield PullProgress("pulling it", total=4, completed=4)
            store.link_file(name, self.path)
        finally:
            self.cleaned_up += 1


@pytest.fixture
def gated(tiny: Path) -> Gated:
    return Gated(tiny)


async def collect(pulls: Pulls, reference: str, into: list[PullProgress] | None = None) -> list[PullProgress]:
    lines = [] if into is None else into
    with anyio.fail_after(30):
        async with aclosing(pulls.pull(reference)) as progress:
            async for line in progress:
                lines.append(line)
    return lines


async def test_pulls_of_one_model_share_one_download_and_all_see_its_progress(
    store: Store, gated: Gated
) -> None:
    pulls = Pulls(store, [gated])
    seen: list[list[PullProgress]] = [[], [], []]
    with anyio.fail_after(30):
        async with anyio.create_task_group() as group:
            group.start_soon(collect, pulls, "gated", seen[0])
            group.start_soon(collect, pulls, "GATED:latest", seen[1])
            await gated.half_way.wait()
            group.start_soon(collect, pulls, "gated", seen[2])
            await anyio.wait_all_tasks_blocked()
            gated.go_on.set()
    assert gated.started == 1
    for lines in seen:
        assert lines[0].status == "pulling manifest"
        assert lines[-2:] == [PullProgress("pulling it", total=4, completed=4), PullProgress("success")]
        done = [line.completed for line in lines if line.completed is not None]
        assert done == sorted(done)
    assert store.resolve("gated").path == gated.path


async def test_one_who_leaves_does_not_stop_the_others(store: Store, gated: Gated) -> None:
    pulls = Pulls(store, [gated])
    stayed: list[PullProgress] = []
    with anyio.fail_after(30):
        async with anyio.create_task_group() as group:
            group.start_soon(collect, pulls, "gated", stayed)
            async with anyio.create_task_group() as leaving:
                leaving.start_soon(collect, pulls, "gated")
                await gated.half_way.wait()
                leaving.cancel_scope.cancel()
            gated.go_on.set()
    assert (gated.started, stayed[-1].status) == (1, "success")


async def test_the_last_to_leave_stops_the_download_and_the_next_pull_starts_anew(
    store: Store, gated: Gated
) -> None:
    pulls = Pulls(store, [gated])
    with anyio.fail_after(30):
        async with anyio.create_task_group() as group:
            for _ in range(2):
                group.start_soon(collect, pulls, "gated")
            await gated.half_way.wait()
            group.cancel_scope.cancel()
    assert (gated.started, gated.cleaned_up) == (1, 1)
    gated.go_on.set()
    assert (await collect(pulls, "gated"))[-1] == PullProgress("success")
    assert gated.started == 2


async def test_closing_the_iterator_leaves_the_pull(store: Store, gated: Gated) -> None:
    progress = Pulls(store, [gated]).pull("gated")
    assert (await anext(progress)).status == "pulling manifest"
    with anyio.fail_after(30):
        await progress.aclose()
    assert gated.cleaned_up == gated.started


class Fetched(Gated):
    """As above, and quick when the model is there."""

    async def pull(
        self, reference: str, name: ModelName, store: Store, access: Access
    ) -> AsyncGenerator[PullProgress]:
        if not store.has(name):
            async for line in super().pull(reference, name, store, access):
                yield line


WAITING = PullProgress("waiting for another download of gated")


async def test_a_pull_waits_for_that_of_another_process_and_finds_its_model(store: Store, tiny: Path) -> None:
    source = Fetched(tiny)
    there, here = (Pulls(Store(store.root), [source]) for _ in range(2))
    seen: list[PullProgress] = []
    with anyio.fail_after(30):
        async with anyio.create_task_group() as group:
            group.start_soon(collect, there, "gated")
            await source.half_way.wait()
            group.start_soon(collect, here, "gated", seen)
            while not seen:
                await anyio.lowlevel.checkpoint()
            source.go_on.set()
    assert seen == [WAITING, PullProgress("success")]
    assert source.started == 1


async def test_a_pull_that_waits_can_be_left_and_takes_nothing_with_it(store: Store, tiny: Path) -> None:
    source = Fetched(tiny)
    there, here = (Pulls(Store(store.root), [source]) for _ in range(2))
    stayed: list[PullProgress] = []
    with anyio.fail_after(30):
        async with anyio.create_task_group() as group:
            group.start_soon(collect, there, "gated", stayed)
            await source.half_way.wait()
            async with aclosing(here.pull("gated")) as lines:
                assert await anext(lines) == WAITING
            source.go_on.set()
    assert stayed[-1].status == "success"


async def test_a_pull_goes_on_where_another_process_was_killed(store: Store, gated: Gated) -> None:
    gated.go_on.set()
    program = (
        "import sys, pathlib\n"
        "from agentkit_server.models.names import ModelName\n"
        "from agentkit_server.models.store import Store\n"
        "with Store(pathlib.Path(sys.argv[1])).pulling(ModelName.parse('gated')):\n"
        "    print('held', end='', flush=True)\n"
        "    sys.stdin.read()\n"
    )
    command = [sys.executable, "-c", program, str(store.root)]
    with anyio.fail_after(30):
        async with await anyio.open_process(command) as other:
            assert other.stdout is not None
            assert await other.stdout.receive() == b"held"
            async with aclosing(Pulls(store, [gated]).pull("gated")) as lines:
                assert await anext(lines) == WAITING
                other.kill()
                assert [line.status async for line in lines][-1] == "success"
    assert gated.started == 1


async def test_a_store_without_locks_still_pulls(
    store: Store, gated: Gated, caplog: pytest.LogCaptureFixture
) -> None:
    (store.root / "locks").write_text("in the way")
    gated.go_on.set()
    assert (await collect(Pulls(store, [gated]), "gated"))[-1].status == "success"
    assert "not waited for" in caplog.text


async def test_a_failure_reaches_everyone_and_the_next_pull_tries_again(store: Store, gated: Gated) -> None:
    pulls = Pulls(store, [gated])
    gated.error = PullFailed("the source is on fire; bring water")
    failed = 0

    async def follow() -> None:
        nonlocal failed
        with pytest.raises(PullFailed, match="on fire"):
            await collect(pulls, "gated")
        failed += 1

    with anyio.fail_after(30):
        async with anyio.create_task_group() as group:
            for _ in range(3):
                group.start_soon(follow)
            await gated.half_way.wait()
            gated.go_on.set()
    assert failed == 3
    gated.error = None
    assert (await collect(pulls, "gated"))[-1].status == "success"


async def test_an_unforeseen_failure_is_logged_and_said(
    store: Store, gated: Gated, caplog: pytest.LogCaptureFixture
) -> None:
    gated.error = ValueError("surprise")
    gated.go_on.set()
    with pytest.raises(PullFailed, match="surprise"):
        await collect(Pulls(store, [gated]), "gated")
    assert "unforeseen" in caplog.text


async def test_closing_stops_what_is_under_way(store: Store, gated: Gated) -> None:
    pulls = Pulls(store, [gated])

    async def follow() -> None:
        with pytest.raises(Exception, match="cancelled"):
            await collect(pulls, "gated")

    with anyio.fail_after(30):
        async with anyio.create_task_group() as group:
            group.start_soon(follow)
            await gated.half_way.wait()
            await pulls.close()
    assert gated.cleaned_up == 1


async def test_a_name_that_no_source_has_is_said(store: Store, gated: Gated) -> None:
    with pytest.raises(PullFailed, match=r"'llama3.2' is nothing that models are pulled from"):
        await collect(Pulls(store, [gated]), "llama3.2")


async def test_the_default_model_that_is_there_is_not_fetched_again(store: Store, tiny: Path) -> None:
    store.link_file("smollm2", tiny)
    assert [line.status for line in await collect(Pulls(store), "smollm2")] == ["pulling manifest", "success"]


@pytest.mark.parametrize("reference", ["/etc/passwd", "./x.gguf", "~/x.gguf", "../x", "", "a b", "file:///x"])
async def test_a_pull_never_reads_a_file_that_it_names(store: Store, reference: str) -> None:
    with pytest.raises(InvalidModelName):
        await collect(Pulls(store), reference)


async def test_a_file_is_linked_where_the_caller_gives_that_source(store: Store, tmp_path: Path) -> None:
    path = write_tiny_gguf(tmp_path / "My Model (v2).gguf")
    lines = await collect(Pulls(store, [LocalFile()]), str(path))
    assert lines[0] == PullProgress(f"hashing {path.name}", total=2112, completed=2112)
    assert [line.status for line in lines[1:]] == ["writing manifest", "success"]
    assert store.resolve("my-model-v2-").path == path


async def test_a_file_that_is_no_model_is_not_linked(store: Store, tmp_path: Path) -> None:
    (tmp_path / "x.gguf").write_bytes(b"no")
    with pytest.raises(Exception, match="not a usable GGUF"):
        await collect(Pulls(store, [LocalFile()]), str(tmp_path / "x.gguf"))
    assert store.list() == []
