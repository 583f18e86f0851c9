"""A backend on a scripted engine."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from support.tiny_gguf import write_tiny_gguf

from agentkit_server.models.store import Store
from agentkit_server.residency.residency import Residence
from agentkit_server.runner.scripted import ScriptedLauncher
from agentkit_server.settings import Settings
from agentkit_server.turn.run import Backend


@pytest.fixture
def launcher() -> ScriptedLauncher:
    return ScriptedLauncher("Hello!")


@pytest.fixture
async def backend(tmp_path: Path, launcher: ScriptedLauncher) -> AsyncIterator[Backend]:
    """Holds `tiny` (ChatML) and `embedder`."""
    settings = Settings(models=tmp_path / "models")
    store = Store(tmp_path / "models")
    store.link_file("tiny", write_tiny_gguf(tmp_path / "tiny.gguf"))
    store.link_file("embedder", write_tiny_gguf(tmp_path / "embedder.gguf", pooling="mean"))
    residency = Residence(launcher, settings)
    yield Backend(store, residency, settings)
    await residency.close()
