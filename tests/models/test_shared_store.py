"""A store that Ollama uses too: what it wrote is read as it is, and what we write it can read."""

from __future__ import annotations

import hashlib
import json
import os
import time
from collections.abc import AsyncIterator
from contextlib import aclosing
from pathlib import Path
from typing import Any

import pytest
from support import ollama_rules
from support.docker_registry import docker_registry
from support.stores import OllamaFolder, add_tiny
from support.tiny_gguf import write_tiny_gguf

from agentkit_server.create.create import create
from agentkit_server.create.request import CreateRequest, checked
from agentkit_server.models.pull import Pulls, default_sources
from agentkit_server.models.push import push
from agentkit_server.models.registry.options import Access, TransferOptions
from agentkit_server.models.store import Store

OPTIONS = TransferOptions(key=None)
INSECURE = Access(insecure=True)
LAYERS = {
    "template": b"{{ .System }} {{ .Prompt }}",
    "system": b"Be brief.",
    "params": b'{"stop": ["<|im_end|>"], "temperature": 0.5}',
    "messages": b'[{"role": "user", "content": "hi"}]',
    "license": b"MIT",
}
ONE, TWO = ("sha256-" + digit * 64 for digit in "12")


@pytest.fixture
def ollama(tmp_path: Path) -> OllamaFolder:
    """Models of several hosts, some of a kind that does not run here, and downloads under way."""
    folder = OllamaFolder(tmp_path / "ollama")
    gguf = write_tiny_gguf(tmp_path / "ollamas.gguf", name="ollamas").read_bytes()
    folder.model("registry.ollama.ai/library/llava/7b", {"model": gguf, **LAYERS})
    folder.model("registry.ollama.ai/me/mine/latest", {"model": gguf, "license": b"MIT"})
    folder.model("hf.co/someone/Some-GGUF/Q4_K_M", {"model": gguf})
    folder.model("localhost:5000/team/model/v1.2", {"model": gguf, "projector": b"GGUF projector"})
    tensors = folder.model("registry.ollama.ai/library/tensors/latest", {"tensor": b"weights", "json": b"{}"})
    rewrite(tensors, lambda manifest: manifest["layers"][0].update(name="model.embed_tokens.weight"))
    cloud = folder.model("registry.ollama.ai/library/big/cloud", {})
    rewrite(cloud, lambda manifest: manifest.update(layers=None))
    for name in (f"{ONE}-partial", f"{ONE}-partial-0", f"{ONE}-partial-1", "sha256-3141592653"):
        (folder.root / "blobs" / name).write_bytes(b'{"N":0,"Offset":0,"Size":10,"Completed":3}')
    (folder.root / "manifests/registry.ollama.ai/library/llava/.DS_Store").write_bytes(b"")
    return folder


def rewrite(file: Path, change: Any) -> None:
    manifest = json.loads(file.read_bytes())
    change(manifest)
    file.write_text(json.dumps(manifest))


def snapshot(root: Path) -> dict[str, tuple[bytes, int]]:
    """Content and time of every file that Ollama reads."""
    every = [path for part in ("blobs", "manifests") for path in (root / part).rglob("*") if path.is_file()]
    return {str(path.relative_to(root)): (path.read_bytes(), path.stat().st_mtime_ns) for path in every}


def test_what_ollama_wrote_is_read_and_left_as_it_is(ollama: OllamaFolder) -> None:
    before = snapshot(ollama.root)
    store = Store(ollama.root)
    assert {model.name.short for model in store.list()} == {
        "llava:7b",
        "me/mine:latest",
        "hf.co/someone/Some-GGUF:Q4_K_M",
        "localhost:5000/team/model:v1.2",
    }
    model = store.resolve("LLaVA:7b")
    assert (model.system, model.license) == ("Be brief.", ("MIT",))
    assert model.messages == ({"role": "user", "content": "hi"},)
    assert model.parameters == {"stop": ["<|im_end|>"], "temperature": 0.5}
    steps = store.verify_steps()
    with pytest.raises(StopIteration) as end:
        while True:
            next(steps)
    assert end.value.value.problems == ()
    # A download that is fresh may be Ollama's, and running.
    assert store.prune() == 0
    assert snapshot(ollama.root) == before


def make_old(root: Path) -> None:
    for path in (root / "blobs").iterdir():
        os.utime(path, (time.time() - 7200,) * 2)


