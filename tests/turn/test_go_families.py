"""Conversations through the Go templates of Ollama's families: the prompt is the one that the family's format
prescribes."""

from __future__ import annotations

from datetime import date
from pathlib import Path
from typing import Any

import pytest
from support import go_families as families
from support.go_models import Server, go_server, go_store

from agentkit_server.runner.scripted import ScriptedLauncher

pytestmark = pytest.mark.anyio

TOOL: dict[str, Any] = {
    "type": "function",
    "function": {
        "name": "get_weather",
        "description": "Tells the weather",
        "parameters": {
            "properties": {"city": {"description": "Where <exactly>", "type": "string"}},
            "required": ["city"],
            "type": "object",
        },
    },
}
PARAMETERS = (
    '{"type":"object","required":["city"],"properties":'
    '{"city":{"type":"string","description":"Where <exactly>"}}}'
)
FUNCTION = f'{{"name":"get_weather","description":"Tells the weather","parameters":{PARAMETERS}}}'
WRAPPED = f'{{"type":"function","function":{FUNCTION}}}'


def said(role: str, content: str, **more: Any) -> dict[str, Any]:
    return {"role": role, "content": content, **more}


def called(*cities: str, content: str = "") -> dict[str, Any]:
    calls = [{"function": {"name": "get_weather", "arguments": {"city": city}}} for city in cities]
    return said("assistant", content, tool_calls=calls)


def told(content: str) -> dict[str, Any]:
    return said("tool", content, tool_name="get_weather")


TALK = (said("system", "Be brief."), said("user", "Hi"), said("assistant", "Hello"), said("user", "So?"))
ROUND = (
    said("system", "Be brief."),
    said("user", "Rain?"),
    called("Rome", "Oslo"),
    told("sun"),
    told("rain"),
)


async def serve(tmp_path: Path, source: str, **gguf: Any) -> Any:
    return go_server(go_store(tmp_path, {"m": source}, **gguf), ScriptedLauncher("Well."))


async def prompt(tmp_path: Path, source: str, *messages: dict[str, Any], **fields: Any) -> str:
    """The prompt of a chat with a model that has this template."""
    server: Server
    async with await serve(tmp_path, source) as server:
        answer = await server.chat("m", *messages, **fields)
        assert answer.get("message", answer)["content"] == "Well."
        return server.prompt


