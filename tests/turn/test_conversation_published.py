"""Earlier calls, results, thoughts and system messages through every published chat template."""

from __future__ import annotations

import json
from typing import Any

import pytest
from support.chat_templates import parameters

from agentkit_server.turn.conversation.conversation import Conversation, prepare
from agentkit_server.turn.conversation.traits import Think
from agentkit_server.turn.template import ChatTemplate
from agentkit_server.turn.types import Tool

pytestmark = pytest.mark.anyio

TOOL = Tool(
    name="get_weather",
    description="Weather of a city",
    parameters={
        "type": "object",
        "properties": {"city": {"type": "string", "description": "Its name"}},
        "required": ["city"],
    },
)
ARGUMENTS: dict[str, Any] = {"city": 'Zür"ich', "opts": {"unit": "°C", "deep": [1, True, {"x": "<y>"}]}}
IDS = [f"call_{letter * 24}" for letter in "ABC"]


def call(id: str, arguments: dict[str, Any]) -> dict[str, Any]:
    return {"id": id, "type": "function", "function": {"name": "get_weather", "arguments": arguments}}


def result(id: str, content: str) -> dict[str, Any]:
    return {"role": "tool", "tool_call_id": id, "name": "get_weather", "content": content}


TALK: list[dict[str, Any]] = [
    {"role": "developer", "content": "DEVELOPER-TEXT"},
    {"role": "user", "content": "ASK-ONE"},
    {"role": "assistant", "content": "", "thinking": "OLD-THOUGHT", "tool_calls": [call(IDS[0], ARGUMENTS)]},
    result(IDS[0], '{"temp": "RESULT-ONE"}'),
    {"role": "assistant", "content": "ANSWER-ONE"},
    {"role": "system", "content": "LATE-SYSTEM"},
    {"role": "user", "content": "ASK-TWO"},
    {
        "role": "assistant",
        "content": "PREAMBLE",
        "thinking": "NEW-THOUGHT",
        "tool_calls": [call(IDS[1], ARGUMENTS), call(IDS[2], {"city": "Oslo"})],
    },
    result(IDS[2], "RESULT-OSLO"),
    result(IDS[1], "RESULT-ZURICH"),
]
SHOWN = [
    "DEVELOPER-TEXT",
    "ASK-ONE",
    "RESULT-ONE",
    "ANSWER-ONE",
    "LATE-SYSTEM",
    "ASK-TWO",
    "RESULT-ZURICH",
    "RESULT-OSLO",
]

