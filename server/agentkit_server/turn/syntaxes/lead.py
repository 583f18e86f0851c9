"""What may stand before JSON values that are bound, as the guard beside their grammar has to know it: before
the answer, and before the arguments of calls where those are written as JSON."""

from __future__ import annotations

import re
from collections.abc import Sequence

from agentkit_server.engine.types import CallLead, Lead
from agentkit_server.turn.syntaxes.arguments import CallableTool
from agentkit_server.turn.syntaxes.names import written_name
from agentkit_server.turn.syntaxes.pieces import Marks
from agentkit_server.turn.syntaxes.shape import Shape
from agentkit_server.turn.syntaxes.styles.json import JSON
from agentkit_server.turn.syntaxes.syntax import (
    Args,
    Calls,
    Gap,
    Id,
    Lit,
    Maybe,
    Name,
    NameAgain,
    Node,
    Syntax,
)

_BLANKS = r"[ \t\r\n]*"


def lead(syntax: Syntax, shape: Shape, marks: Marks, places: Sequence[int] = ()) -> Lead:
    """The text before the values of `shape`. `places`: those of the arguments of its tools, -1 = nothing is
    asked of them."""
    calls = syntax.calls if shape.tools and shape.calls != "none" else None
    opening, closing = syntax.thinking or ("", "")
    thinks = syntax.thinking is not None and shape.thinking != "forbidden"
    again = thinks and (shape.thinking == "free" or syntax.repeats)
    return Lead(
        inside=thinks and shape.thinking == "open",
        opening=marks.raw(opening) if again else b"",
        closing=marks.raw(closing + syntax.resume) if thinks else b"",
        marker=_marker(syntax, shape, marks),
        calls=[] if calls is None else _calls(calls, shape.tools, marks, places),
        triggers=[] if calls is None or shape.calls == "required" else _triggers(calls, shape, marks),
        text=calls is not None and _begins_behind_text(syntax, calls, shape, marks),
        answer=shape.answer is not None and shape.calls != "required",
    )


def follows_arguments(syntax: Syntax) -> bool:
    """Are the arguments of calls JSON, which a guard can follow?"""
    return syntax.calls is not None and syntax.calls.style is JSON


def _marker(syntax: Syntax, shape: Shape, marks: Marks) -> bytes:
    marker = syntax.answer[0]
    written = shape.answer is not None and (syntax.answer_always or marks.ids(marker))
    return marks.raw(marker) if written else b""


def _begins_behind_text(syntax: Syntax, calls: Calls, shape: Shape, marks: Marks) -> bool:
    """May there be text before a call? Where a control token begins it, looking for that is never wrong."""
    free = shape.calls == "auto" and shape.answer is None and not calls.bare
    return free and (not syntax.marked or bool(marks.ids(calls.trigger)))


def _triggers(calls: Calls, shape: Shape, marks: Marks) -> list[bytes]:
    """What tells a call from an answer."""
    if not calls.trigger:
        return [marks.raw(written_name(calls.name, tool.name)) for tool in shape.tools]
    tag = calls.tag if marks.ids(calls.tag) else ""
    # A bare call could be an answer that is bound, and so needs its tag.
    first = "" if calls.bare and shape.answer is not None else calls.trigger
    return [marks.raw(trigger) for trigger in (first, tag) if trigger]


def _calls(
    calls: Calls, tools: Sequence[CallableTool], marks: Marks, places: Sequence[int]
) -> list[CallLead]:
    if calls.style is not JSON:
        return []
    nodes = calls.call[: calls.call.index(Args())]
    return [
        # What is matched ends before the object, and so does not end with part of a name.
        CallLead(before=_pattern(nodes, tool.name, marks) + r"(?=\{)", place=place)
        for tool, place in zip(tools, places, strict=True)
    ]


def _pattern(nodes: Sequence[Node], name: str, marks: Marks) -> str:
    return "".join(_node(node, name, marks) for node in nodes)


def _node(node: Node, name: str, marks: Marks) -> str:
    match node:
        case Lit(text):
            return _escaped(marks.raw(text))
        case Gap():
            return _BLANKS
        case Id(pattern):
            return f"(?:{pattern})"
        case Maybe(nodes):
            return f"(?:{_pattern(nodes, name, marks)})?"
        case Name():
            return _escaped(written_name(node, name).encode())
        case NameAgain():
            return _escaped(name.encode())
        case Args():
            raise ValueError("a call has arguments once")


def _escaped(text: bytes) -> str:
    return re.escape(text.decode("latin-1"))
