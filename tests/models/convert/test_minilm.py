"""A real model: all-MiniLM-L6-v2 becomes `all-minilm`, whose vectors are those of sentence-transformers."""

from __future__ import annotations

import base64
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pytest
from support import minilm
from support.conversion import finished
from support.smollm2 import serving

from agentkit_server.models.convert.convert import convert
from agentkit_server.models.gguf import read_gguf
from agentkit_server.models.manifest import Layer, layer_type
from agentkit_server.models.names import ModelName
from agentkit_server.models.store import Store

# How they were made: make_minilm_reference.py.
REFERENCE = json.loads((Path(__file__).parent / "data" / "minilm.json").read_text())


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A store with `all-minilm`."""
    try:
        files = minilm.files()
    except minilm.NotAvailable as why:
        pytest.skip(f"all-MiniLM-L6-v2 cannot be had: {why}")
    folder = tmp_path_factory.mktemp("models")
    store = Store(folder)
    with store.blob_writer() as writer:
        done, _ = finished(convert(files, writer))
        writer.flush()
        gguf = read_gguf(writer.path)
        digest = writer.commit()
    assert done.size == gguf.file_size
    layer = Layer(media_type=layer_type("model"), digest=str(digest), size=done.size)
    store.add_model(ModelName.parse("all-minilm"), gguf, (layer,))
    return folder


@pytest.fixture(scope="module")
def server(models: Path) -> Iterator[str]:
    with serving(models) as url:
        yield url


def test_the_model_says_what_it_is(models: Path) -> None:
    gguf = Store(models).resolve("all-minilm").gguf
    assert (gguf.architecture, gguf.pooling, gguf.context_length, gguf.embedding_length) == (
        "bert",
        "mean",
        512,
        384,
    )
    assert (gguf.quantization, gguf.parameter_count) == ("F16", 22_565_376)


def test_vectors_are_those_of_sentence_transformers(server: str) -> None:
    body = {"model": "all-minilm", "input": REFERENCE["texts"]}
    answer: Any = httpx.post(f"{server}/api/embed", json=body, timeout=120).raise_for_status().json()
    found = np.array(answer["embeddings"])
    packed = b"".join(map(base64.b64decode, REFERENCE["float16"]))
    expected = np.frombuffer(packed, "<f2").reshape(found.shape).astype(float)
    cosines = np.sum(found * expected, axis=1) / np.linalg.norm(expected, axis=1)
    assert cosines.min() > 0.999, dict(zip(REFERENCE["texts"], cosines, strict=True))


def test_texts_that_mean_the_same_are_nearest(server: str) -> None:
    body = {"model": "all-minilm", "input": ["A dog runs.", "The hound is running.", "Tax law of 1923"]}
    answer: Any = httpx.post(f"{server}/api/embed", json=body, timeout=120).raise_for_status().json()
    dog, hound, tax = np.array(answer["embeddings"])
    assert dog @ hound > 0.6 > 0.3 > dog @ tax