OWN_FORM = {
    "ByteDance-Seed-OSS",
    "GLM-4.6",
    "GLM-4.7-Flash",
    "Kimi-K3",
    "LFM2.5-8B-A1B",
    "MiniMax-M2",
    "MiniMax-M3",
    "NVIDIA-Nemotron-3-Nano-30B-A3B-BF16",
    "Qwen3-Coder",
    "Qwen3.5-4B",
    "Spark2.5",
    "StepFun3.5-Flash",
    "deepseek-ai-DeepSeek-V3.2",
    "deepseek-ai-DeepSeek-V4-Flash-0731",
    "deepseek-ai-DeepSeek-V4",
    "google-gemma-4-31B-it-interleaved",
    "google-gemma-4-31B-it",
    "inclusionai-ling-3.0-flash",
    "muse-glimmer",
    "openbmb-MiniCPM5-1B",
    "poolside-Laguna-S-2.1",
    "poolside-Laguna-XS-2.1",
    "poolside-Laguna-XS.2",
    "tencent-Hy3",
}
"""Arguments are written as parameters of some kind; everywhere else as one JSON object."""
OWN_NESTED_FORM = {"MiniMax-M3", "google-gemma-4-31B-it-interleaved", "google-gemma-4-31B-it"}
"""Nested values as well; elsewhere they are JSON."""
KEEP_THOUGHTS = (OWN_FORM - {"Qwen3-Coder"}) | {
    "Bielik-11B-v3.0-Instruct",
    "Cohere2MoE",
    "CohereForAI-c4ai-command-r7b-12-2024-tool_use",
    "Kimi-K2-Thinking",
    "Qwen-Qwen3-0.6B",
    "Reka-Edge",
    "mistralai-Ministral-3-14B-Reasoning-2512",
    "openai-gpt-oss-120b",
    "upstage-Solar-Open-100B",
}
"""Thoughts of the running turn are shown; elsewhere the template drops them, or its model has none."""
KEEP_IDS = {"Apriel-1.6-15b-Thinker-fixed", "unsloth-Apriel-1.5", "upstage-Solar-Open-100B"}
DROP_PREAMBLE = {
    "Cohere2MoE",
    "CohereForAI-c4ai-command-r7b-12-2024-tool_use",
    "MiniMax-M1",
    "Mistral-Small-3.2-24B-Instruct-2506",
    "NousResearch-Hermes-2-Pro-Llama-3-8B-tool_use",
    "NousResearch-Hermes-3-Llama-3.1-8B-tool_use",
    "meta-llama-Llama-3.1-8B-Instruct",
    "meta-llama-Llama-3.2-3B-Instruct",
    "meta-llama-Llama-3.3-70B-Instruct",
    "mistralai-Mistral-Nemo-Instruct-2407",
    "muse-glimmer",
    "upstage-Solar-Open-100B",
}
"""Text beside calls is not shown: these templates' authors leave it out."""
CALLS_IN_CONTENT = {
    "HuggingFaceTB-SmolLM3-3B",
    "LFM2-8B-A1B",
    "LFM2.5-Instruct",
    "google-gemma-2-2b-it",
    "ibm-granite-granite-3.3-2B-Instruct",
    "llama-cpp-rwkv-world",
    "microsoft-Phi-3.5-mini-instruct",
}
"""The template has no words for earlier calls."""
NO_TOOLS = {
    "HuggingFaceTB-SmolLM3-3B",
    "deepseek-ai-DeepSeek-R1-Distill-Llama-8B",
    "google-gemma-2-2b-it",
    "deepseek-ai-DeepSeek-R1-Distill-Qwen-32B",
    "deepseek-ai-DeepSeek-V3.1",
    "llama-cpp-deepseek-r1",
    "llama-cpp-rwkv-world",
    "microsoft-Phi-3.5-mini-instruct",
}
"""The template shows no tools: they are listed in the system message."""
ONE_CALL_A_MESSAGE = {
    "GigaChat3-10B-A1.8B",
    "GigaChat3.1-10B-A1.8B",
    "meta-llama-Llama-3.1-8B-Instruct",
    "openai-gpt-oss-120b",
    "meta-llama-Llama-3.2-3B-Instruct",
    "meta-llama-Llama-3.3-70B-Instruct",
}
"""These refuse or drop a second call: parallel calls are written one after the other."""
LEVELS = {
    "Kimi-K3",
    "deepseek-ai-DeepSeek-V4-Flash-0731",
    "deepseek-ai-DeepSeek-V4",
    "muse-glimmer",
    "openai-gpt-oss-120b",
    "tencent-Hy3",
    "upstage-Solar-Open-100B",
}
SWITCHED = {
    "Apertus-8B-Instruct",
    "Bielik-11B-v3.0-Instruct",
    "ByteDance-Seed-OSS",
    "Cohere2MoE",
    "CohereForAI-c4ai-command-r7b-12-2024-tool_use",
    "GLM-4.6",
    "GLM-4.7-Flash",
    "HuggingFaceTB-SmolLM3-3B",
    "Kimi-K3",
    "MiniMax-M3",
    "NVIDIA-Nemotron-3-Nano-30B-A3B-BF16",
    "NVIDIA-Nemotron-Nano-v2",
    "Qwen-QwQ-32B",
    "Qwen-Qwen3-0.6B",
    "Qwen3.5-4B",
    "Reka-Edge",
    "Spark2.5",
    "deepseek-ai-DeepSeek-R1-Distill-Qwen-32B",
    "deepseek-ai-DeepSeek-V3.1",
    "deepseek-ai-DeepSeek-V3.2",
    "deepseek-ai-DeepSeek-V4-Flash-0731",
    "deepseek-ai-DeepSeek-V4",
    "google-gemma-4-31B-it-interleaved",
    "google-gemma-4-31B-it",
    "ibm-granite-granite-3.3-2B-Instruct",
    "inclusionai-ling-3.0-flash",
    "llama-cpp-rwkv-world",
    "openbmb-MiniCPM5-1B",
    "poolside-Laguna-S-2.1",
    "poolside-Laguna-XS-2.1",
    "poolside-Laguna-XS.2",
    "tencent-Hy3",
    "upstage-Solar-Open-100B",
}
"""Thinking is turned on and off by the template itself (granite only in conversations without tools)."""


