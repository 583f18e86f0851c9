"""Calls as the model itself writes them, for templates that show nothing but the content of a message."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, cast

from agentkit_server.errors import BadRequest
from agentkit_server.turn.conversation.calls import written
from agentkit_server.turn.schema.prepare import prepare
from agentkit_server.turn.syntaxes.arguments import CallableTool
from agentkit_server.turn.syntaxes.syntax import Syntax
from agentkit_server.turn.syntaxes.write import write
from agentkit_server.turn.types import Tool

_ANYTHING: Mapping[str, Any] = {"type": "object"}


def write_calls(syntax: Syntax, tools: Sequence[Tool], calls: Sequence[dict[str, Any]]) -> str:
    """`calls` in canonical form as text of `syntax`. A call that does not fit `tools` any more is written by
    its arguments alone, and as the generic syntax writes it where that cannot be done.

    Raises BadRequest for arguments that are no JSON object.
    """
    schemas = {tool.name: tool.parameters for tool in tools}
    by_name = [_call(call) for call in calls]
    for known in (schemas, _as_called(by_name)):
        called = [
            CallableTool(name=name, arguments=prepare({**_ANYTHING, **known.get(name, {})}))
            for name in dict.fromkeys(name for name, _ in by_name)
        ]
        try:
            return _written(syntax, called, by_name)
        except ValueError:
            # What was called earlier need not fit the tools of today.
            continue
    return written(calls)


def _as_called(calls: Sequence[tuple[str, Mapping[str, Any]]]) -> dict[str, Mapping[str, Any]]:
    """Schemas by name that declare just the arguments that there are."""
    names: dict[str, dict[str, Any]] = {}
    for name, arguments in calls:
        names.setdefault(name, {}).update({key: {} for key in arguments})
    return {name: {"properties": properties} for name, properties in names.items()}


def _written(
    syntax: Syntax, called: Sequence[CallableTool], calls: Sequence[tuple[str, Mapping[str, Any]]]
) -> str:
    if syntax.calls is not None and not syntax.calls.parallel:
        return "\n".join(write(syntax, called, calls=[one]) for one in calls)
    return write(syntax, called, calls=calls)


def _call(call: Mapping[str, Any]) -> tuple[str, dict[str, Any]]:
    function = cast("Mapping[str, Any]", call["function"])
    arguments: Any = function.get("arguments") or {}
    if isinstance(arguments, str):
        raise BadRequest(
            f"the arguments of the call {call['id']!r} of {function.get('name')!r} are no JSON object, and "
            f"the model cannot be shown anything else: {arguments[:80]!r}; leave the call out",
            param="messages",
        )
    return str(function.get("name", "")), cast("dict[str, Any]", arguments)
