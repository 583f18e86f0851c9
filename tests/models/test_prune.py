from __future__ import annotations

import hashlib
import os
import subprocess
import sys
import time
from pathlib import Path

import anyio
import pytest
from anyio import from_thread
from support.fault_registry import Memory, fault_registry
from support.registries import REPOSITORY, SYSTEM, publish, pull, weights
from support.stores import add_tiny
from support.tiny_gguf import write_tiny_gguf

from agentkit_server.app import create_app
from agentkit_server.errors import InvalidDigest
from agentkit_server.models.digest import Digest
from agentkit_server.models.registry.options import TransferOptions
from agentkit_server.models.store import Store
from agentkit_server.runner.scripted import ScriptedLauncher
from agentkit_server.settings import Settings

ONE, TWO = ("sha256-" + digit * 64 for digit in "12")


def put(store: Store, *names: str, hours: float = 2) -> None:
    """Files in the blobs folder that were last written so long ago."""
    written = time.time() - hours * 3600
    for name in names:
        path = store.root / "blobs" / name
        path.write_bytes(b"x")
        os.utime(path, (written, written))


def found(store: Store) -> set[str]:
    return {path.name for path in (store.root / "blobs").glob("sha256-*")}


def test_the_parts_of_a_download_go_together_and_only_when_the_newest_is_old(store: Store) -> None:
    put(store, f"{ONE}-partial", f"{ONE}-partial-0", f"{ONE}-partial-1", "sha256-123456")
    put(store, f"{TWO}-partial", f"{TWO}-partial-0")
    put(store, f"{TWO}-partial-1", hours=0.5)
    assert store.prune() == 4
    assert found(store) == {f"{TWO}-partial", f"{TWO}-partial-0", f"{TWO}-partial-1"}


def test_no_whole_blob_goes_while_anybody_downloads_for_the_manifest_comes_last(store: Store) -> None:
    put(store, ONE)
    put(store, f"{TWO}-partial", hours=0)
    assert store.prune() == 0
    put(store, f"{TWO}-partial")
    assert store.prune() == 2


def test_what_somebody_keeps_is_neither_pruned_nor_dropped(store: Store, tiny: Path) -> None:
    digest = add_tiny(store, "a", tiny)
    other = Store(store.root)
    put(store, ONE, f"{ONE}-partial-3", TWO, f"{TWO}-partial-3")
    with store.keeping([digest, ONE.replace("-", ":")]):
        other.delete("a")
        assert other.has_blob(digest)
        assert other.prune() == 2
        assert found(store) >= {ONE, f"{ONE}-partial-3", digest.replace(":", "-")}
    for path in (store.root / "blobs").glob("sha256-*"):
        os.utime(path, (0, 0))
    other.prune()
    assert found(store) == set()


def test_a_digest_that_is_none_cannot_be_kept(store: Store) -> None:
    with pytest.raises(InvalidDigest), store.keeping(["sha256:../../x"]):
        pass


KEEPER = """
import sys
from pathlib import Path
from agentkit_server.models.digest import Digest
from agentkit_server.models.registry.options import TransferOptions
from agentkit_server.models.store import Store

with Store(Path(sys.argv[1])).keeping([sys.argv[2]]):
    print("kept", flush=True)
    sys.stdin.read()
"""


def test_another_process_keeps_blobs_until_it_ends_however_it_does(store: Store, tiny: Path) -> None:
    digest = add_tiny(store, "a", tiny)
    command = [sys.executable, "-c", KEEPER, str(store.root), digest]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "kept\n"
        store.copy("a", "b")
        store.delete("a")
        store.delete("b")
        assert store.has_blob(digest)
        process.kill()
        process.wait(timeout=30)
    add_tiny(store, "a", tiny)
    store.delete("a")
    assert not store.has_blob(digest)


def test_without_tidying_a_replaced_model_leaves_its_blobs_and_a_removed_one_does_not(
    tmp_path: Path,
) -> None:
    store = Store(tmp_path / "store", tidy=False)
    digests = [
        add_tiny(store, "a", write_tiny_gguf(tmp_path / f"{name}.gguf", name=name)) for name in ("one", "two")
    ]
    assert all(store.has_blob(digest) for digest in digests)
    store.delete("a")
    assert [store.has_blob(digest) for digest in digests] == [True, False]


@pytest.mark.parametrize(("noprune", "left"), [(False, set[str]()), (True, {ONE})])
def test_a_server_prunes_when_it_starts_unless_that_is_switched_off(
    store: Store, noprune: bool, left: set[str]
) -> None:
    put(store, ONE)
    settings = Settings(host="127.0.0.1:0", models=store.root, api_keys=[], noprune=noprune)
    app = create_app(settings, ScriptedLauncher())
    with (
        from_thread.start_blocking_portal() as portal,
        portal.wrap_async_context_manager(app.router.lifespan_context(app)),
    ):
        assert found(store) == left


def test_no_prune_is_read_from_ollamas_variable_too(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OLLAMA_NOPRUNE", "1")
    assert Settings().noprune  # pyright: ignore[reportCallIssue] - from the environment


def test_removing_a_model_frees_its_space_while_another_one_is_being_pulled(store: Store, tiny: Path) -> None:
    digest = add_tiny(store, "a", tiny)
    put(store, f"{ONE}-partial", hours=0)
    with store.keeping(["sha256:" + hashlib.sha256(b"something else").hexdigest()]):
        store.delete("a")
    assert not store.has_blob(digest)


@pytest.mark.anyio
async def test_what_a_running_pull_has_and_needs_outlives_every_cleaning(
    store: Store, tmp_path: Path
) -> None:
    memory = Memory()
    model = weights(tmp_path, 300_000)
    publish(memory, {"system": SYSTEM, "model": model})
    options = TransferOptions(key=None)
    async with fault_registry(memory) as registry:
        name = f"{registry.host}/{REPOSITORY}"
        # Another model has a layer that the pull will find here, and not fetch.
        await pull(store, f"http://{name}", options)
        store.copy(name, "other")
        store.delete(name)
        (store.root / "blobs" / Digest.of(model).file_name).unlink()
        registry.hold(100_000)
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(pull, store, f"http://{name}", options)
            with anyio.fail_after(30):
                await registry.held.wait()
            another = Store(store.root)
            another.delete("other")
            for path in (store.root / "blobs").glob("sha256-*"):
                os.utime(path, (0, 0))
            assert another.prune() == 0
            registry.release()
    assert store.resolve(name).system == SYSTEM.decode()