async def render(
    name: str, source: str, messages: list[dict[str, Any]], *, think: Think = None, tools: bool = True
) -> str:
    template = ChatTemplate(
        model=name, source=source, special_tokens={"bos_token": "<s>", "eos_token": "</s>"}
    )
    conversation = Conversation(messages=messages, tools=(TOOL,) if tools else (), think=think)
    prepared = prepare(conversation, await template.traits())
    return await template.render(prepared.messages, **prepared.variables)


def objects(text: str) -> list[Any]:
    """Every JSON object that begins anywhere in `text`."""
    found: list[Any] = []
    for at, letter in enumerate(text):
        if letter == "{":
            try:
                found.append(json.JSONDecoder().raw_decode(text, at)[0])
            except ValueError:
                continue
    return found


@pytest.mark.parametrize(("name", "source"), parameters())
async def test_a_conversation_with_calls_is_shown_whole_and_once(name: str, source: str) -> None:
    text = await render(name, source, TALK, think=True)
    assert {word: text.count(word) for word in SHOWN} == dict.fromkeys(SHOWN, 1)
    moved = {"DEVELOPER-TEXT", "LATE-SYSTEM"}
    places = [text.index(word) for word in SHOWN if word not in moved]
    assert places == sorted(places)
    assert text.count("get_weather") >= 4
    found = objects(text)
    if name in OWN_FORM:
        assert text.count('Zür"ich') == 2 and text.count("Oslo") == 1
        assert name in OWN_NESTED_FORM or found.count(ARGUMENTS["opts"]) == 2
    else:
        assert found.count(ARGUMENTS) == 2 and found.count({"city": "Oslo"}) == 1
    assert ("NEW-THOUGHT" in text) == (name in KEEP_THOUGHTS)
    assert all((id in text) == (name in KEEP_IDS) for id in IDS)
    assert ("PREAMBLE" in text) == (name not in DROP_PREAMBLE)
    assert "Weather of a city" in text


@pytest.mark.parametrize(("name", "source"), parameters())
async def test_what_a_template_takes_is_found_out(name: str, source: str) -> None:
    traits = await ChatTemplate(model=name, source=source).traits()
    assert (traits.calls is None) == (name in CALLS_IN_CONTENT)
    assert (traits.tools is None) == (name in NO_TOOLS)
    assert traits.parallel == (name not in ONE_CALL_A_MESSAGE)
    assert traits.can_switch(False) == (name in SWITCHED)
    assert any("high" in switch.values for switch in traits.switches) == (name in LEVELS)


@pytest.mark.parametrize(("name", "source"), parameters())
async def test_thinking_is_turned_on_and_off_where_there_is_a_switch(name: str, source: str) -> None:
    asked = [{"role": "user", "content": "ASK"}]
    on, off = [await render(name, source, asked, think=think, tools=False) for think in (True, False)]
    assert (on != off) == (name in SWITCHED)
    low, top = [await render(name, source, asked, think=level, tools=False) for level in ("low", "max")]
    assert (low != top) == (name in LEVELS)


@pytest.mark.parametrize(("name", "source"), parameters())
async def test_instructions_hold_while_calls_are_being_made(name: str, source: str) -> None:
    text = await render(name, source, TALK[:4])
    assert text.count("DEVELOPER-TEXT") == 1 and text.count("RESULT-ONE") == 1
