"""What may stand before an answer that is bound, as the guard beside its grammar has to know it."""

from __future__ import annotations

from agentkit_server.engine.types import Lead
from agentkit_server.turn.syntaxes.pieces import Marks
from agentkit_server.turn.syntaxes.shape import Shape
from agentkit_server.turn.syntaxes.syntax import Syntax


def lead(syntax: Syntax, shape: Shape, marks: Marks) -> Lead | None:
    """The text before the bound answer of `shape`; None where calls may come in its place."""
    if shape.answer is None or (shape.tools and shape.calls != "none"):
        return None
    marker = syntax.answer[0]
    if not syntax.answer_always and not marks.ids(marker):
        marker = ""
    if syntax.thinking is None or shape.thinking == "forbidden":
        return Lead(marker=marks.raw(marker))
    opening, closing = syntax.thinking
    return Lead(
        inside=shape.thinking == "open",
        opening=marks.raw(opening) if shape.thinking == "free" or syntax.repeats else b"",
        closing=marks.raw(closing + syntax.resume),
        marker=marks.raw(marker),
    )
