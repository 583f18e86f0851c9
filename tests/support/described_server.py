"""The server that the examples of /openapi.json are written for: models `smollm2` (chat, tools, thoughts,
infill), `all-minilm` (vectors) and `reranker`, scripted, and following every grammar."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from fastapi import FastAPI
from support.obedient import ObedientLauncher
from support.scripted_server import WRITER
from support.thinking_template import THINKING_TOOLS
from support.tiny_bert import write_tiny_bert
from support.tiny_gguf import write_tiny_gguf

from agentkit_server.app import create_app
from agentkit_server.engine.types import Pooling
from agentkit_server.models.store import Store
from agentkit_server.runner.scripted import ScriptedModel
from agentkit_server.settings import Settings

MODELS: dict[str, Pooling | None] = {"smollm2": None, "all-minilm": "mean", "reranker": "rank"}


def described_app(folder: Path, *keys: str, store: Callable[[Path], Store] = Store) -> FastAPI:
    """The app over an empty `folder`. With `keys` it asks for one of them."""
    folder.mkdir(exist_ok=True)
    opened, models = store(folder), dict[str, ScriptedModel]()
    for name, pooling in MODELS.items():
        path = folder / f"{name}.gguf"
        if pooling:
            write_tiny_bert(path, pooling)
            models[str(path)] = ScriptedModel(pooling=pooling)
        else:
            write_tiny_gguf(path, chat_template=THINKING_TOOLS)
        opened.link_file(name, path)
    launcher = ObedientLauncher("Hello, world!", WRITER, models)
    settings = Settings(host="127.0.0.1:0", models=folder, api_keys=[*keys])
    return create_app(settings, launcher, opened)
