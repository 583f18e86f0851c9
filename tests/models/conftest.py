"""Fixtures of the model tests."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from support.tiny_gguf import write_tiny_gguf

from agentkit_server.models.store import Store


@pytest.fixture(autouse=True)
def loopback_without_a_proxy(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("NO_PROXY", "no_proxy"):
        monkeypatch.setenv(name, ",".join(["127.0.0.1", *filter(None, [os.environ.get(name)])]))


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store(tmp_path / "store")


@pytest.fixture
def tiny(tmp_path: Path) -> Path:
    return write_tiny_gguf(tmp_path / "tiny.gguf")
