"""A store, pulls into it that need no network, and uploads."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import aclosing
from pathlib import Path
from typing import Any

import anyio
import pytest
from support.tiny_gguf import CHATML, write_tiny_gguf

from agentkit_server.create.create import create
from agentkit_server.create.request import CreateRequest, checked
from agentkit_server.errors import PullFailed
from agentkit_server.models.names import ModelName
from agentkit_server.models.pull import Pulls
from agentkit_server.models.registry.options import Access
from agentkit_server.models.sources.source import PullProgress
from agentkit_server.models.store import Store

Upload = Callable[[Path | bytes], str]
Make = Callable[..., Awaitable[list[PullProgress]]]


@pytest.fixture
def store(tmp_path: Path) -> Store:
    """A store with `tiny`."""
    store = Store(tmp_path / "store")
    store.link_file("tiny", write_tiny_gguf(tmp_path / "tiny.gguf", chat_template=CHATML))
    return store


class Shelf:
    """A source of every name: `upstream` is there, in `path`, and nothing else is."""

    def __init__(self, path: Path) -> None:
        self._path = path

    def matches(self, reference: str) -> bool:
        return True

    def name(self, reference: str) -> ModelName:
        return ModelName.parse(reference)

    async def pull(
        self, reference: str, name: ModelName, store: Store, access: Access
    ) -> AsyncGenerator[PullProgress]:
        yield PullProgress("pulling manifest")
        if name.model != "upstream":
            raise PullFailed("pull model manifest: file does not exist")
        yield PullProgress("pulling it", total=4, completed=2)
        store.link_file(name, self._path)
        (layer,) = store.manifest(name).layers
        yield PullProgress("pulling it", layer.digest, layer.size, layer.size)


@pytest.fixture
def pulls(store: Store, tmp_path: Path) -> Pulls:
    return Pulls(store, [Shelf(tmp_path / "tiny.gguf")])


@pytest.fixture
def upload(store: Store) -> Upload:
    """Puts content into the store, as POST /api/blobs does; its digest."""

    def put(content: Path | bytes) -> str:
        data = content if isinstance(content, bytes) else content.read_bytes()
        with store.blob_writer() as writer:
            writer.write(data)
            return str(writer.commit())

    return put


@pytest.fixture
def make(store: Store, pulls: Pulls) -> Make:
    """Creates a model of the words of a request; the lines that it said, none of which went backwards."""

    async def made(model: str, **words: Any) -> list[PullProgress]:
        recipe = checked(CreateRequest(model=model, **words), store)
        with anyio.fail_after(60):
            async with aclosing(create(store, pulls, recipe)) as lines:
                said = [line async for line in lines]
        never_backwards(said)
        return said

    return made


def never_backwards(lines: list[PullProgress]) -> None:
    """As who draws a bar for each digest, or each status without one, sees it."""
    done: dict[str, int] = {}
    for line in lines:
        if line.completed is not None:
            assert line.completed >= done.get(line.digest or line.status, 0), line
            done[line.digest or line.status] = line.completed


@pytest.fixture
def blobs(store: Store) -> Callable[[], set[str]]:
    """Every file below the blobs, unfinished ones too."""
    return lambda: {
        str(path.relative_to(store.root)) for path in store.root.rglob("blobs/**/*") if path.is_file()
    }
