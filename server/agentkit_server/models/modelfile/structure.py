"""A Modelfile as data: one field for each command."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from agentkit_server.errors import ModelfileError

ROLES = ("system", "user", "assistant")


class Place(NamedTuple):
    """A character of the text, line and column counted from 1."""

    line: int
    column: int


class AdapterLine(NamedTuple):
    """An ADAPTER: a path, as it is written, and how much of the adapter is added."""

    path: str
    scale: float = 1.0


class MessageLine(NamedTuple):
    """A MESSAGE; the role is one of `ROLES`."""

    role: str
    content: str


@dataclass(frozen=True)
class Modelfile:
    """What a Modelfile says. Paths and names are as they are written: nothing is looked up."""

    from_: tuple[str, ...]
    """A model name or a path; at least one. Files beyond the first are shards and projectors."""
    adapters: tuple[AdapterLine, ...] = ()
    draft: str | None = None
    template: str | None = None
    system: str | None = None
    parameters: Mapping[str, Any] = field(default_factory=dict[str, Any])
    """Values in the types of `parameters.py`; `stop` is a list."""
    messages: tuple[MessageLine, ...] = ()
    license: tuple[str, ...] = ()
    renderer: str | None = None
    parser: str | None = None
    requires: str | None = None
    """The least version of the program that can run the model, without a leading v."""
    warnings: tuple[str, ...] = field(default=(), compare=False)
    """What has no effect, each beginning `(line N, column C): `."""
    places: Mapping[str, tuple[Place, ...]] = field(
        default_factory=dict[str, tuple[Place, ...]], compare=False
    )
    """Where the values of each command stand, by its name in lower case, in order."""

    def error(self, message: str, command: str, index: int = 0) -> ModelfileError:
        """An error at the value that `command` (in lower case) has for the `index`-th time."""
        known = self.places.get(command, ())
        line, column = known[index] if index < len(known) else Place(1, 1)
        return ModelfileError(message, line=line, column=column)
