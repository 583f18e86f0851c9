from __future__ import annotations

import json
import os
from collections.abc import AsyncIterator
from pathlib import Path

import anyio
import pytest
from support.stores import OllamaFolder, add_tiny, drained

from agentkit_server.errors import ModelNotFound
from agentkit_server.models.store import Store
from agentkit_server.models.verify import CHUNK, Report


def verified(store: Store, *names: str) -> Report:
    return drained(store.verify_steps(names))[1]


def damage(path: Path, content: bytes | None = None) -> None:
    """Change the file's bytes, and nothing else of it."""
    before = path.stat()
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.write_bytes(bytes(data) if content is None else content)
    os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))


def manifest_path(store: Store, name: str) -> Path:
    return store.root / "manifests/registry.ollama.ai/library" / name / "latest"


def test_a_whole_store_has_no_problems_and_all_of_it_is_read(store: Store, tiny: Path) -> None:
    add_tiny(store, "a", tiny)
    store.copy("a", "b")
    store.link_file("mine", tiny)
    report = verified(store)
    files = [*(store.root / "blobs").glob("sha256-*"), tiny]
    size = sum(path.stat().st_size for path in files)
    assert report == Report(models=3, files=len(files), size=size, problems=())


def test_progress_is_in_bytes_and_never_goes_back(store: Store) -> None:
    with store.blob_writer() as writer:
        writer.write(b"x" * (CHUNK * 2 + 5))
        writer.commit()
    seen, report = drained(store.verify_steps())
    assert seen == [(CHUNK, report.size), (CHUNK * 2, report.size), (report.size, report.size)]


def test_damaged_bytes_name_every_model_that_has_them(store: Store, tiny: Path) -> None:
    add_tiny(store, "a", tiny)
    store.copy("a", "b")
    path = store.resolve("a").path
    damage(path)
    (problem,) = verified(store).problems
    assert problem.path == str(path)
    assert problem.models == ("a:latest", "b:latest")
    assert "the content has the digest 'sha256:" in problem.problem
    assert problem.remedy == "pull 'a:latest' or 'b:latest' again, or create it anew"
    assert path.exists()
    assert verified(store, "B").problems[0].models == ("b:latest",)


def test_a_blob_found_damaged_is_taken_anew_from_whoever_brings_it(store: Store, tiny: Path) -> None:
    add_tiny(store, "a", tiny)
    content = tiny.read_bytes()
    digest = store.resolve("a").path.name

    async def upload() -> AsyncIterator[bytes]:
        yield content

    damage(store.resolve("a").path)
    assert store.has_blob(digest)
    assert store.has("a")
    assert verified(store).problems
    assert not Store(store.root).has_blob(digest)
    assert not store.has("a")
    assert store.resolve("a")
    assert anyio.run(lambda: store.add_blob(digest, upload()))
    assert store.has_blob(digest)
    assert store.has("a")
    assert verified(store).problems == ()


def test_a_blob_that_is_right_again_is_no_longer_marked(store: Store, tiny: Path) -> None:
    add_tiny(store, "a", tiny)
    path = store.resolve("a").path
    damage(path)
    verified(store)
    damage(path)
    assert verified(store).problems == ()
    assert store.has_blob(path.name)
    assert list((store.root / "agentkit" / "damaged").iterdir()) == []


@pytest.mark.parametrize("content", [b"", b"short", b"x" * 9999])
def test_a_blob_of_another_length_is_damaged(store: Store, tiny: Path, content: bytes) -> None:
    add_tiny(store, "a", tiny)
    path = store.resolve("a").path
    damage(path, content)
    assert len(verified(store).problems) == 1
    assert not store.has_blob(path.name)


def test_a_manifest_that_states_another_size_is_told(store: Store, tiny: Path) -> None:
    add_tiny(store, "a", tiny)
    manifest = json.loads(manifest_path(store, "a").read_bytes())
    manifest["layers"][0]["size"] += 1
    manifest_path(store, "a").write_text(json.dumps(manifest))
    (problem,) = verified(store).problems
    assert problem.problem == "a manifest says 2113 bytes, and the file has 2112"
    # It is the manifest that is wrong.
    assert store.has_blob(manifest["layers"][0]["digest"])


def test_a_missing_blob_and_an_unreadable_manifest_are_told(store: Store, tiny: Path) -> None:
    add_tiny(store, "a", tiny)
    add_tiny(store, "b", tiny)
    store.resolve("a").path.unlink()
    manifest_path(store, "b").write_bytes(b"{")
    manifest, blob = verified(store).problems
    assert manifest.models == ("b:latest",)
    assert "the manifest is not readable" in manifest.problem
    assert manifest.remedy == "pull 'b:latest' again, or remove it with `agentkit rm b:latest`"
    assert (blob.models, blob.problem) == (("a:latest",), "the file is missing")


def test_a_linked_file_that_changed_went_or_is_damaged_is_told(store: Store, tiny: Path) -> None:
    store.link_file("mine", tiny)
    damage(tiny)
    (problem,) = verified(store).problems
    assert "the content has the digest" in problem.problem
    assert problem.remedy == "put the file back as it was, or link 'mine:latest' again"
    os.utime(tiny, (1, 1))
    assert verified(store).problems[0].problem == "the file has changed since it was linked"
    tiny.unlink()
    assert verified(store).problems[0].problem == "the file is missing"


def test_a_blob_that_nothing_uses_is_checked_too(store: Store) -> None:
    with store.blob_writer() as writer:
        writer.write(b"content")
        digest = writer.commit()
    damage(store.root / "blobs" / digest.file_name)
    (store.root / "blobs" / "sha256-no-digest").write_bytes(b"x")
    (problem,) = verified(store).problems
    assert (problem.models, problem.remedy) == ((), "no model uses it; it goes when a server starts")


def test_a_model_that_is_removed_meanwhile_is_no_problem(store: Store, tiny: Path) -> None:
    add_tiny(store, "a", tiny)
    with store.blob_writer() as writer:
        writer.write(b"x" * CHUNK * 2)
        writer.commit()
    steps = store.verify_steps()
    next(steps)
    store.delete("a")
    assert drained(steps)[1].problems == ()


def test_a_remote_model_of_ollama_has_nothing_to_check(tmp_path: Path) -> None:
    folder = OllamaFolder(tmp_path / "ollama")
    file = folder.model("registry.ollama.ai/library/cloudy/latest", {})
    manifest = json.loads(file.read_bytes())
    manifest["config"]["digest"] = ""
    file.write_text(json.dumps(manifest | {"layers": None}))
    assert verified(Store(folder.root), "cloudy").problems == ()


def test_a_model_that_is_not_there_cannot_be_checked(store: Store) -> None:
    with pytest.raises(ModelNotFound, match=r"^model 'nope' not found$"):
        verified(store, "nope")
