"""The tools of a server, made tools of an agent. A server may say anything: what it says is bounded, and a
tool that is of no use is left out, with a line in the log, while the others work."""

from __future__ import annotations

import json
import logging
from collections.abc import Awaitable, Callable, Iterable, Mapping
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from agentkit._errors import DefinitionError
from agentkit._runnable import SchemaRun
from agentkit._tool import Approval, Tool
from agentkit.mcp._content import cut
from agentkit.mcp._names import tool_name
from agentkit.mcp._rules import Rules

if TYPE_CHECKING:
    from mcp import Client
    from mcp.types import Tool as Offered

log = logging.getLogger("agentkit.mcp")
Call = Callable[[str, dict[str, Any]], Awaitable[Any]]
MOST_TOOLS = 512
_MOST_PAGES = 100
_LONGEST_DESCRIPTION = 8_000
_LARGEST_SCHEMA = 64_000
"""Characters of its JSON."""


async def tools_of(client: Client, rules: Rules, call: Call) -> list[Tool]:
    """What a run may use. `call` runs a tool of the server, under the server's own name for it.

    Raises DefinitionError for a name in the allow list that the server does not have.
    """
    offered = await _offered(client, rules)
    _check_lists(offered, rules)
    made: dict[str, Tool] = {}
    for name, one in offered.items():
        if name in rules.excluded or (rules.allowed is not None and name not in rules.allowed):
            continue
        try:
            tool = _tool(one, rules, call)
        # Whatever a schema of a server does to those who read it.
        except Exception as error:
            log.warning("%s: left out the tool %.80r: %.200s", rules.server, name, error)
        else:
            made[tool.name] = tool
    return list(made.values())


async def _offered(client: Client, rules: Rules) -> dict[str, Offered]:
    """By name; the first of two of the same name counts."""
    found: dict[str, Offered] = {}
    cursor: str | None = None
    seen: set[str] = set()
    twice: dict[str, None] = {}
    too_many = False
    for _ in range(_MOST_PAGES):
        page = await client.list_tools(cursor=cursor)
        for one in page.tools:
            if one.name in found:
                twice.setdefault(one.name)
            elif len(found) < MOST_TOOLS:
                found[one.name] = one
            else:
                too_many = True
        cursor = page.next_cursor
        if not cursor or cursor in seen or len(found) >= MOST_TOOLS:
            break
        seen.add(cursor)
    if cursor or too_many:
        log.warning("%s: only the first %d of its tools are used", rules.server, len(found))
    if twice:
        log.warning("%s: left out second tools of one name: %s", rules.server, few(twice))
    return found


def few(names: Iterable[str]) -> str:
    """Some of `names`, as much as a line may have of what a server says."""
    return ", ".join(f"{name:.80}" for name in list(names)[:20]) or "none"


def _check_lists(offered: Mapping[str, Offered], rules: Rules) -> None:
    missing = [name for name in rules.allowed or () if name not in offered]
    if missing:
        raise DefinitionError(
            f"the MCP server {rules.server!r} has no tool {missing[0]!r}; it has: {few(offered)}",
            hint="tools= takes the server's own names, without the prefix",
        )
    for name in rules.excluded:
        if name not in offered:
            log.warning("%s: exclude= names %r, and there is no such tool", rules.server, name)


def _tool(one: Offered, rules: Rules, call: Call) -> Tool:
    _check_size(one.input_schema)

    async def run(arguments: dict[str, Any]) -> Any:
        return await call(one.name, arguments)

    tool = Tool.from_schema(
        tool_name(rules.prefix, one.name),
        cut(one.description or one.title or "", _LONGEST_DESCRIPTION),
        one.input_schema,
        run,
    )
    approval = _approval(one, rules)
    return replace(tool, returns=_returns(one), timeout=rules.timeout, requires_approval=approval)


def _returns(one: Offered) -> dict[str, Any] | None:
    """The schema of its results, where that is one."""
    schema = one.output_schema
    if schema is None:
        return None
    try:
        _check_size(schema)
        SchemaRun(schema, _never)
    # As above; the tool works without.
    except Exception as error:
        log.warning("left out the output schema of the tool %.80r: %.200s", one.name, error)
        return None
    return schema


async def _never(arguments: dict[str, Any]) -> None:
    raise NotImplementedError


def _check_size(schema: dict[str, Any]) -> None:
    size = len(json.dumps(schema))
    if size > _LARGEST_SCHEMA:
        raise DefinitionError(f"its schema has {size} characters, and {_LARGEST_SCHEMA} are allowed")


def _approval(one: Offered, rules: Rules) -> Approval:
    if rules.requires_approval != "unless_read_only":
        return rules.requires_approval
    return not (one.annotations is not None and one.annotations.read_only_hint is True)
