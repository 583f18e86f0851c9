"""A model's whole way: made, pushed to Debian's docker-registry, removed, pulled back and run, by the
published client and a server that is a process of its own."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import ollama
import pytest
from support.docker_registry import docker_registry
from support.smollm2 import models_folder, serving

SYSTEM = "You answer with one word."
PARAMETERS = {"temperature": 0, "num_ctx": 1024}
QUESTION = [{"role": "user", "content": "What is the capital of France?"}]


@pytest.fixture
def registry(tmp_path: Path) -> Iterator[str]:
    with docker_registry(tmp_path / "registry") as address:
        yield address


@pytest.fixture
def models(tmp_path: Path) -> Path:
    """A store of the test's own with smollm2 in it."""
    folder = tmp_path / "models"
    for name in ("blobs", "manifests"):
        shutil.copytree(models_folder() / name, folder / name)
    return folder


@pytest.fixture
def client(models: Path) -> Iterator[ollama.Client]:
    with serving(models) as url, ollama.Client(url, timeout=120) as client:
        yield client


def manifest(models: Path, name: str) -> Any:
    host, namespace, model = name.split("/")
    return json.loads((models / "manifests" / host / namespace / model / "latest").read_bytes())


def digests(models: Path, name: str) -> list[tuple[str, str, int]]:
    found = manifest(models, name)
    layers = [found["config"], *found["layers"]]
    return [(layer["mediaType"], layer["digest"], layer["size"]) for layer in layers]


def answer(client: ollama.Client, name: str) -> str:
    return client.chat(name, QUESTION, options={"num_predict": 8}).message.content or ""


def statuses(lines: Iterator[ollama.ProgressResponse]) -> list[str]:
    return list(dict.fromkeys(line.status or "" for line in lines))


def test_a_model_is_pushed_removed_pulled_back_and_the_same(
    client: ollama.Client, models: Path, registry: str
) -> None:
    name = f"{registry}/me/terse"
    client.create(name, from_="smollm2", system=SYSTEM, parameters=PARAMETERS)
    before, said = digests(models, name), answer(client, name)
    kinds = [media.rpartition(".")[2] for media, _, _ in before]
    assert {"model", "system", "params"} <= set(kinds)

    told = statuses(client.push(name, insecure=True, stream=True))
    assert told[0] == "retrieving manifest"
    assert told[-2:] == ["pushing manifest", "success"]
    assert {f"pushing {digest[7:19]}" for _, digest, _ in before} == set(told[1:-2])

    client.delete(name)
    client.delete("smollm2")
    assert list((models / "blobs").glob("sha256-*")) == []
    assert client.list().models == []

    assert statuses(client.pull(name, insecure=True, stream=True))[-1] == "success"
    assert digests(models, name) == before
    assert all("agentkit.path" not in layer for layer in manifest(models, name)["layers"])
    assert answer(client, name) == said
    shown = client.show(name)
    assert (shown.modelfile or "").count("PARAMETER ") == 2
    assert SYSTEM in (shown.modelfile or "")