PLAIN = {
    "chatml": (
        families.CHATML,
        "<|im_start|>system\nBe brief.<|im_end|>\n<|im_start|>user\nHi<|im_end|>\n"
        "<|im_start|>assistant\nHello<|im_end|>\n<|im_start|>user\nSo?<|im_end|>\n<|im_start|>assistant\n",
    ),
    "chatml, legacy": (
        families.CHATML_LEGACY,
        "<|im_start|>system\nBe brief.<|im_end|>\n<|im_start|>user\nHi<|im_end|>\n"
        "<|im_start|>assistant\nHello<|im_end|>\n<|im_start|>user\nSo?<|im_end|>\n<|im_start|>assistant\n",
    ),
    "llama2": (
        families.LLAMA_2,
        "[INST] <<SYS>>\nBe brief.\n<</SYS>>\n\nHi [/INST] Hello</s>[INST] So? [/INST] ",
    ),
    "llama3": (
        families.LLAMA_3,
        "<|start_header_id|>system<|end_header_id|>\n\nBe brief.<|eot_id|>"
        "<|start_header_id|>user<|end_header_id|>\n\nHi<|eot_id|>"
        "<|start_header_id|>assistant<|end_header_id|>\n\nHello<|eot_id|>"
        "<|start_header_id|>user<|end_header_id|>\n\nSo?<|eot_id|>"
        "<|start_header_id|>assistant<|end_header_id|>\n\n",
    ),
    "mistral": (
        families.MISTRAL,
        "[INST] Hi[/INST] Hello</s>[INST] Be brief.\n\nSo?[/INST]",
    ),
    "qwen2.5": (
        families.QWEN_2_5,
        "<|im_start|>system\nBe brief.<|im_end|>\n<|im_start|>user\nHi<|im_end|>\n"
        "<|im_start|>assistant\nHello<|im_end|>\n<|im_start|>user\nSo?<|im_end|>\n<|im_start|>assistant\n",
    ),
    "qwen3": (
        families.QWEN_3,
        "<|im_start|>system\nBe brief.<|im_end|>\n<|im_start|>user\nHi<|im_end|>\n<|im_start|>assistant\n"
        "Hello<|im_end|>\n<|im_start|>user\nSo? /think<|im_end|>\n<|im_start|>assistant\n",
    ),
    "command-r": (
        families.COMMAND_R,
        "<|START_OF_TURN_TOKEN|><|SYSTEM_TOKEN|>Be brief.<|END_OF_TURN_TOKEN|>"
        "<|START_OF_TURN_TOKEN|><|USER_TOKEN|>Hi<|END_OF_TURN_TOKEN|>"
        "<|START_OF_TURN_TOKEN|><|CHATBOT_TOKEN|>Hello<|END_OF_TURN_TOKEN|>"
        "<|START_OF_TURN_TOKEN|><|USER_TOKEN|>So?<|END_OF_TURN_TOKEN|>"
        "<|START_OF_TURN_TOKEN|><|CHATBOT_TOKEN|>",
    ),
    "gemma3": (
        families.GEMMA,
        "<start_of_turn>user\nBe brief.<end_of_turn>\n<start_of_turn>user\nHi<end_of_turn>\n"
        "<start_of_turn>model\nHello<end_of_turn>\n<start_of_turn>user\nSo?<end_of_turn>\n"
        "<start_of_turn>model\n",
    ),
    "gemma": (
        families.GEMMA_LEGACY,
        "<start_of_turn>user\nBe brief. Hi<end_of_turn>\n<start_of_turn>model\nHello<end_of_turn>\n"
        "<start_of_turn>user\nSo?<end_of_turn>\n<start_of_turn>model\n",
    ),
    "phi-3": (
        families.PHI_3,
        "<|system|>\nBe brief.<|end|>\n<|user|>\nHi<|end|>\n<|assistant|>\nHello<|end|>\n"
        "<|user|>\nSo?<|end|>\n<|assistant|>\n",
    ),
    "zephyr": (
        families.ZEPHYR,
        "<|system|>\nBe brief.</s>\n<|user|>\nHi</s>\n<|assistant|>\nHello<|user|>\nSo?</s>\n<|assistant|>\n",
    ),
    "alpaca": (
        families.ALPACA,
        "Be brief.\n\n### Instruction:\nHi\n\n### Response:\nHello\n\n"
        "### Instruction:\nSo?\n\n### Response:\n",
    ),
    "vicuna": (
        families.VICUNA,
        "Be brief.\n\nUSER: Hi\nASSISTANT: Hello</s>\nUSER: So?\nASSISTANT: ",
    ),
    "granite3": (
        families.GRANITE_3,
        "<|start_of_role|>system<|end_of_role|>Be brief.<|end_of_text|>\n"
        "<|start_of_role|>user<|end_of_role|>Hi<|end_of_text|>\n"
        "<|start_of_role|>assistant<|end_of_role|>Hello<|end_of_text|>\n"
        "<|start_of_role|>user<|end_of_role|>So?<|end_of_text|>\n<|start_of_role|>assistant<|end_of_role|>",
    ),
    "deepseek-r1": (
        families.DEEPSEEK_R1,
        "Be brief.<｜User｜>Hi<｜Assistant｜>Hello<｜end▁of▁sentence｜><｜User｜>So?<｜Assistant｜>",
    ),
    "codellama": (
        families.CODELLAMA,
        "[INST] <<SYS>>Be brief.<</SYS>>\n\nHi [/INST] Hello[INST] So? [/INST] ",
    ),
    "starcoder2": (
        families.STARCODER_2,
        # The template has a place for a system message beside a suffix only.
        "Be brief.\n\nHiHello<|endoftext|>So?",
    ),
    "qwen2.5-coder": (
        families.QWEN_CODER,
        "<|im_start|>system\nBe brief.<|im_end|>\n<|im_start|>user\nHi<|im_end|>\n"
        "<|im_start|>assistant\nHello<|im_end|>\n<|im_start|>user\nSo?<|im_end|>\n<|im_start|>assistant\n",
    ),
    "functionary": (
        families.FUNCTIONARY,
        "<|start_header_id|>system<|end_header_id|>\n\nBe brief.<|eot_id|>"
        "<|start_header_id|>user<|end_header_id|>\n\nHi<|eot_id|>"
        "<|start_header_id|>assistant<|end_header_id|>\n\nHello<|eot_id|>"
        "<|start_header_id|>user<|end_header_id|>\n\nSo?<|eot_id|>"
        "<|start_header_id|>assistant<|end_header_id|>\n\n",
    ),
    "solar": (
        families.SOLAR,
        "### System:\nBe brief.\n\n### User:\nHi\n\n### Assistant:\nHello</s>\n\n"
        "### User:\nSo?\n\n### Assistant:\n",
    ),
    "falcon": (
        families.FALCON,
        "System: Be brief.\nUser: Hi\nFalcon: Hello\nUser: So?\nFalcon: ",
    ),
    "openchat": (
        families.OPENCHAT,
        "Be brief.<|end_of_turn|>GPT4 Correct User: Hi<|end_of_turn|>GPT4 Correct Assistant: Hello"
        "<|end_of_turn|><|end_of_turn|>GPT4 Correct User: So?<|end_of_turn|>GPT4 Correct Assistant: ",
    ),
    "magicoder": (
        families.MAGICODER,
        "Be brief.\n\n@@ Instruction\nHi\n\n@@ Response\nHello\n@@ Instruction\nSo?\n\n@@ Response\n",
    ),
    "firefunction": (
        families.FIREFUNCTION,
        "<|start_header_id|>system<|end_header_id|>\nBe brief.<|eot_id|>"
        "<|start_header_id|>user<|end_header_id|>\n\nHi<|eot_id|>"
        "<|start_header_id|>assistant<|end_header_id|>\n\nHello<|eot_id|>"
        "<|start_header_id|>user<|end_header_id|>\n\nSo?<|eot_id|>"
        "<|start_header_id|>assistant<|end_header_id|>\n\n",
    ),
    "nemotron": (
        families.NEMOTRON,
        "<extra_id_0>System\nBe brief.\n<extra_id_1>User\nHi\n<extra_id_1>Assistant\nHello\n"
        "<extra_id_1>User\nSo?\n<extra_id_1>Assistant\n",
    ),
}


