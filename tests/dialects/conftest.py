"""A server on a scripted engine: in process for most tests, on a loopback port where streams and
disconnects have to be real."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import httpx
import pytest
from fastapi import FastAPI
from support.listening import listening
from support.tiny_gguf import CHATML, write_tiny_gguf

from agentkit_server.app import create_app
from agentkit_server.models.store import Store
from agentkit_server.runner.scripted import ScriptedLauncher, ScriptedModel
from agentkit_server.settings import Settings

EMBEDDER = ScriptedModel(pooling="mean")


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    return Settings(host="127.0.0.1:0", models=tmp_path / "models", api_keys=[])


@pytest.fixture
def store(settings: Settings, tmp_path: Path) -> Store:
    """Holds `tiny` (chat), `base` (no template) and `embedder`."""
    assert settings.models is not None
    store = Store(settings.models)
    for name, template, pooling in (
        ("tiny", CHATML, None),
        ("base", None, None),
        ("embedder", None, "mean"),
    ):
        path = write_tiny_gguf(tmp_path / f"{name}.gguf", chat_template=template, pooling=pooling)
        store.link_file(name, path)
    return store


@pytest.fixture
def launcher() -> ScriptedLauncher:
    """Every model answers `Hello, world!` until a test says otherwise."""
    return ScriptedLauncher("Hello, world!")


@pytest.fixture
def app(settings: Settings, launcher: ScriptedLauncher, store: Store) -> FastAPI:
    return create_app(settings, launcher, store)


@pytest.fixture
async def http(app: FastAPI) -> AsyncIterator[httpx.AsyncClient]:
    """A client of the app in this process. A stream arrives whole."""
    transport = httpx.ASGITransport(app, raise_app_exceptions=False)
    async with (
        app.router.lifespan_context(app),
        httpx.AsyncClient(transport=transport, base_url="http://127.0.0.1") as client,
    ):
        yield client


@pytest.fixture
async def live_server(app: FastAPI) -> AsyncIterator[str]:
    """The URL of the app on a real port, served on the test's own event loop."""
    async with listening(app) as url:
        yield url
