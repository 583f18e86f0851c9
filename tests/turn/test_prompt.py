"""From conversations to token ids: tools, thinking, and cuts that keep calls with their results."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
from support.thinking_template import THINKING_TOOLS

from agentkit_server.errors import BadRequest, PromptTooLong
from agentkit_server.residency.types import LoadOptions
from agentkit_server.turn.prompt import Encoded, Encoder, with_model_messages
from agentkit_server.turn.run import Backend, resolve
from agentkit_server.turn.truncate import Fitted, Space, fit
from agentkit_server.turn.types import Chat, Text, Tokens, Tool

pytestmark = pytest.mark.anyio

TOOL = Tool(name="look", description="Looks", parameters={"type": "object", "properties": {}})


def user(content: str) -> dict[str, Any]:
    return {"role": "user", "content": content}


def system(content: str) -> dict[str, Any]:
    return {"role": "system", "content": content}


def asked(id: str) -> dict[str, Any]:
    call = {"id": id, "type": "function", "function": {"name": "look", "arguments": {"at": id}}}
    return {"role": "assistant", "content": "", "tool_calls": [call]}


def told(id: str, length: int = 20) -> dict[str, Any]:
    return {"role": "tool", "tool_call_id": id, "name": "look", "content": f"R{id}" + "." * length}


async def encoded(backend: Backend, chat: Chat | Text | Tokens, **fields: Any) -> tuple[str, Encoded]:
    model = await resolve(backend, "tiny")
    async with backend.residency.lease(model, LoadOptions(), None) as lease:
        done = await Encoder(model, lease.runner, **fields).encode(chat)
        return await lease.runner.detokenize(done.tokens), done


async def fitted(backend: Backend, chat: Chat, room: int, **fields: Any) -> tuple[str, Fitted]:
    model = await resolve(backend, "tiny")
    async with backend.residency.lease(model, LoadOptions(), None) as lease:
        encoder = Encoder(model, lease.runner, **fields)
        done = await fit(encoder, chat, Space(room, 1, 0), truncate=True)
        return await lease.runner.detokenize(done.tokens), done


def thinking(*messages: dict[str, Any], **fields: Any) -> Chat:
    return Chat(messages, template=THINKING_TOOLS, **fields)


async def test_tools_and_earlier_calls_go_through_the_template(backend: Backend) -> None:
    text, _ = await encoded(backend, thinking(user("q"), asked("1"), told("1", 0)), tools=(TOOL,))
    assert '<tools>\n{"type": "function", "function": {"name": "look"' in text
    assert '{"name": "look", "arguments": {"at": "1"}}' in text
    assert "<tool_response>\nR1\n</tool_response>" in text


async def test_a_template_without_tools_gets_them_in_the_system_message(backend: Backend) -> None:
    text, _ = await encoded(backend, Chat((system("S"), user("q"), asked("1"), told("1", 0))), tools=(TOOL,))
    assert text.startswith("<|im_start|>system\nS\n\nYou can call tools.")
    assert '<tool_call>\n{"name": "look", "arguments": {"at": "1"}}\n</tool_call>' in text
    assert "<|im_start|>user\n<tool_response>\nR1\n</tool_response>" in text


@pytest.mark.parametrize(("think", "end"), [(None, "none"), (True, "none"), (False, "closed")])
async def test_thinking_reaches_the_template_and_its_end_is_told(
    backend: Backend, think: bool | None, end: str
) -> None:
    _, done = await encoded(backend, thinking(user("q")), think=think)
    assert done.thinking == end


async def test_a_block_that_the_template_opens_itself_is_told(backend: Backend) -> None:
    opens = THINKING_TOOLS.replace("<think>\\n\\n</think>\\n\\n'", "<think>\\n'").replace(
        "enable_thinking is defined and not enable_thinking", "true"
    )
    _, done = await encoded(backend, Chat((user("q"),), template=opens))
    assert done.thinking == "open"


async def test_the_callers_own_template_variables_win(backend: Backend) -> None:
    chat = thinking(user("q"), template_kwargs={"enable_thinking": False})
    _, done = await encoded(backend, chat, think=True)
    assert done.thinking == "closed"


async def test_raw_text_and_tokens_have_no_thoughts(backend: Backend) -> None:
    for prompt in (Text("<think>"), Tokens((3, 4)), Tokens((3,), Text("<think>"))):
        _, done = await encoded(backend, prompt)
        assert done.thinking == "none"


async def test_an_unfinished_message_with_calls_cannot_be_continued(backend: Backend) -> None:
    with pytest.raises(BadRequest, match="tool calls, so that it cannot be continued"):
        await encoded(backend, thinking(user("q"), asked("1"), continue_last=True))


async def test_a_developer_message_replaces_the_models_own_system_message(backend: Backend) -> None:
    model = replace(await resolve(backend, "tiny"), system="OWN")
    developer = Chat(({"role": "developer", "content": "D"}, user("q")))
    assert with_model_messages(developer, model) == developer


async def test_a_cut_keeps_calls_with_their_results(backend: Backend) -> None:
    old = [message for id in "123" for message in (user(f"Q{id}"), asked(id), told(id, 100))]
    chat = thinking(*old, user("Q4"), asked("4"), told("4"))
    whole, _ = await encoded(backend, chat)
    text, done = await fitted(backend, chat, len(whole) // 2)
    assert 0 < done.cut_messages < 9 and done.cut_messages % 3 == 0
    for id in "1234":
        assert (f"Q{id}" in text) == (f'"at": "{id}"' in text) == (f"R{id}" in text)
    assert "R4" in text


async def test_a_long_run_loses_its_oldest_rounds_and_keeps_the_question(backend: Backend) -> None:
    rounds = [message for id in "123456" for message in (asked(id), told(id, 100))]
    chat = thinking(system("RULES"), user("QUESTION"), *rounds)
    whole, _ = await encoded(backend, chat)
    text, done = await fitted(backend, chat, len(whole) // 2)
    assert done.cut_messages > 0 and done.cut_messages % 2 == 0
    assert "RULES" in text and "QUESTION" in text and "R6" in text and "R1" not in text
    for id in "123456":
        assert (f'"at": "{id}"' in text) == (f"R{id}" in text)


async def test_a_newest_round_that_does_not_fit_is_too_long(backend: Backend) -> None:
    with pytest.raises(PromptTooLong, match="cannot be truncated further"):
        await fitted(backend, thinking(user("q"), asked("1"), told("1"), asked("2"), told("2", 900)), 300)


async def test_earlier_calls_stand_in_the_content_as_the_model_writes_them(backend: Backend) -> None:
    source = (
        "{{ '<|tool_list_start|>' + (tools | tojson) if tools }}"
        "{% for m in messages %}[{{ m.role }}:{{ m.content }}]{% endfor %}"
    )
    chat = Chat((user("q"), asked("1"), told("1", 0)), template=source)
    text, _ = await encoded(backend, chat, tools=(TOOL,))
    # The tool of today has no parameter `at`; the call of then had.
    assert '[assistant:<|tool_call_start|>[look(at="1")]<|tool_call_end|>][tool:R1]' in text.replace("'", '"')
