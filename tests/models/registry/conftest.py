"""A model of 1.5 MB, and options under which nothing waits for a clock."""

from __future__ import annotations

import pytest
from support.fault_registry import Memory
from support.registries import SYSTEM, Waits, publish, weights

from agentkit_server.models.registry.options import Patience, TransferOptions

SIZE = 1_500_000


@pytest.fixture
def waits() -> Waits:
    return Waits()


@pytest.fixture
def options(waits: Waits) -> TransferOptions:
    patience = Patience(tries=3, sleep=waits.sleep)
    return TransferOptions(part_bytes=200_000, patience=patience, key=None)


@pytest.fixture(scope="session")
def model(tmp_path_factory: pytest.TempPathFactory) -> bytes:
    return weights(tmp_path_factory.mktemp("gguf"), SIZE)


@pytest.fixture
def memory(model: bytes) -> Memory:
    """A small registry with `library/tiny:latest`."""
    upstream = Memory()
    publish(upstream, {"model": model, "system": SYSTEM})
    return upstream
