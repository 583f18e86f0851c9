from __future__ import annotations

import hashlib
import subprocess
import sys
from pathlib import Path

import pytest

from agentkit_server.models.store import Store


def check(root: Path, tiny: Path) -> set[str]:
    """Open a store after a crash; returns the models in it, every one of them whole."""
    store = Store(root)
    models = store.list()
    for model in models:
        assert model.path.read_bytes() == tiny.read_bytes()
    for blob in (root / "blobs").glob("sha256-*"):
        assert hashlib.sha256(blob.read_bytes()).hexdigest() == blob.name[7:], f"{blob} is half a blob"
    scratch = root / "blobs" / ".partial"
    assert not scratch.exists() or not list(scratch.iterdir())
    assert not list((root / "manifests").glob(".new-*"))
    return {model.name.short for model in models}


@pytest.mark.skipif(sys.platform == "win32", reason="the driver forks")
def test_a_crash_at_any_file_operation_leaves_a_store_that_opens(tmp_path: Path, tiny: Path) -> None:
    folder = tmp_path / "stores"
    folder.mkdir()
    driver = Path(__file__).with_name("crash_points.py")
    done = subprocess.run(
        [sys.executable, str(driver), str(tiny), str(folder)], capture_output=True, text=True, timeout=300
    )
    assert done.returncode == 0, done.stderr
    points = int(done.stdout)
    assert points > 50
    states = [check(folder / str(number), tiny) for number in range(1, points + 2)]
    # What a finished operation has done, a later crash does not undo.
    history: list[set[str]] = [set()]
    for state in states:
        if state != history[-1]:
            history.append(state)
    linked, a, copy = "linked:latest", "a:latest", "b/c:d"
    assert history == [set(), {linked}, {linked, a}, {linked, a, copy}, {linked, copy}]


def test_a_store_that_crashed_works_on_as_if_nothing_had_been(tmp_path: Path, tiny: Path) -> None:
    root = tmp_path / "store"
    Store(root)
    leftover = root / "blobs" / ".partial" / "tmp1"
    leftover.mkdir(parents=True)
    (leftover / "lock").touch()
    (leftover / "content").write_bytes(b"half a blob")
    (root / "manifests" / ".new-1").write_bytes(b'{"schemaV')
    half = root / "manifests/registry.ollama.ai/library/half/latest"
    half.parent.mkdir(parents=True)
    half.write_bytes(b'{"schemaVersion":2,"con')
    assert check(root, tiny) == set()
    Store(root).link_file("half", tiny)
    assert check(root, tiny) == {"half:latest"}