def test_pruning_takes_old_rubbish_of_ollamas_and_nothing_that_it_uses(ollama: OllamaFolder) -> None:
    (ollama.root / "blobs" / TWO).write_bytes(b"of a model that is no more")
    make_old(ollama.root)
    used = {name for name in snapshot(ollama.root) if "partial" not in name}
    assert Store(ollama.root).prune() == 5
    assert snapshot(ollama.root).keys() == used - {f"blobs/{TWO}", "blobs/sha256-3141592653"}
    assert ollama_rules.odd_blobs(ollama.root) == []


@pytest.fixture
async def address(tmp_path: Path, tiny: Path) -> AsyncIterator[str]:
    """A registry with `me/there`."""
    with docker_registry(tmp_path / "registry") as address:
        other = Store(tmp_path / "other")
        add_tiny(other, f"{address}/me/there", tiny)
        async for _ in push(other, f"{address}/me/there", OPTIONS, INSECURE):
            pass
        yield address


async def everything(store: Store, address: str, tiny: Path) -> None:
    """All that changes a store, one after the other."""
    pulls = Pulls(store, default_sources(OPTIONS))
    async for _ in pulls.pull(f"{address}/me/there", INSECURE):
        pass
    request = CreateRequest(
        model="me/new:v1",
        base="llava:7b",
        system="Be long.",
        template="{{ .Prompt }}",
        license=["MIT", "Apache-2.0"],
        parameters={"temperature": 0.1, "stop": "x", "num_ctx": 2048},
        messages=[{"role": "user", "content": "hi"}, {"role": "assistant", "content": "ho"}],
        requires="0.14.0",
        info={"context_length": 2048, "base_name": "x"},
        capabilities=["tools"],
    )
    async with aclosing(create(store, pulls, checked(request, store))) as lines:
        async for _ in lines:
            pass
    store.copy("me/new:v1", "localhost:5000/team/copy")
    store.link_file("linked", tiny)
    store.delete("me/mine")
    store.delete("hf.co/someone/Some-GGUF:Q4_K_M")


@pytest.mark.anyio
async def test_all_that_we_write_ollama_can_read(ollama: OllamaFolder, address: str, tiny: Path) -> None:
    assert ollama_rules.complaints(ollama.root) == []
    untouched = snapshot(ollama.root)
    umask = os.umask(0o077)
    try:
        await everything(Store(ollama.root), address, tiny)
    finally:
        os.umask(umask)
    assert ollama_rules.complaints(ollama.root) == []
    assert {name.rpartition("/")[0] for name in ollama_rules.manifests(ollama.root)} == {
        "registry.ollama.ai/library/llava",
        "registry.ollama.ai/library/tensors",
        "registry.ollama.ai/library/big",
        "registry.ollama.ai/library/linked",
        "registry.ollama.ai/me/new",
        "localhost:5000/team/model",
        "localhost:5000/team/copy",
        f"{address}/me/there",
    }
    removed = ("manifests/registry.ollama.ai/me/mine/", "manifests/hf.co/")
    for name, content in untouched.items():
        if not name.startswith(removed):
            assert snapshot(ollama.root)[name] == content


@pytest.mark.anyio
async def test_each_program_works_on_after_the_others_start(
    ollama: OllamaFolder, address: str, tiny: Path
) -> None:
    store = Store(ollama.root)
    await everything(store, address, tiny)
    names = {model.name.short for model in store.list()}
    make_old(ollama.root)
    ollama_rules.prune(ollama.root)
    assert {model.name.short for model in store.list()} == names
    # Its folder for unfinished work is gone, and made anew.
    assert ollama_rules.odd_blobs(ollama.root) == []
    pulls = Pulls(store, default_sources(OPTIONS))
    store.delete(f"{address}/me/there")
    async for _ in pulls.pull(f"{address}/me/there", INSECURE):
        pass
    assert {model.name.short for model in store.list()} == names
    assert store.prune() == 0


def test_what_is_ours_beside_the_blobs_is_nothing_to_ollama(ollama: OllamaFolder, tiny: Path) -> None:
    store = Store(ollama.root)
    with (
        store.pulling(store.resolve("llava:7b").name),
        store.keeping([ONE]),
        store.blob_writer() as writer,
    ):
        writer.write(b"half a blob")
        seen = {path.name for path in ollama.root.iterdir()}
        assert seen == {"blobs", "manifests", "agentkit.lock", "locks"}
        # What is at work is in one folder, which cannot be removed while it is not empty.
        assert [name for name in ollama_rules.odd_blobs(ollama.root) if "sha256-" not in name] == [".partial"]
        ollama_rules.prune(ollama.root)
        writer.write(b", and the rest")
        digest = writer.commit()
    assert digest.hex == hashlib.sha256(b"half a blob, and the rest").hexdigest()
    assert store.has_blob(str(digest))
