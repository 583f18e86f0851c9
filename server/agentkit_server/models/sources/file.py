"""A GGUF file of this machine, linked and not copied. For the command line and settings alone: a path that
came over the network must never reach this source, so `Pulls` does not have it unless it is given."""

from __future__ import annotations

import re
from collections.abc import AsyncGenerator
from contextlib import aclosing
from pathlib import Path

from agentkit_server.models.names import ModelName
from agentkit_server.models.registry.options import Access
from agentkit_server.models.sources.source import PullProgress
from agentkit_server.models.sources.steps import Steps
from agentkit_server.models.store import Store

_PATH = re.compile(r"(\.{0,2}[/\\]|~|[A-Za-z]:[/\\]).*|.*\.gguf", re.DOTALL | re.IGNORECASE)
_SHARD = re.compile(r"-\d{5}-of-\d{5}$")
_LONGEST_PART = 80


def named_after(stem: str) -> ModelName:
    """The model name that a file's name gives."""
    model = re.sub(r"[^A-Za-z0-9_.-]+", "-", stem).lstrip(".-")[:_LONGEST_PART]
    return ModelName.parse(model or "model")


class LocalFile:
    """The source of paths: `/x.gguf`, `./x.gguf`, `~/x.gguf`, or anything that ends in .gguf."""

    def matches(self, reference: str) -> bool:
        return _PATH.fullmatch(reference) is not None

    def name(self, reference: str) -> ModelName:
        """The file's name without its ending, cut to what a model name allows."""
        return named_after(_SHARD.sub("", Path(reference).stem))

    async def pull(
        self, reference: str, name: ModelName, store: Store, access: Access
    ) -> AsyncGenerator[PullProgress]:
        """Hash and link the file. Also raises InvalidGGUF."""
        path = Path(reference)
        steps = Steps(store.link_steps(name, path))
        async with aclosing(steps.run()) as progress:
            async for done, total in progress:
                yield PullProgress(f"hashing {path.name}", total=total, completed=done)
        yield PullProgress("writing manifest")
