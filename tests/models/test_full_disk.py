"""A store on a disk that is full, can only be read, or is another one; and two processes at the same name.

Whatever happens, what was there stays whole, nothing half done is visible, and the error says why.
"""

from __future__ import annotations

import filecmp
import hashlib
import os
import subprocess
import sys
from collections.abc import AsyncIterator, Generator, Iterator
from contextlib import aclosing, contextmanager
from pathlib import Path
from typing import Any

import anyio
import httpx
import pytest
from support.docker_registry import docker_registry
from support.stores import add_tiny
from support.tiny_gguf import write_tiny_gguf

from agentkit_server.app import create_app
from agentkit_server.create.create import create
from agentkit_server.create.request import CreateRequest, checked
from agentkit_server.errors import PullFailed, StoreError
from agentkit_server.models.export import Wish, export_steps
from agentkit_server.models.pull import Pulls, default_sources
from agentkit_server.models.push import push
from agentkit_server.models.registry.options import Access, TransferOptions
from agentkit_server.models.store import Store
from agentkit_server.runner.scripted import ScriptedLauncher
from agentkit_server.settings import Settings

MIB = 1 << 20
FULL = "No space left on device"
READ_ONLY = "Read-only file system"
DISK_BYTES = 2 * MIB
INSECURE = Access(insecure=True)
SECONDS = 60

pytestmark = pytest.mark.anyio


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[Path]:
    """A disk of 2 MiB of its own."""
    if sys.platform != "linux" or os.geteuid() != 0:
        pytest.skip("only root on Linux can mount a disk")
    folder = tmp_path / "disk"
    folder.mkdir()
    command = ["mount", "-t", "tmpfs", "-o", f"size={DISK_BYTES}", "tmpfs", str(folder)]
    done = subprocess.run(command, capture_output=True, text=True)
    if done.returncode:
        pytest.skip(f"no disk can be mounted here: {done.stderr.strip()}")
    try:
        yield folder
    finally:
        subprocess.run(["umount", "--lazy", str(folder)], check=True)


@pytest.fixture
def store(disk: Path, tiny: Path) -> Store:
    """A store on the small disk, with `a`."""
    store = Store(disk / "models")
    add_tiny(store, "a", tiny)
    return store


def fill(disk: Path) -> None:
    """Leave not a byte."""
    with (disk / "filler").open("wb", buffering=0) as file:
        try:
            while True:
                file.write(b"x" * 4096)
        except OSError as error:
            assert FULL in str(error)


def remount(disk: Path, option: str) -> None:
    subprocess.run(["mount", "-o", f"remount,{option}", str(disk)], check=True)


@contextmanager
def only_readable(disk: Path) -> Generator[None]:
    remount(disk, "ro")
    try:
        yield
    finally:
        remount(disk, "rw")


def device(path: Path) -> int:
    return path.stat().st_dev


def files(store: Store) -> dict[str, bytes]:
    """Every file that the store shows, by its path; what is for locks and marks left out."""
    every = [*(store.root / "blobs").rglob("*"), *(store.root / "manifests").rglob("*")]
    return {str(path.relative_to(store.root)): path.read_bytes() for path in every if path.is_file()}


async def upload(store: Store, content: bytes) -> bool:
    async def chunks() -> AsyncIterator[bytes]:
        for start in range(0, len(content), 65_536):
            yield content[start : start + 65_536]

    return await store.add_blob("sha256:" + hashlib.sha256(content).hexdigest(), chunks())


async def made(store: Store, name: str, **words: Any) -> None:
    recipe = await anyio.to_thread.run_sync(checked, CreateRequest(model=name, base="a", **words), store)
    with anyio.fail_after(SECONDS):
        async with aclosing(create(store, Pulls(store), recipe)) as lines:
            async for _ in lines:
                pass


async def pulled(store: Store, name: str) -> None:
    pulls = Pulls(store, default_sources(TransferOptions(key=None)))
    with anyio.fail_after(SECONDS):
        async for _ in pulls.pull(name, INSECURE):
            pass


def drained(steps: Generator[Any, None, Any]) -> Any:
    while True:
        try:
            next(steps)
        except StopIteration as end:
            return end.value


# --- a full disk ----------------------------------------------------------------------------------


async def test_an_upload_that_does_not_fit_leaves_nothing_and_takes_nothing(store: Store) -> None:
    before = files(store)
    with pytest.raises(StoreError, match=f"the model store failed: .*{FULL}.*check its disk"):
        await upload(store, os.urandom(3 * MIB))
    assert files(store) == before
    assert await upload(store, os.urandom(MIB))