@pytest.mark.parametrize(("source", "expected"), PLAIN.values(), ids=PLAIN)
async def test_a_conversation_reads_as_the_family_was_trained(
    tmp_path: Path, source: str, expected: str
) -> None:
    assert await prompt(tmp_path, source, *TALK) == expected


async def test_gpt_oss_gets_date_level_and_channels(tmp_path: Path) -> None:
    head = (
        f"<|start|>system<|message|>You are a model.\nCurrent date: {date.today().isoformat()}\nReasoning: "
    )
    rest = (
        "<|end|><|start|>developer<|message|># Instructions\n\nBe brief.<|end|>"
        "<|start|>user<|message|>Hi<|end|>"
        "<|start|>assistant<|channel|>final<|message|>Hello<|end|><|start|>user<|message|>So?<|end|>"
        "<|start|>assistant"
    )
    server: Server
    async with await serve(tmp_path, families.HARMONY) as server:
        server.launcher.script = "<|channel|>final<|message|>Well."
        for think, level in ((None, "medium"), ("low", "low"), ("max", "high"), (False, "medium")):
            answer = await server.chat("m", *TALK, **({} if think is None else {"think": think}))
            assert answer["message"]["content"] == "Well."
            assert server.prompt == f"{head}{level}{rest}"


TOOLS = {
    "llama3": (
        families.LLAMA_3,
        "<|start_header_id|>system<|end_header_id|>\n\nBe brief.\n\n"
        "Results of functions are for you: use them to answer.<|eot_id|>"
        "<|start_header_id|>user<|end_header_id|>\n\nRain?<|eot_id|>"
        "<|start_header_id|>assistant<|end_header_id|>\n\n"
        '{"name": "get_weather", "parameters": {"city":"Rome"}}'
        '{"name": "get_weather", "parameters": {"city":"Oslo"}}<|eot_id|>'
        "<|start_header_id|>ipython<|end_header_id|>\n\nsun<|eot_id|>"
        "<|start_header_id|>ipython<|end_header_id|>\n\nrain<|eot_id|>"
        "<|start_header_id|>assistant<|end_header_id|>\n\n",
    ),
    "qwen2.5": (
        families.QWEN_2_5,
        "<|im_start|>system\nBe brief.\n\n# Tools\n\n<tools>\n"
        f'{{"type": "function", "function": {FUNCTION}}}\n</tools>\n\nA call is written so:\n<tool_call>\n'
        '{"name": its name, "arguments": its arguments}\n</tool_call><|im_end|>\n'
        "<|im_start|>user\nRain?<|im_end|>\n<|im_start|>assistant\n"
        '<tool_call>\n{"name": "get_weather", "arguments": {"city":"Rome"}}\n</tool_call>\n'
        '<tool_call>\n{"name": "get_weather", "arguments": {"city":"Oslo"}}\n</tool_call><|im_end|>\n'
        "<|im_start|>user\n<tool_response>\nsun\n</tool_response><|im_end|>\n"
        "<|im_start|>user\n<tool_response>\nrain\n</tool_response><|im_end|>\n<|im_start|>assistant\n",
    ),
    "mistral": (
        families.MISTRAL,
        "[INST] Be brief.\n\nRain?[/INST][TOOL_CALLS] ["
        '{"name": "get_weather", "arguments": {"city":"Rome"}}, '
        '{"name": "get_weather", "arguments": {"city":"Oslo"}}]</s>'
        '[TOOL_RESULTS] {"content": "sun"} [/TOOL_RESULTS][TOOL_RESULTS] {"content": "rain"} [/TOOL_RESULTS]',
    ),
    "command-r": (
        families.COMMAND_R,
        "<|START_OF_TURN_TOKEN|><|SYSTEM_TOKEN|>Be brief.\n\n## Available Tools\n\n```python\n"
        "def get_weather(city: string):\n    '''Tells the weather'''\n```\n\n"
        'Write \'Action:\' and a JSON list of "tool_name" and "parameters".<|END_OF_TURN_TOKEN|>'
        "<|START_OF_TURN_TOKEN|><|USER_TOKEN|>Rain?<|END_OF_TURN_TOKEN|>"
        "<|START_OF_TURN_TOKEN|><|CHATBOT_TOKEN|>Action: ```json\n[\n"
        '    {\n        "tool_name": "get_weather",\n        "parameters": {"city":"Rome"}\n    },\n'
        '    {\n        "tool_name": "get_weather",\n        "parameters": {"city":"Oslo"}\n    }\n]```'
        "<|END_OF_TURN_TOKEN|><|START_OF_TURN_TOKEN|><|SYSTEM_TOKEN|><results>\nsun</results>"
        "<|END_OF_TURN_TOKEN|><|START_OF_TURN_TOKEN|><|SYSTEM_TOKEN|><results>\nrain</results>"
        "<|END_OF_TURN_TOKEN|><|START_OF_TURN_TOKEN|><|CHATBOT_TOKEN|>",
    ),
    "granite3": (
        families.GRANITE_3,
        f"<|start_of_role|>available_tools<|end_of_role|>\n{WRAPPED}<|end_of_text|>\n"
        "<|start_of_role|>system<|end_of_role|>Be brief.<|end_of_text|>\n"
        "<|start_of_role|>user<|end_of_role|>Rain?<|end_of_text|>\n"
        "<|start_of_role|>assistant<|end_of_role|><|tool_call|>["
        '{"name": "get_weather", "arguments": {"city":"Rome"}}, '
        '{"name": "get_weather", "arguments": {"city":"Oslo"}}]<|end_of_text|>\n'
        "<|start_of_role|>tool_response<|end_of_role|>sun<|end_of_text|>\n"
        "<|start_of_role|>tool_response<|end_of_role|>rain<|end_of_text|>\n"
        "<|start_of_role|>assistant<|end_of_role|>",
    ),
    "functionary": (
        families.FUNCTIONARY,
        "<|start_header_id|>system<|end_header_id|>\n\nBe brief.<|eot_id|>"
        "<|start_header_id|>system<|end_header_id|>\n\n"
        f"Use the function 'get_weather' to: Tells the weather\n{FUNCTION}\n\n"
        "Write <function=its name>{arguments}</function><|eot_id|>"
        "<|start_header_id|>user<|end_header_id|>\n\nRain?<|eot_id|>"
        "<|start_header_id|>assistant<|end_header_id|>\n\n"
        '<function=get_weather>{"city":"Rome"}</function><function=get_weather>{"city":"Oslo"}</function>'
        "<|eot_id|><|start_header_id|>ipython<|end_header_id|>\n\nsun<|eot_id|>"
        "<|start_header_id|>ipython<|end_header_id|>\n\nrain<|eot_id|>"
        "<|start_header_id|>assistant<|end_header_id|>\n\n",
    ),
    "firefunction": (
        families.FIREFUNCTION,
        f"<|start_header_id|>system<|end_header_id|>\nBe brief.\nYou can call: [{WRAPPED}]<|eot_id|>"
        "<|start_header_id|>user<|end_header_id|>\n\nRain?<|eot_id|>"
        "<|start_header_id|>assistant<|end_header_id|>\n\n functools["
        '{"name": "get_weather", "arguments": {"city":"Rome"}}, '
        '{"name": "get_weather", "arguments": {"city":"Oslo"}}]<|eot_id|>'
        "<|start_header_id|>tool<|end_header_id|>\n\nsun<|eot_id|>"
        "<|start_header_id|>tool<|end_header_id|>\n\nrain<|eot_id|>"
        "<|start_header_id|>assistant<|end_header_id|>\n\n",
    ),
    "gemma3, which knows no tools": (
        families.GEMMA.replace('eq .Role "system"', "false"),
        None,
    ),
}


