"""Tool names as the calls of a syntax write them, and which of them it cannot write."""

from __future__ import annotations

import json
import re

from agentkit_server.errors import BadRequest
from agentkit_server.turn.syntaxes.pieces import Marks
from agentkit_server.turn.syntaxes.syntax import Calls, Lit, Name, Syntax


def written_name(node: Name, name: str) -> str:
    """`name` as a call has it."""
    return json.dumps(name, ensure_ascii=False)[1:-1] if node.json else name


def check_name(syntax: Syntax, name: str, marks: Marks) -> None:
    """Raises BadRequest for a name that a parser could not read back."""
    assert syntax.calls is not None
    if not name or _SURROGATE.search(name):
        raise BadRequest(f"a tool cannot be named {name!r}; use letters, digits, _ and -", param="tools")
    until = _until(syntax.calls)
    ambiguous = any(
        written.startswith(marker) or marker.startswith(written)
        for marker in _markers(syntax)
        for written in [_begin(syntax.calls, name)]
    )
    unclear = not syntax.calls.name.json and not marks.is_control(until) and until[:1] in name
    if ambiguous or unclear or (not syntax.calls.name.json and name != name.strip()):
        raise BadRequest(
            f"a tool named {name!r} cannot be called by this model, whose calls ({syntax.name}) it could not "
            f"be told from; use letters, digits, _ and -",
            param="tools",
        )


def _until(calls: Calls) -> str:
    """What stands behind a name."""
    behind = calls.tail[0]
    return behind.text if isinstance(behind, Lit) else calls.name.until


def _markers(syntax: Syntax) -> list[str]:
    """What stands in a call's place where every answer begins with a marker."""
    if not syntax.marked:
        return []
    blocks = (syntax.answer, syntax.thinking, syntax.aside)
    return [block[0] for block in blocks if block is not None]


def _begin(calls: Calls, name: str) -> str:
    """A call up to what stands behind its name."""
    before = "".join(node.text for node in (*calls.opening, *calls.head) if isinstance(node, Lit))
    return f"{before}{written_name(calls.name, name)}{_until(calls)}"


_SURROGATE = re.compile("[\ud800-\udfff]")
