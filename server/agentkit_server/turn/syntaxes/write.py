"""Writes an answer as a model of the syntax would: for histories that no template shows, and for tests."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from agentkit_server.turn.syntaxes.arguments import CallableTool
from agentkit_server.turn.syntaxes.names import written_name
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

Call = tuple[str, Mapping[str, Any]]


def write(
    syntax: Syntax,
    tools: Sequence[CallableTool],
    *,
    thinking: str = "",
    content: str = "",
    calls: Sequence[Call] = (),
) -> str:
    """The text of an answer, control tokens by their text.

    Raises ValueError for what the syntax cannot write.
    """
    parts: list[str] = []
    if thinking:
        if syntax.thinking is None:
            raise ValueError(f"the syntax {syntax.name!r} has no thoughts")
        opening, _ = syntax.thinking
        line = "\n" if syntax.closing.startswith("\n") and not opening.endswith("\n") else ""
        parts.append(f"{opening}{line}{thinking}{syntax.closing}")
    if not calls:
        return "".join((*parts, syntax.answer[0], content, syntax.answer[1]))
    if syntax.calls is None:
        raise ValueError(f"the syntax {syntax.name!r} has no calls")
    parts += [_beside(syntax, content), _calls(syntax.calls, tools, calls)]
    return "".join(parts)


def _beside(syntax: Syntax, content: str) -> str:
    """`content` before calls."""
    if not content:
        return ""
    if syntax.aside is not None:
        opening, closing = syntax.aside
        return f"{opening}{content}{closing}{syntax.resume}"
    if syntax.marked or (syntax.calls is not None and syntax.calls.bare):
        raise ValueError(f"the syntax {syntax.name!r} has no text beside calls")
    return f"{content}\n"


def _calls(form: Calls, tools: Sequence[CallableTool], calls: Sequence[Call]) -> str:
    if len(calls) > 1 and not form.parallel:
        raise ValueError("one call a turn is all that this syntax has")
    known = {tool.name: tool for tool in tools}
    between = _plain(form.between)
    written = between.join(_call(form, known[name], arguments) for name, arguments in calls)
    return f"{_plain(form.opening)}{written}{_plain(form.closing)}"


def _call(form: Calls, tool: CallableTool, arguments: Mapping[str, Any]) -> str:
    parts: list[str] = []
    for node in form.call:
        match node:
            case Name():
                parts.append(written_name(node, tool.name))
            case NameAgain():
                parts.append(tool.name)
            case Args():
                parts.append(form.style.write(tool, arguments))
            case _:
                parts.append(_plain((node,)))
    return "".join(parts)


def _plain(nodes: Sequence[Node]) -> str:
    texts: list[str] = []
    for node in nodes:
        match node:
            case Lit(text) | Gap(text):
                texts.append(text)
            case Id(_, typical):
                texts.append(typical)
            case Maybe(inner):
                texts.append(_plain(inner))
            case Name() | NameAgain() | Args():
                raise ValueError("only a call has a name and arguments")
    return "".join(texts)