@pytest.mark.parametrize(("source", "expected"), TOOLS.values(), ids=TOOLS)
async def test_a_round_of_calls_reads_as_the_family_was_trained(
    tmp_path: Path, source: str, expected: str | None
) -> None:
    found = await prompt(tmp_path, source, *ROUND, tools=[TOOL])
    if expected is not None:
        assert found == expected
        return
    # Tools, calls and results are explained in words, and nothing of them is lost.
    assert found.startswith("<start_of_turn>user\nBe brief.\n\nYou can call tools.")
    for words in ('"city": "Rome"', '"city": "Oslo"', "sun", "rain", "Tells the weather"):
        assert words in found
    assert found.endswith("<end_of_turn>\n<start_of_turn>model\n")


async def test_a_legacy_template_gets_calls_and_results_in_words(tmp_path: Path) -> None:
    found = await prompt(tmp_path, families.LLAMA_2, *ROUND, tools=[TOOL])
    assert found.startswith("[INST] <<SYS>>\nBe brief.\n\nYou can call tools.")
    assert (
        'Rain? [/INST] <tool_call>\n{"name": "get_weather", "arguments": {"city": "Rome"}}\n</tool_call>\n'
        '<tool_call>\n{"name": "get_weather", "arguments": {"city": "Oslo"}}\n</tool_call></s>'
    ) in found
    assert found.endswith(
        "[INST] <tool_response>\nsun\n</tool_response>\n<tool_response>\nrain\n</tool_response> [/INST] "
    )