def test_a_manifest_that_does_not_fit_leaves_what_its_name_stood_for(store: Store, disk: Path) -> None:
    before = files(store)
    fill(disk)
    with pytest.raises(StoreError, match=FULL):
        store.write_manifest(store.resolve("a").name, store.manifest("a"))
    with pytest.raises(StoreError, match=FULL):
        store.copy("a", "b")
    assert files(store) == before
    assert [model.name.short for model in store.list()] == ["a:latest"]


def test_a_file_is_not_linked_on_a_full_disk_and_stays_as_it_is(
    store: Store, disk: Path, tmp_path: Path
) -> None:
    path = write_tiny_gguf(tmp_path / "other.gguf", name="other")
    content = path.read_bytes()
    before = files(store)
    fill(disk)
    with pytest.raises(StoreError, match=FULL):
        store.link_file("b", path)
    assert (files(store), path.read_bytes()) == (before, content)


async def test_nothing_is_created_on_a_full_disk(store: Store, disk: Path) -> None:
    before = files(store)
    fill(disk)
    for name in ("b", "a"):
        with pytest.raises(StoreError, match=FULL):
            await made(store, name, system="x" * 9000)
    assert files(store) == before
    (disk / "filler").unlink()
    await made(store, "a", system="Be brief.")
    assert store.resolve("a").system == "Be brief."


def test_a_model_can_be_removed_from_a_full_disk(store: Store, disk: Path) -> None:
    fill(disk)
    store.delete("a")
    assert files(store) == {}
    store.link_file("b", write_tiny_gguf(disk.parent / "b.gguf"))


def test_a_full_disk_is_verified_all_the_same(store: Store, disk: Path) -> None:
    path = store.resolve("a").path
    path.write_bytes(b"x" * path.stat().st_size)
    fill(disk)
    assert len(drained(store.verify_steps()).problems) == 1


@pytest.fixture
async def registry(tmp_path: Path) -> AsyncIterator[str]:
    """A registry with a model of 3 MiB, and the model's name."""
    with docker_registry(tmp_path / "registry") as address:
        name = f"{address}/me/big"
        source = Store(tmp_path / "source")
        source.link_file(name, write_tiny_gguf(tmp_path / "big.gguf", extra={"filler": "x" * (3 * MIB)}))
        async for _ in push(source, name, TransferOptions(key=None), INSECURE):
            pass
        yield name


async def test_a_pull_that_does_not_fit_says_so_before_it_begins(store: Store, registry: str) -> None:
    before = files(store)
    with pytest.raises(PullFailed, match=r"the model needs \d+ bytes and the disk of the store has \d+ left"):
        await pulled(store, registry)
    assert files(store) == before


async def test_a_disk_that_fills_during_a_pull_is_told_and_the_pull_goes_on_later(
    store: Store, disk: Path, registry: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Store, "free_bytes", lambda _: 1 << 40)
    before = files(store)
    with pytest.raises(StoreError, match=f"{FULL}.*; make room and pull again. What came is kept"):
        await pulled(store, registry)
    assert [model.name.short for model in store.list()] == ["a:latest"]
    # A layer that came whole may stay; what did not is no blob.
    for path, content in files(store).items():
        name = path.removeprefix("blobs/sha256-")
        assert path in before or ".part" in path or hashlib.sha256(content).hexdigest() == name
    remount(disk, "size=8m")
    await pulled(store, registry)
    assert len(store.list()) == 2
    assert len(drained(store.verify_steps()).problems) == 0


def test_an_export_to_a_full_disk_leaves_nothing(disk: Path, tmp_path: Path) -> None:
    store = Store(tmp_path / "models")
    big = write_tiny_gguf(tmp_path / "big.gguf", extra={"filler": "x" * (3 * MIB)})
    add_tiny(store, "big", big)
    with pytest.raises(StoreError, match=f"the export to .* failed: .*{FULL}"):
        drained(export_steps(store, "big", disk / "out", Wish(link=True)))
    assert list(disk.iterdir()) == []


# --- a disk that can only be read -----------------------------------------------------------------


