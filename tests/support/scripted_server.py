"""The real server on the scripted runner, in a thread and on a loopback port, for clients that block."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from anyio.from_thread import start_blocking_portal
from fastapi import FastAPI
from support.listening import listening
from support.thinking_template import THINKING_TOOLS
from support.tiny_gguf import CHATML, write_tiny_gguf

from agentkit_server.app import create_app
from agentkit_server.models.store import Store
from agentkit_server.runner.scripted import ScriptedLauncher, ScriptedModel
from agentkit_server.settings import Settings

MARKS = ("<pre>", "<suf>", "<mid>")
WRITER = ScriptedModel(control=(*ScriptedModel().control, *MARKS), fim=MARKS)
EMBEDDER = ScriptedModel(pooling="mean")


@dataclass
class Replies:
    """What the models say: each text once, the last one for ever."""

    texts: list[str] = field(default_factory=lambda: ["Hello, world!"])

    def __call__(self, prompt: str) -> str:
        return self.texts.pop(0) if len(self.texts) > 1 else self.texts[0]


def scripted_app(folder: Path, replies: Replies) -> tuple[FastAPI, ScriptedLauncher]:
    """The app over an empty `folder`, with `tiny` (chat, infill), `thinker` (thinks, calls tools) and
    `embedder`. The launcher's `model` says what the next one that is loaded can do."""
    store = Store(folder)
    models = {"tiny": (CHATML, None), "thinker": (THINKING_TOOLS, None), "embedder": (None, "mean")}
    for name, (template, pooling) in models.items():
        path = folder / f"{name}.gguf"
        store.link_file(name, write_tiny_gguf(path, chat_template=template, pooling=pooling))
    launcher = ScriptedLauncher(replies, WRITER)
    settings = Settings(host="127.0.0.1:0", models=folder, api_keys=[])
    return create_app(settings, launcher, store), launcher


@contextmanager
def serving(app: FastAPI) -> Iterator[str]:
    """Serves `app` until the block ends; yields its URL."""
    with start_blocking_portal() as portal, portal.wrap_async_context_manager(listening(app)) as url:
        yield url