async def test_mistral_is_shown_the_tools_before_the_last_question(tmp_path: Path) -> None:
    found = await prompt(tmp_path, families.MISTRAL, *TALK, tools=[TOOL])
    assert found == (
        f"[INST] Hi[/INST] Hello</s>[AVAILABLE_TOOLS] [{WRAPPED}][/AVAILABLE_TOOLS]"
        "[INST] Be brief.\n\nSo?[/INST]"
    )


async def test_a_call_beside_text_is_not_lost_by_a_template_that_shows_either(tmp_path: Path) -> None:
    messages = (said("user", "Rain?"), called("Rome", content="I look."), told("sun"))
    found = await prompt(tmp_path, families.QWEN_2_5, *messages, tools=[TOOL])
    assert "<|im_start|>assistant\nI look.<|im_end|>\n<|im_start|>assistant\n<tool_call>\n" in found


async def test_thoughts_of_this_round_are_shown_and_those_of_earlier_ones_are_not(tmp_path: Path) -> None:
    thought = called("Rome") | {"thinking": "Hm."}
    server: Server
    async with await serve(tmp_path, families.QWEN_3) as server:
        await server.chat("m", said("user", "Rain?"), thought, told("sun"), tools=[TOOL])
        assert "<|im_start|>assistant\n<think>\nHm.\n</think>\n\n\n<tool_call>" in server.prompt
        await server.chat(
            "m", said("user", "Rain?"), thought, told("sun"), said("user", "And?"), tools=[TOOL]
        )
        assert "Hm." not in server.prompt