async def test_a_store_that_can_only_be_read_serves_what_it_has(
    store: Store, disk: Path, tiny: Path, tmp_path: Path
) -> None:
    before = files(store)
    with only_readable(disk):
        reader = Store(store.root)
        assert reader.resolve("a").path.read_bytes() == before[f"blobs/{reader.resolve('a').path.name}"]
        assert drained(reader.verify_steps()).problems == ()
        drained(export_steps(reader, "a", tmp_path / "out"))
        assert (tmp_path / "out" / "Modelfile").exists()
        for change in (
            lambda: reader.copy("a", "b"),
            lambda: reader.delete("a"),
            lambda: reader.link_file("b", tiny),
            lambda: reader.prune(),
        ):
            with pytest.raises(StoreError, match=READ_ONLY):
                change()
        with pytest.raises(StoreError, match=READ_ONLY):
            await upload(reader, b"content")
        with pytest.raises(StoreError, match=READ_ONLY):
            await made(reader, "b", system="x")
    assert files(store) == before


async def test_a_server_starts_on_a_disk_that_can_only_be_read(store: Store, disk: Path) -> None:
    settings = Settings(host="127.0.0.1:0", models=store.root, api_keys=[])
    with only_readable(disk):
        app = create_app(settings, ScriptedLauncher("Hello!"))
        transport = httpx.ASGITransport(app)
        async with (
            app.router.lifespan_context(app),
            httpx.AsyncClient(transport=transport, base_url="http://127.0.0.1") as http,
        ):
            body = {"model": "a", "prompt": "hi", "stream": False}
            assert (await http.post("/api/generate", json=body)).json()["response"] == "Hello!"
            removed = await http.request("DELETE", "/api/delete", json={"model": "a"})
    assert removed.status_code == 500
    assert READ_ONLY in removed.json()["error"]


async def test_nothing_is_pulled_into_a_store_that_can_only_be_read(
    store: Store, disk: Path, registry: str
) -> None:
    before = files(store)
    with only_readable(disk), pytest.raises(StoreError, match=READ_ONLY):
        await pulled(Store(store.root), registry)
    assert files(store) == before


async def test_a_model_is_pushed_from_a_disk_that_can_only_be_read(
    store: Store, disk: Path, registry: str
) -> None:
    name = f"{registry.partition('/')[0]}/me/a"
    store.copy("a", name)
    with only_readable(disk):
        lines = [line async for line in push(Store(store.root), name, TransferOptions(key=None), INSECURE)]
    assert lines[-1].status == "success"


# --- another device -------------------------------------------------------------------------------


async def test_a_store_on_another_device_links_creates_and_exports_across(
    store: Store, tiny: Path, tmp_path: Path
) -> None:
    assert device(store.root) != device(tmp_path)
    assert store.link_file("linked", tiny).path == tiny
    await made(store, "made", system="x")
    written = drained(export_steps(store, "a", tmp_path / "out", Wish(link=True)))
    assert filecmp.cmp(tmp_path / "out" / written.files[0], tiny, shallow=False)


async def test_blobs_may_be_a_link_to_a_folder_on_another_disk(
    disk: Path, tmp_path: Path, tiny: Path
) -> None:
    root = tmp_path / "models"
    root.mkdir()
    (disk / "blobs").mkdir()
    (root / "blobs").symlink_to(disk / "blobs")
    store = Store(root)
    add_tiny(store, "a", tiny)
    assert await upload(store, b"content")
    await made(store, "b", system="x")
    store.delete("a")
    assert filecmp.cmp(store.resolve("b").path, tiny, shallow=False)
    assert device(store.resolve("b").path) == device(disk)


# --- two processes --------------------------------------------------------------------------------


@pytest.mark.skipif(sys.platform == "win32", reason="the driver forks")
def test_two_processes_that_create_the_same_name_leave_one_whole_model(tmp_path: Path, tiny: Path) -> None:
    root = tmp_path / "models"
    store = Store(root)
    add_tiny(store, "tiny", tiny)
    program = [sys.executable, str(Path(__file__).with_name("competing_creates.py")), str(root), "3"]
    done = subprocess.run(program, capture_output=True, text=True, timeout=SECONDS)
    assert done.returncode == 0, done.stderr
    model = store.resolve("same")
    assert model.system in ("one 2", "two 2")
    # All of one, nothing of the other.
    assert model.license == (f"of {model.system[:3]}",)
    assert model.path.read_bytes() == tiny.read_bytes()
    named = {layer.digest for layer, _ in (*store.files("same"), *store.files("tiny"))}
    assert {path.name.replace("-", ":") for path in (root / "blobs").glob("sha256-*")} == named
    assert drained(store.verify_steps()).problems == ()
