"""Stores for tests: models of tiny GGUF files, and a folder as Ollama itself writes it."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Generator
from pathlib import Path
from typing import Any, TypeVar

from agentkit_server.models.manifest import Layer, layer_type
from agentkit_server.models.names import ModelName
from agentkit_server.models.store import Store

T = TypeVar("T")
R = TypeVar("R")


def drained(steps: Generator[T, None, R]) -> tuple[list[T], R]:
    """All that `steps` yields, and what it returns."""
    seen: list[T] = []
    while True:
        try:
            seen.append(next(steps))
        except StopIteration as end:
            return seen, end.value


def add_tiny(store: Store, name: str, path: Path) -> str:
    """Store a GGUF as a blob under a name; returns its digest."""
    content = path.read_bytes()
    with store.blob_writer() as writer:
        writer.write(content)
        digest = writer.commit()
    layer = Layer(media_type=layer_type("model"), digest=str(digest), size=len(content))
    gguf = store.link_file("scratch-link", path).gguf
    store.delete("scratch-link")
    store.add_model(ModelName.parse(name), gguf, (layer,))
    return str(digest)


class OllamaFolder:
    """A store as Ollama writes it, by hand."""

    def __init__(self, root: Path) -> None:
        self.root = root
        (root / "blobs").mkdir(parents=True)

    def blob(self, content: bytes) -> dict[str, Any]:
        digest = hashlib.sha256(content).hexdigest()
        (self.root / "blobs" / f"sha256-{digest}").write_bytes(content)
        return {"digest": f"sha256:{digest}", "size": len(content)}

    def model(self, path: str, layers: dict[str, bytes]) -> Path:
        config = {"model_format": "gguf", "model_family": "llama", "model_families": ["llama", "clip"]}
        config |= {
            "rootfs": {"type": "layers", "diff_ids": None},
            "renderer": "x",
            "capabilities": ["vision"],
        }
        manifest = {
            "schemaVersion": 2,
            "mediaType": "application/vnd.docker.distribution.manifest.v2+json",
            "config": {"mediaType": "application/vnd.docker.container.image.v1+json"}
            | self.blob(json.dumps(config).encode()),
            "layers": [
                {"mediaType": f"application/vnd.ollama.image.{kind}"} | self.blob(content)
                for kind, content in layers.items()
            ],
        }
        file = self.root / "manifests" / path
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(json.dumps(manifest))
        return file
