"""A conversation in canonical messages, made into what one template takes: messages, tools and variables.

Canonical messages have a role of system, developer, user, assistant or tool, and a `content` (str).
Assistants may have `thinking` (str) and `tool_calls` in OpenAI's form with arguments as an object, or as str
where they were no JSON object; results have `tool_call_id` and `name`.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import date
from typing import Any

from agentkit_server.turn.conversation.calls import (
    WriteCalls,
    calls_as_text,
    calls_of,
    in_form,
    linked,
    one_call_each,
    results_as_text,
    results_with_calls,
    written,
)
from agentkit_server.turn.conversation.systems import placed, users_joined, with_instructions
from agentkit_server.turn.conversation.traits import IN_CONTENT, TemplateTraits, Think
from agentkit_server.turn.types import Tool

Message = dict[str, Any]


@dataclass(frozen=True, kw_only=True)
class Conversation:
    """What is to be rendered."""

    messages: Sequence[Mapping[str, Any]]
    tools: Sequence[Tool] = ()
    think: Think = None
    generic: bool = False
    """Calls and results are plain text, whatever the template knows."""
    instructions: str = ""
    """Of the generic way: how to call the tools."""
    write: WriteCalls = written
    """Text of calls for a template that shows none by itself."""


@dataclass(frozen=True, kw_only=True)
class Prepared:
    """What a template is given."""

    messages: list[Message]
    variables: dict[str, Any] = field(default_factory=dict[str, Any])
    """`tools` and the switches of thinking."""
    notes: tuple[str, ...] = ()
    """What was moved or joined because the template would have refused or dropped it. Sentences."""


def prepare(conversation: Conversation, traits: TemplateTraits) -> Prepared:
    """`conversation` as a template of `traits` takes it.

    Raises BadRequest for arguments of an earlier call that the template cannot show.
    """
    messages = linked(conversation.messages)
    if conversation.instructions:
        messages = with_instructions(messages, conversation.instructions)
    elif conversation.tools and not conversation.generic and traits.tools is None:
        # The model writes calls in a way of its own, and its template leaves it to the caller to list tools.
        messages = with_instructions(messages, _listed(conversation.tools))
    if conversation.think is not None and traits.flags is not None and not traits.switches:
        messages = with_instructions(messages, traits.flags[0 if conversation.think else 1])
    messages = _with_history(messages, conversation, traits)
    messages, notes = placed(messages, traits)
    if traits.alternates:
        messages = users_joined(messages)
    return Prepared(
        messages=[_shaped(message, traits) for message in messages],
        variables=_tools(conversation, traits) | traits.thinks(conversation.think),
        notes=tuple(notes),
    )


def function_of(tool: Tool) -> dict[str, Any]:
    """`tool` as OpenAI's requests state a function."""
    parameters = dict(tool.parameters) or {"type": "object", "properties": {}}
    return {"name": tool.name, "description": tool.description, "parameters": parameters}


def _tools(conversation: Conversation, traits: TemplateTraits) -> dict[str, Any]:
    variables: dict[str, Any] = {} if traits.date is None else {traits.date: f"{date.today():%B %d, %Y}"}
    if traits.tools is None or conversation.generic or not conversation.tools:
        empty: Any = "[]" if traits.tool_form == "text" else []
        return variables | ({traits.tools or "tools": empty} if traits.needs_tools else {})
    functions = [function_of(tool) for tool in conversation.tools]
    if traits.tool_form == "bare":
        return variables | {traits.tools: functions}
    wrapped = [{"type": "function", "function": function} for function in functions]
    given = json.dumps(wrapped, ensure_ascii=False) if traits.tool_form == "text" else wrapped
    return variables | {traits.tools: given}


def _listed(tools: Sequence[Tool]) -> str:
    functions = "\n".join(json.dumps(function_of(tool), ensure_ascii=False) for tool in tools)
    return f"You may call these functions:\n{functions}"


def _with_history(
    messages: Sequence[Message], conversation: Conversation, traits: TemplateTraits
) -> list[Message]:
    """Calls and results as the template shows them, or as text."""
    if conversation.generic:
        return results_as_text(calls_as_text(messages, written))
    if traits.calls is None:
        done = calls_as_text(messages, conversation.write)
    else:
        done = in_form(messages if traits.parallel else one_call_each(messages), traits.calls)
    if traits.results_key is not None:
        return results_with_calls(done, traits.results_key)
    if traits.results is None:
        return results_as_text(done)
    return [{**one, "role": traits.results} if one.get("role") == "tool" else one for one in done]


def _shaped(message: Message, traits: TemplateTraits) -> Message:
    """Thoughts under their key, content in its form."""
    rest = {key: value for key, value in message.items() if key != "thinking"}
    thinking: str = message.get("thinking") or ""
    if message.get("role") != "assistant" or traits.thinking is None:
        thinking = ""
    content = rest.get("content")
    if thinking and content and calls_of(message) and not traits.thinking_with_content:
        thinking, content = f"{thinking}\n\n{content}", ""
    if traits.parts and isinstance(content, str):
        content = [{"type": "text", "text": content}] if content else []
    if thinking and traits.thinking == IN_CONTENT:
        texts: list[Any] = [{"type": "text", "text": content}] if isinstance(content, str) else content or []
        content = [{"type": "thinking", "thinking": thinking}, *texts]
    elif thinking and traits.thinking is not None:
        rest[traits.thinking] = thinking
    return {**rest, "content": content}
