"""Models with a TEMPLATE layer in stores of the tests, and a client of the app over them."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
from msgspec.structs import replace
from support.tiny_gguf import write_tiny_gguf

from agentkit_server.app import create_app
from agentkit_server.models.manifest import layer_type
from agentkit_server.models.names import ModelName
from agentkit_server.models.store import Store
from agentkit_server.runner.scripted import ScriptedLauncher
from agentkit_server.settings import Settings


def with_template(store: Store, base: str, name: str, source: str) -> None:
    """Store `name`: the layers of `base`, and this template."""
    manifest = store.manifest(base)
    layer = store.add_layer(layer_type("template"), source.encode())
    store.write_manifest(ModelName.parse(name), replace(manifest, layers=(*manifest.layers, layer)))


def go_store(folder: Path, templates: dict[str, str], jinja: str | None = None, **gguf: Any) -> Store:
    """A store with a model for each of the templates, all of one GGUF file, `base`."""
    store = Store(folder / "models")
    store.link_file("base", write_tiny_gguf(folder / "base.gguf", chat_template=jinja, **gguf))
    for name, source in templates.items():
        with_template(store, "base", name, source)
    return store


@dataclass
class Server:
    """The app on a scripted engine."""

    http: httpx.AsyncClient
    launcher: ScriptedLauncher

    @property
    def prompt(self) -> str:
        """The last one that a model was given."""
        return self.launcher.model.decode(self.launcher.requests[-1].prompt)

    async def chat(self, model: str, *messages: dict[str, Any], **fields: Any) -> dict[str, Any]:
        body = {"model": model, "messages": messages, "stream": False, **fields}
        return await self._post("/api/chat", body)

    async def generate(self, model: str, prompt: str, **fields: Any) -> dict[str, Any]:
        return await self._post(
            "/api/generate", {"model": model, "prompt": prompt, "stream": False, **fields}
        )

    async def _post(self, path: str, body: dict[str, Any]) -> dict[str, Any]:
        response = await self.http.post(path, json=body)
        answer = response.json()
        return answer if response.status_code == 200 else {"status": response.status_code, **answer}


@asynccontextmanager
async def go_server(store: Store, launcher: ScriptedLauncher) -> AsyncGenerator[Server]:
    settings = Settings(host="127.0.0.1:0", models=store.root, api_keys=[])
    app = create_app(settings, launcher, store)
    transport = httpx.ASGITransport(app, raise_app_exceptions=False)
    async with (
        app.router.lifespan_context(app),
        httpx.AsyncClient(transport=transport, base_url="http://127.0.0.1") as http,
    ):
        yield Server(http, launcher)
