"""Messages of the Anthropic dialect in the form that conversations have: the results in a user's message come
as messages of their own, the thoughts and calls in an assistant's as fields of it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from agentkit_server.dialects.anthropic_blocks import (
    SEPARATOR,
    AnyBlock,
    Document,
    Fallback,
    Message,
    RedactedThought,
    Reference,
    SearchResult,
    Text,
    Thought,
    ToolReference,
    ToolResult,
    ToolUse,
    misplaced,
    result_text,
    text_of,
)
from agentkit_server.dialects.anthropic_thinking import Thoughts
from agentkit_server.errors import BadRequest

BILLING = "x-anthropic-billing-header:"
"""How a system block begins that Claude Code writes for Anthropic's billing. It differs from request to
request, and a model that read it would have to read everything behind it anew."""


def conversation(
    system: str | Sequence[Text] | None, messages: Sequence[Message], refer: Reference
) -> tuple[dict[str, Any], ...]:
    """`system` and `messages` as conversations have them. `refer`: what makes a tool known that a result
    refers to.

    Raises BadRequest for blocks that have no place where they stand, and for thoughts that were changed.
    """
    done = _system([system or ""] if isinstance(system, str | None) else [block.text for block in system])
    reader = Thoughts()
    newest = max((at for at, message in enumerate(messages) if message.role == "user"), default=-1)
    for at, message in enumerate(messages):
        where = f"messages[{at}].content"
        _refuse_fields(message, f"messages[{at}]")
        match message.role:
            case "assistant":
                done.append(_assistant(message.content, where, reader))
            case "user":
                done += _user(message.content, where, refer)
            case "system" if message.clear_at != "next_user_message" or at > newest:
                texts = (
                    _text(block, "system", f"{where}[{number}]")
                    for number, block in enumerate(_blocks(message.content))
                )
                done += _system([*texts])
            case _:
                pass
    return tuple(done)


def _system(texts: Sequence[str]) -> list[dict[str, Any]]:
    text = SEPARATOR.join(text for text in texts if not text.startswith(BILLING))
    return [{"role": "system", "content": text}] if text else []


def _refuse_fields(message: Message, where: str) -> None:
    """Raises BadRequest for what only a system message can have."""
    for name, value in (("clear_at", message.clear_at), ("output_config", message.output_config)):
        if value is not None and message.role != "system":
            raise BadRequest(
                f"{where}.{name} is of a message of role {message.role!r}; only one of role 'system' has it",
                param=f"{where}.{name}",
            )


def _user(content: str | list[AnyBlock], where: str, refer: Reference) -> list[dict[str, Any]]:
    """A message of the user for each run of blocks without results, and one of a tool for each result."""
    if not content:
        raise BadRequest(f"{where} is empty; send at least one block", param=where)
    done: list[dict[str, Any]] = []
    for at, block in enumerate(_blocks(content)):
        place = f"{where}[{at}]"
        if isinstance(block, ToolResult):
            text = result_text(block, place, refer)
            done.append({"role": "tool", "tool_call_id": block.tool_use_id, "content": text})
            continue
        text = _text(block, "user", place, refer)
        if done and done[-1]["role"] == "user":
            done[-1]["content"] += SEPARATOR + text
        else:
            done.append({"role": "user", "content": text})
    return done


def _assistant(content: str | list[AnyBlock], where: str, reader: Thoughts) -> dict[str, Any]:
    texts: list[str] = []
    thoughts: list[str] = []
    calls: list[dict[str, Any]] = []
    for at, block in enumerate(_blocks(content)):
        place = f"{where}[{at}]"
        match block:
            case Thought(thinking=thinking, signature=signature):
                thoughts.append(reader.read(thinking, signature or "", place))
            case RedactedThought() | Fallback():
                pass
            case ToolUse(id=id, name=name, input=given):
                function = {"name": name, "arguments": given}
                calls.append({"id": id, "type": "function", "function": function})
            case _:
                texts.append(_text(block, "assistant", place))
    done: dict[str, Any] = {"role": "assistant", "content": SEPARATOR.join(texts)}
    if any(thoughts):
        done["thinking"] = SEPARATOR.join(thoughts)
    return {**done, "tool_calls": calls} if calls else done


def _blocks(content: str | list[AnyBlock]) -> list[AnyBlock]:
    return [Text(text=content)] if isinstance(content, str) else content


def _text(block: AnyBlock, role: str, where: str, refer: Reference | None = None) -> str:
    """What the model reads of a block that is no result, call or thought."""
    if isinstance(block, Text):
        return block.text
    if refer is None or not isinstance(block, Document | SearchResult | ToolReference):
        raise misplaced(block, role, where)
    return text_of(block, where, refer)
