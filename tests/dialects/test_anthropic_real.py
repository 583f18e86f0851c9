"""The published `anthropic` client on the real smollm2: what is about tokens."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
from anthropic import Anthropic
from jsonschema import Draft202012Validator
from pydantic import BaseModel
from support import smollm2

CITY = {
    "type": "object",
    "properties": {"city": {"type": "string"}, "days": {"type": "integer", "minimum": 1, "maximum": 9}},
    "required": ["city", "days"],
    "additionalProperties": False,
}
WEATHER: Any = {"name": "weather", "description": "How the weather is.", "input_schema": CITY}
ASKED: Any = [{"role": "user", "content": "How is the weather in Oslo for the next two days?"}]
CALLED: Any = [
    *ASKED,
    {
        "role": "assistant",
        "content": [
            {"type": "tool_use", "id": "toolu_1", "name": "weather", "input": {"city": "Oslo", "days": 2}}
        ],
    },
    {"role": "user", "content": [{"type": "tool_result", "tool_use_id": "toolu_1", "content": "mild"}]},
]
SCHEMA: Any = {"type": "object", "properties": {"a": {"type": "integer"}}, "required": ["a"]}


@pytest.fixture(scope="module")
def client() -> Iterator[Anthropic]:
    with (
        smollm2.serving(smollm2.models_folder(), AGENTKIT_CONTEXT_LENGTH="2048") as url,
        Anthropic(base_url=url, api_key="unused", max_retries=0, timeout=300) as client,
    ):
        yield client


@pytest.mark.parametrize(
    "prompt",
    [
        {"messages": ASKED},
        {"messages": ASKED, "system": "Be brief."},
        {"messages": ASKED, "tools": [WEATHER]},
        {"messages": CALLED, "tools": [WEATHER]},
        {"messages": [*ASKED, {"role": "assistant", "content": "It is"}]},
        {"messages": ASKED, "thinking": {"type": "adaptive"}},
        {"messages": ASKED, "output_config": {"format": {"type": "json_schema", "schema": SCHEMA}}},
    ],
    ids=lambda prompt: "+".join(prompt),
)
def test_count_tokens_says_what_a_message_will_report(client: Anthropic, prompt: dict[str, Any]) -> None:
    counted = client.messages.count_tokens(model="smollm2", **prompt).input_tokens
    used = client.messages.create(model="smollm2", max_tokens=8, **prompt).usage
    assert used.input_tokens + (used.cache_read_input_tokens or 0) == counted


def test_a_conversation_reads_only_what_is_new(client: Anthropic) -> None:
    messages: Any = [{"role": "user", "content": "Tell me of the sea. " * 20}]
    first = client.messages.create(model="smollm2", max_tokens=20, messages=messages)
    before = first.usage.input_tokens + (first.usage.cache_read_input_tokens or 0)
    messages += [
        {"role": "assistant", "content": first.content},
        {"role": "user", "content": "And of the sky?"},
    ]
    again = client.messages.create(model="smollm2", max_tokens=20, messages=messages)
    assert (again.usage.cache_read_input_tokens or 0) >= before
    assert again.usage.input_tokens < 40


def test_a_prompt_can_be_computed_before_it_is_needed(client: Anthropic) -> None:
    messages: Any = [{"role": "user", "content": "Tell me of the moon. " * 20}]
    warmed = client.messages.create(model="smollm2", max_tokens=0, messages=messages)
    assert (warmed.content, warmed.stop_reason, warmed.usage.output_tokens) == ([], "max_tokens", 0)
    used = client.messages.create(model="smollm2", max_tokens=5, messages=messages).usage
    assert used.input_tokens == 1


def test_a_call_that_must_come_is_valid_and_streams(client: Anthropic) -> None:
    with client.messages.stream(
        model="smollm2", max_tokens=300, messages=ASKED, tools=[WEATHER], tool_choice={"type": "any"}
    ) as stream:
        message = stream.get_final_message()
    calls = [block for block in message.content if block.type == "tool_use"]
    assert calls and message.stop_reason == "tool_use"
    for call in calls:
        Draft202012Validator(CITY).validate(call.input)


def test_an_answer_keeps_to_its_schema(client: Anthropic) -> None:
    class Sum(BaseModel):
        total: int

    message = client.messages.parse(
        model="smollm2",
        max_tokens=100,
        messages=[{"role": "user", "content": "2 + 2?"}],
        output_format=Sum,
    )
    assert isinstance(message.parsed_output, Sum)


def test_an_answer_ends_at_its_limit(client: Anthropic) -> None:
    message = client.messages.create(
        model="smollm2", max_tokens=5, messages=ASKED, extra_body={"temperature": 0}
    )
    assert (message.stop_reason, message.usage.output_tokens) == ("max_tokens", 5)
