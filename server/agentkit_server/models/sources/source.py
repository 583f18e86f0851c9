"""Where models come from: one small class for each kind of reference, behind one protocol."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from dataclasses import dataclass
from typing import Protocol

from agentkit_server.models.names import ModelName
from agentkit_server.models.registry.options import Access
from agentkit_server.models.store import Store


@dataclass(frozen=True)
class PullProgress:
    """A line of a pull's progress, in the words of the native dialect. Sizes in bytes."""

    status: str
    digest: str | None = None
    """`sha256:<hex>`, once it is known."""
    total: int | None = None
    completed: int | None = None
    model: str | None = None
    """In the last line, where the reference is no name: what the model is stored as."""


class Source(Protocol):
    """Fetches the models of one kind of reference into a store."""

    def matches(self, reference: str) -> bool:
        """Whether this source is the one for `reference`. Never raises."""
        ...

    def name(self, reference: str) -> ModelName:
        """The name that the model of `reference` is stored under.

        Raises InvalidModelName or PullFailed for a malformed reference.
        """
        ...

    def pull(
        self, reference: str, name: ModelName, store: Store, access: Access
    ) -> AsyncGenerator[PullProgress]:
        """Put the model of `reference` into the store as `name`; quick when its content is there already.
        `access` is for sources that speak to registries.

        When it is closed or cancelled, it leaves nothing that counts as a model or as a whole blob. Raises
        PullFailed and StoreError.
        """
        ...