@pytest.mark.parametrize(
    ("source", "think", "ends"),
    [
        (families.QWEN_3, None, "Hi /think<|im_end|>\n<|im_start|>assistant\n"),
        (families.QWEN_3, True, "Hi /think<|im_end|>\n<|im_start|>assistant\n"),
        (families.QWEN_3, False, "Hi /no_think<|im_end|>\n<|im_start|>assistant\n<think>\n\n</think>\n\n"),
        (families.QWEN_3, "low", "Hi /think<|im_end|>\n<|im_start|>assistant\n"),
        (families.DEEPSEEK_R1, None, "<｜User｜>Hi<｜Assistant｜>"),
        (families.DEEPSEEK_R1, False, "<｜User｜>Hi<｜Assistant｜><think>\n\n</think>\n\n"),
    ],
)
async def test_thinking_is_switched_by_the_template(
    tmp_path: Path, source: str, think: bool | str | None, ends: str
) -> None:
    fields = {} if think is None else {"think": think}
    assert (await prompt(tmp_path, source, said("user", "Hi"), **fields)).endswith(ends)


FILLED = {
    "codellama": (families.CODELLAMA, "<PRE> def f( <SUF>return x <MID>"),
    "starcoder2": (families.STARCODER_2, "<file_sep><fim_prefix>def f(<fim_suffix>return x<fim_middle>"),
    "qwen2.5-coder": (
        families.QWEN_CODER,
        "<|fim_prefix|>def f(<|fim_suffix|>return x<|fim_middle|>",
    ),
}


@pytest.mark.parametrize(("source", "expected"), FILLED.values(), ids=FILLED)
async def test_a_gap_is_filled_as_the_template_says(tmp_path: Path, source: str, expected: str) -> None:
    server: Server
    async with await serve(tmp_path, source) as server:
        answer = await server.generate("m", "def f(", suffix="return x")
        # A template ends where the answer begins, whatever stands behind that.
        assert (answer["response"], server.prompt) == ("Well.", expected)
