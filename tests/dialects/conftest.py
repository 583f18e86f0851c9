"""A server on a scripted engine: in process for most tests, on a loopback port where streams and
disconnects have to be real."""

from __future__ import annotations

import shutil
from collections.abc import AsyncGenerator, AsyncIterator
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import httpx
import pytest
from fastapi import FastAPI
from support.listening import listening
from support.openapi_truth import Truth
from support.smollm2 import gguf_path
from support.thinking_template import THINKING_TOOLS
from support.tiny_gguf import CHATML, write_tiny_gguf

from agentkit_server.app import create_app
from agentkit_server.engine.types import Timings, Usage
from agentkit_server.models.store import Store
from agentkit_server.openapi import document
from agentkit_server.runner.process import ProcessLauncher
from agentkit_server.runner.scripted import ScriptedLauncher, ScriptedModel
from agentkit_server.settings import Settings
from agentkit_server.turn.events import Event, Finish, Started
from agentkit_server.turn.types import Turn

EMBEDDER = ScriptedModel(pooling="mean")


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    return Settings(host="127.0.0.1:0", models=tmp_path / "models", api_keys=[])


@pytest.fixture(scope="session")
def models(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a store with `tiny` (chat), `thinker` (thinks and calls tools), `base` (no template) and
    `embedder`. Linking waits for the disk, which every test need not do anew."""
    folder = tmp_path_factory.mktemp("models")
    store = Store(folder)
    for name, template, pooling in (
        ("tiny", CHATML, None),
        ("thinker", THINKING_TOOLS, None),
        ("base", None, None),
        ("embedder", None, "mean"),
    ):
        path = tmp_path_factory.mktemp("gguf") / f"{name}.gguf"
        store.link_file(name, write_tiny_gguf(path, chat_template=template, pooling=pooling))
    return folder


@pytest.fixture
def store(settings: Settings, models: Path) -> Store:
    """A copy of `models` of the test's own."""
    assert settings.models is not None
    shutil.copytree(models, settings.models)
    return Store(settings.models)


@pytest.fixture
def launcher() -> ScriptedLauncher:
    """Every model answers `Hello, world!` until a test says otherwise."""
    return ScriptedLauncher("Hello, world!")


@pytest.fixture
def app(settings: Settings, launcher: ScriptedLauncher, store: Store) -> FastAPI:
    return create_app(settings, launcher, store)


@lru_cache
def truth_of(*, keyed: bool) -> Truth:
    """What every app says of itself, with a key or without."""
    settings = Settings(host="127.0.0.1:0", api_keys=["key"] if keyed else [])
    with TemporaryDirectory() as folder:
        return Truth(document(create_app(settings, ScriptedLauncher(), Store(Path(folder))), keyed=keyed))


@pytest.fixture
async def http(app: FastAPI) -> AsyncIterator[httpx.AsyncClient]:
    """A client of the app in this process. A stream arrives whole, and every answer is held against the
    document at /openapi.json."""
    transport = httpx.ASGITransport(app, raise_app_exceptions=False)

    async def held(response: httpx.Response) -> None:
        method, path = response.request.method, response.request.url.path
        media, body = response.headers.get("content-type", ""), await response.aread()
        truth = truth_of(keyed=app.state.keyed)
        assert truth.lies(method, path, response.status_code, media, body) == []

    async with (
        app.router.lifespan_context(app),
        httpx.AsyncClient(
            transport=transport, base_url="http://127.0.0.1", event_hooks={"response": [held]}
        ) as client,
    ):
        yield client


@pytest.fixture
async def live_server(app: FastAPI) -> AsyncIterator[str]:
    """The URL of the app on a real port, served on the test's own event loop."""
    async with listening(app) as url:
        yield url


@pytest.fixture
async def smollm2(tmp_path: Path) -> AsyncIterator[httpx.AsyncClient]:
    """A client of a server with the real smollm2."""
    store = Store(tmp_path)
    store.link_file("smollm2", gguf_path())
    settings = Settings(host="127.0.0.1:0", models=tmp_path, api_keys=[], context_length=1024)
    async with (
        listening(create_app(settings, ProcessLauncher(), store)) as url,
        httpx.AsyncClient(base_url=url, timeout=120) as client,
    ):
        yield client


@dataclass
class Turns:
    """A stand-in for the turn layer: what the dialects asked of it, and what it tells them."""

    asked: list[Turn] = field(default_factory=list[Turn])
    started: Started = field(default_factory=lambda: Started(prompt_tokens=5, load_ns=1))
    events: list[Event] = field(default_factory=list[Event])
    """What comes between Started and the Finish of completion 0."""
    finish: dict[str, Any] = field(default_factory=dict[str, Any])
    """Fields of the Finish other than usual: stopped after seven tokens."""
    refusal: Exception | None = None
    """Raised before Started."""
    failure: Exception | None = None
    """Raised in place of the Finish."""

    async def run(self, backend: object, turn: Turn) -> AsyncGenerator[Event]:
        self.asked.append(turn)
        if self.refusal is not None:
            raise self.refusal
        yield self.started
        for event in self.events:
            yield event
        if self.failure is not None:
            raise self.failure
        usual: dict[str, Any] = {"reason": "stop", "usage": Usage(5, 0, 7), "timings": Timings(0, 1, 1)}
        yield Finish(**(usual | {"index": 0, "load_ns": 1} | self.finish))


@pytest.fixture
def turns(monkeypatch: pytest.MonkeyPatch) -> Turns:
    """Takes the place of the turn layer, so that a test can say which events come."""
    turns = Turns()
    for dialect in ("native", "openai"):
        monkeypatch.setattr(f"agentkit_server.dialects.{dialect}_answer.run_turn", turns.run)
    return turns
