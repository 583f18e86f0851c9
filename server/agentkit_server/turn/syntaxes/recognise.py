"""Which syntax a model writes, by the markers in its chat template and its vocabulary.

Templates are copied, patched and renamed, so no template is recognised as a whole: a marker that only one
family has decides, the most particular first.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import lru_cache

from agentkit_server.turn.syntaxes.families import json_calls, list_calls, message_calls, tagged_calls
from agentkit_server.turn.syntaxes.families.generic import GENERIC
from agentkit_server.turn.syntaxes.syntax import Syntax


@dataclass(frozen=True)
class Sign:
    """A template with all of `markers`, in a vocabulary with all of `control` as control tokens."""

    syntax: Syntax
    markers: tuple[str, ...]
    control: tuple[str, ...] = ()


SIGNS: tuple[Sign, ...] = (
    Sign(message_calls.HARMONY, ("<|channel|>", "<|call|>", "<|message|>")),
    Sign(message_calls.SOLAR, ("<|tool_calls|>", "<|tool_call:begin|>", "<|tool_call:args|>")),
    Sign(message_calls.MUSE, ("<atem:function_calls>", "to=self<|message|>", "<|eom|>")),
    Sign(message_calls.FUNCTIONARY_3_2, (">>>all\n", "'>>>' + tool_call")),
    Sign(message_calls.KIMI_K3, ("<|open|>", "<|sep|>", "'argument'", "xtml_type")),
    Sign(tagged_calls.GEMMA_4, ("<|tool_call>", "<tool_call|>", '<|"|>')),
    Sign(tagged_calls.FUNCTION_GEMMA, ("<start_function_call>", "<escape>")),
    Sign(tagged_calls.DEEPSEEK_V3_2, ("｜DSML｜", "invoke", "function_calls")),
    Sign(tagged_calls.DEEPSEEK_V4, ("｜DSML｜", "invoke", "tool_calls")),
    Sign(tagged_calls.MINIMAX_M2, ("<minimax:tool_call>", "<invoke name=")),
    # MiniMax M3 writes nested elements, in a namespace token of its own.
    Sign(GENERIC, ("]<]minimax[>[", "<invoke name=")),
    Sign(tagged_calls.HUNYUAN_3, ("<tool_call{}>", "<arg_key{}>", ":opensource")),
    Sign(tagged_calls.MINICPM, ('<function name="', '<param name="')),
    Sign(tagged_calls.SEED, ("<seed:tool_call>", "<function=")),
    Sign(json_calls.KIMI_K2, ("<|tool_calls_section_begin|>", "<|tool_call_argument_begin|>")),
    Sign(json_calls.DEEPSEEK_R1, ("<｜tool▁calls▁begin｜>", "```json")),
    Sign(json_calls.DEEPSEEK, ("<｜tool▁calls▁begin｜>", "<｜tool▁sep｜>")),
    Sign(list_calls.COHERE_2, ("<|START_ACTION|>", "tool_call_id", "parameters", "<|START_TEXT|>")),
    Sign(list_calls.COMMAND_R7B, ("<|START_ACTION|>", "tool_call_id", "parameters")),
    Sign(list_calls.COMMAND_R, ("Action: ```json", '"tool_name"', '"parameters"')),
    Sign(list_calls.COMMAND_R, ("Action:", "```json", '"tool_name"', '"parameters"')),
    Sign(list_calls.APERTUS, ("<|tools_prefix|>", "<|tools_suffix|>")),
    Sign(json_calls.GIGACHAT, ("<|function_call|>", "<|message_sep|>")),
    Sign(list_calls.LFM2, ("<|tool_call_start|>",)),
    Sign(list_calls.LFM2, ("<|tool_list_start|>",)),
    Sign(list_calls.LFM2, ("List of tools: [",), ("<|tool_call_start|>", "<|tool_call_end|>")),
    Sign(list_calls.OLMO_3, ("<function_calls>", "</function_calls>", "<functions>")),
    Sign(list_calls.APRIEL, ("<tool_calls>[", "[BEGIN FINAL RESPONSE]")),
    Sign(list_calls.HUNYUAN, ("<tool_calls>[", "</tool_calls>")),
    Sign(list_calls.MINIMAX_M1, ("<tool_calls>", "</tool_calls>", "beginning_of_sentence")),
    Sign(list_calls.FIREFUNCTION, ("functools[",)),
    Sign(json_calls.MISTRAL_CALL_ID, ("[TOOL_CALLS]", "[CALL_ID]")),
    Sign(json_calls.MISTRAL_ARGS, ("[TOOL_CALLS]", "[ARGS]")),
    Sign(list_calls.MISTRAL_LIST, ("[TOOL_CALLS]", "[AVAILABLE_TOOLS]")),
    Sign(tagged_calls.LING, ("<tool_call>", "<arg_key>", "\n<arg_value>", "<role>ASSISTANT</role>")),
    Sign(tagged_calls.GLM, ("<tool_call>", "<arg_key>", "</arg_key>\n<arg_value>")),
    Sign(tagged_calls.GLM_COMPACT, ("<tool_call>", "<arg_key>")),
    Sign(tagged_calls.QWEN_CODER, ("<tool_call>", "<function=", "<parameter=")),
    Sign(list_calls.NEMOTRON, ("<TOOLCALL>",)),
    Sign(list_calls.PHI_4_MINI, ("<|tool_call|>", "<|/tool_call|>")),
    Sign(list_calls.PHI_4_MINI, ("<|tool|>", "<|/tool|>"), ("<|tool_call|>", "<|/tool_call|>")),
    Sign(list_calls.GRANITE, ("<|tool_call|>", "<|start_of_role|>")),
    Sign(json_calls.FUNCTIONARY, ("<function=", "</function>", "<|python_tag|>")),
    Sign(json_calls.HERMES, ("<tool_call>", "arguments")),
    Sign(json_calls.LLAMA, ("<|start_header_id|>", '"parameters"', "ipython")),
)
_THINKING: tuple[tuple[str, str], ...] = (
    ("<think>", "</think>"),
    ("[THINK]", "[/THINK]"),
    ("<|START_THINKING|>", "<|END_THINKING|>"),
    ("<mm:think>", "</mm:think>"),
    ("<reasoning>", "</reasoning>"),
)
PLAIN = Syntax(name="plain")
"""No thoughts, no calls: a prompt without a chat template."""


def recognise(template: str | None, control: Mapping[str, int]) -> Syntax:
    """The syntax of a model with this chat template (Jinja or Go source) and these control tokens.

    `generic` where the template shows no calls, or calls in a way that is not known.
    """
    if template is None:
        return GENERIC
    return _recognised(template, signs_in(control))


def signs_in(control: Mapping[str, int]) -> frozenset[str]:
    """Those of the control tokens that decide about a syntax."""
    wanted = {text for sign in SIGNS for text in sign.control}
    return frozenset(wanted & control.keys())


@lru_cache(maxsize=64)
def _recognised(template: str, control: frozenset[str]) -> Syntax:
    # Newlines and quotes inside Jinja's strings are written with a backslash.
    seen = template.replace("\\n", "\n").replace('\\"', '"')
    found = next((sign.syntax for sign in SIGNS if _fits(sign, seen, control)), GENERIC)
    if found.thinking is not None:
        return found
    thinking = next((pair for pair in _THINKING if pair[1] in seen), None)
    return found if thinking is None else replace(found, thinking=thinking)


def _fits(sign: Sign, seen: str, control: frozenset[str]) -> bool:
    return all(marker in seen for marker in sign.markers) and control.issuperset(sign.control)
