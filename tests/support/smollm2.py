"""The real smollm2, pulled once by the product's own code into a store of the tests in the user's cache
folder and kept there, and a server on it as a process of its own."""

from __future__ import annotations

import asyncio
import os
import subprocess
import sys
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path

from agentkit_server.models.pull import Pulls
from agentkit_server.models.store import Store

# Read at import: tests replace HOME.
_CACHE = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "agentkit" / "test-models"


def models_folder() -> Path:
    """A models folder that holds `smollm2`. Tests that change models take one of their own."""
    store = Store(_CACHE)
    if not store.has("smollm2"):
        asyncio.run(_pull(store))
    return _CACHE


def gguf_path() -> Path:
    """The GGUF file of smollm2."""
    return Store(models_folder()).resolve("smollm2").path


async def _pull(store: Store) -> None:
    pulls = Pulls(store)
    try:
        async for _ in pulls.pull("smollm2"):
            pass
    finally:
        await pulls.close()


@contextmanager
def serving(models: Path, **environment: str) -> Generator[str]:
    """Run `agentkit serve` on a free port over `models`; yields its URL. `environment` adds settings."""
    clean = {
        name: value for name, value in os.environ.items() if not name.startswith(("AGENTKIT_", "OLLAMA_"))
    }
    process = subprocess.Popen(
        [sys.executable, "-m", "agentkit_cli", "serve", "--private"],
        env={**clean, "AGENTKIT_MODELS": str(models), **environment},
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    assert process.stdin is not None and process.stdout is not None
    try:
        line = process.stdout.readline()
        assert line.startswith("ready "), f"the server did not start: {line!r}"
        yield line.removeprefix("ready ").strip()
    finally:
        # A private server ends when its stdin closes.
        process.stdin.close()
        process.wait(timeout=60)
        process.stdout.close()
