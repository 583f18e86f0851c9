"""How the arguments of a call are written: as JSON, XML-like parameters, Python keywords …

A style gives the grammar of a tool's arguments, reads them back as JSON text while they are generated, and
writes them; all three from the tool's schema.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Protocol

from agentkit_server.turn.schema.prepared import PreparedSchema
from agentkit_server.turn.syntaxes.pieces import Marks


@dataclass(frozen=True, kw_only=True)
class CallableTool:
    """A tool that the grammar allows."""

    name: str
    arguments: PreparedSchema


class Scanner(Protocol):
    """Reads one call's arguments from a stream."""

    def feed(self, text: str) -> tuple[str, str | None]:
        """(JSON text that is certain now, what follows the arguments). The second is None until they have
        ended; then feed is not called again. The JSON pieces, joined, are one object."""
        ...


class ArgumentStyle(Protocol):
    """One way of writing arguments."""

    def fragment(self, rule: str, tool: CallableTool, marks: Marks) -> str:
        """Lark source that defines rule `rule`, and any others under names that begin with it and two
        underscores: the arguments, without white space before or after."""
        ...

    def loose(self, tool: CallableTool) -> tuple[str, ...]:
        """Where this style's grammar allows more than the tool's schema, beyond what `tool.arguments` says
        itself; () = nowhere. Each a sentence for the caller."""
        ...

    def scanner(self, tool: CallableTool, marks: Marks) -> Scanner: ...

    def write(self, tool: CallableTool, arguments: Mapping[str, Any]) -> str:
        """The arguments as the model writes them, control tokens by their text."""
        ...
