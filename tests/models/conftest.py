"""Fixtures of the model tests."""

from __future__ import annotations

from pathlib import Path

import pytest
from support.tiny_gguf import write_tiny_gguf

from agentkit_server.models.store import Store


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store(tmp_path / "store")


@pytest.fixture
def tiny(tmp_path: Path) -> Path:
    return write_tiny_gguf(tmp_path / "tiny.gguf")
