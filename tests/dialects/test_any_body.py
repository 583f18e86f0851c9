"""Whatever JSON stands in a field that says how to answer, a request is read or refused; nothing breaks."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from agentkit_server.dialects.native_chat import chat_turn as native_turn
from agentkit_server.dialects.native_options import run_options
from agentkit_server.dialects.native_types import ChatBody as NativeBody
from agentkit_server.dialects.openai_chat import ChatBody, chat_turn
from agentkit_server.dialects.openai_parameters import parse
from agentkit_server.errors import BadRequest, NotBuiltYet
from agentkit_server.turn.types import Turn

SHAPES = [
    "type",
    "function",
    "name",
    "parameters",
    "object",
    "json",
    "json_schema",
    "schema",
    "regex",
    "choice",
]
CHOICES = ["auto", "required", "allowed_tools", "mode", "tools", "effort", "high", "enable_thinking", "", "{"]
MESSAGES = ["id", "arguments", "tool", "role", "assistant", "content", "tool_calls", "text", "\x00"]
WORDS = st.sampled_from([*SHAPES, *CHOICES, *MESSAGES])
SCALARS = st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | WORDS
VALUES = st.recursive(
    SCALARS,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(WORDS, inner, max_size=4),
    max_leaves=8,
)
SAID = [{"role": "user", "content": "hi"}]
OPENAI = ["tools", "tool_choice", "parallel_tool_calls", "functions", "function_call", "response_format"]
OPENAI += ["structured_outputs", "guided_json", "guided_choice", "regex", "ebnf", "compact"]
OPENAI += ["reasoning_effort", "reasoning", "thinking_budget", "chat_template_kwargs"]
NATIVE = ["tools", "tool_choice", "parallel_tool_calls", "format", "compact", "think", "thinking_budget"]


def read_native(body: dict[str, Any]) -> Turn:
    try:
        read = msgspec.convert(body, NativeBody)
    except msgspec.ValidationError as error:
        raise BadRequest(str(error)) from None
    return native_turn(read, run_options(read))


@pytest.mark.parametrize("name", OPENAI)
@given(value=VALUES)
def test_a_field_of_openais_is_read_or_refused(name: str, value: Any) -> None:
    try:
        turn = chat_turn(parse({"model": "m", "messages": SAID, name: value}, ChatBody))
    except (BadRequest, NotBuiltYet) as refused:
        assert refused.param is not None and refused.message
    else:
        assert turn.model == "m"


@pytest.mark.parametrize("name", NATIVE)
@given(value=VALUES)
def test_a_native_field_is_read_or_refused(name: str, value: Any) -> None:
    try:
        turn = read_native({"model": "m", "messages": SAID, name: value})
    except (BadRequest, NotBuiltYet) as refused:
        assert refused.message
    else:
        assert turn.model == "m"


@given(
    message=st.dictionaries(WORDS, VALUES, max_size=5), role=st.sampled_from(["assistant", "tool", "user"])
)
def test_a_message_is_read_or_refused_alike(message: dict[str, Any], role: str) -> None:
    given = {**message, "role": role}
    for read in (lambda body: chat_turn(parse(body, ChatBody)), read_native):
        try:
            turn = read({"model": "m", "messages": [given]})
        except (BadRequest, NotBuiltYet):
            continue
        [said] = turn.prompt.messages  # pyright: ignore
        assert isinstance(said["content"], str)
        for call in said.get("tool_calls", ()):
            assert isinstance(call["id"], str)
            assert isinstance(call["function"]["name"], str)
            assert isinstance(call["function"]["arguments"], dict | str)
