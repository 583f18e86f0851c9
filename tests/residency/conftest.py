"""Residences on a scripted launcher."""

from __future__ import annotations

import os
from collections.abc import AsyncIterator, Callable
from typing import Any

import pytest
from support.residency import House


@pytest.fixture(autouse=True)
def no_settings_from_outside(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in list(os.environ):
        if name.startswith(("AGENTKIT_", "OLLAMA_")):
            monkeypatch.delenv(name)


@pytest.fixture
async def build() -> AsyncIterator[Callable[..., House]]:
    """Builds houses and closes them at the end of the test."""
    houses: list[House] = []

    def make(**settings: Any) -> House:
        houses.append(House.build(**settings))
        return houses[-1]

    yield make
    for house in houses:
        await house.close()


@pytest.fixture
def house(build: Callable[..., House]) -> House:
    """With default settings and plenty of memory."""
    return build()
