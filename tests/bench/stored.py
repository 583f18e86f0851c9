"""What it costs to create a response when many are stored: the last hundred of ten thousand beside the first.

The real server in this process, on the scripted runner, so that nothing but the server is measured. Each
response is stored; every tenth goes on from the one before.

    python -m tests.bench --only stored
"""

from __future__ import annotations

import asyncio
import statistics
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
from rich.console import Console
from rich.table import Table

from agentkit_server.app import create_app
from agentkit_server.models.store import Store
from agentkit_server.runner.scripted import ScriptedLauncher
from agentkit_server.settings import Settings
from tests.support.tiny_gguf import CHATML, write_tiny_gguf

HUNDRED = 100
WARM_UP = 200
CONTINUED = 10
"""Every so many-th response continues another."""


@dataclass(frozen=True)
class Creation:
    """One creation, in milliseconds. On a machine that does other work, only `cpu` says much."""

    wall: float
    cpu: float


def measured(count: int) -> list[Creation]:
    """`count` creations, in order."""
    with tempfile.TemporaryDirectory() as folder:
        return asyncio.run(_creations(Path(folder), count))


def show(creations: list[Creation]) -> None:
    """Medians of the first and the last hundred, and their ratio."""
    parts = {"first hundred": creations[:HUNDRED], "last hundred": creations[-HUNDRED:]}
    table = Table(title=f"creating a response, {len(creations)} stored; medians in ms")
    for heading in ("", "wall", "CPU"):
        table.add_column(heading, justify="right")
    medians: list[Creation] = []
    for name, part in parts.items():
        wall, cpu = (statistics.median(getattr(one, kind) for one in part) for kind in ("wall", "cpu"))
        medians.append(Creation(wall, cpu))
        table.add_row(name, f"{wall:.2f}", f"{cpu:.2f}")
    first, last = medians
    table.add_row("last : first", f"{last.wall / first.wall:.2f}", f"{last.cpu / first.cpu:.2f}")
    Console(width=100).print(table)


async def _creations(folder: Path, count: int) -> list[Creation]:
    settings, launcher, store = _server(folder)
    app = create_app(settings, launcher, store)
    transport = httpx.ASGITransport(app)
    async with (
        app.router.lifespan_context(app),
        httpx.AsyncClient(transport=transport, base_url="http://127.0.0.1") as http,
    ):
        for _ in range(WARM_UP):
            await _create(http, {"store": False})
        creations: list[Creation] = []
        previous = None
        for number in range(count):
            # The scripted runner compares with every prompt that it remembers.
            await launcher.runners[0].drop_cache()
            more = {} if number % CONTINUED else {"previous_response_id": previous}
            wall, cpu = time.perf_counter(), time.process_time()
            previous = await _create(http, more)
            wall, cpu = time.perf_counter() - wall, time.process_time() - cpu
            creations.append(Creation(wall * 1e3, cpu * 1e3))
        return creations


async def _create(http: httpx.AsyncClient, more: dict[str, Any]) -> str:
    asked = {"model": "tiny", "input": "How are you?", **more}
    answer = await http.post("/v1/responses", json=asked)
    return answer.raise_for_status().json()["id"]


def _server(folder: Path) -> tuple[Settings, ScriptedLauncher, Store]:
    store = Store(folder)
    store.link_file("tiny", write_tiny_gguf(folder / "tiny.gguf", chat_template=CHATML))
    settings = Settings.model_validate({"host": "127.0.0.1:0", "models": folder, "api_keys": []})
    return settings, ScriptedLauncher("Fine, thank you."), store
