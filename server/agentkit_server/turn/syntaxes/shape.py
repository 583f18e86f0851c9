"""What the grammar of one turn has to allow."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

from agentkit_server.turn.syntaxes.arguments import CallableTool


@dataclass(frozen=True, kw_only=True)
class Shape:
    """Optional thinking, then either calls or an answer."""

    tools: tuple[CallableTool, ...] = ()
    """Those that may be called."""
    calls: Literal["none", "auto", "required"] = "none"
    """none: no call can be written, even if the prompt shows tools. auto: text until the model opens a call;
    from its marker on there is no way back. required: a call, with no text before it."""
    parallel: bool = True
    """Calls may follow one another."""
    answer: Callable[[str], str] | None = None
    """Lark source of the answer as a rule of the given name (helpers under that name and two underscores);
    None = free text. With `auto` an answer that is bound has no text round it."""
    thinking: Literal["free", "open", "forbidden"] = "free"
    """free: the model may begin with thoughts. open: the prompt ends inside an open block, which has to be
    closed first. forbidden: no block may be opened."""
