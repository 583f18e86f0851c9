"""Every parameter of OpenAI's Responses."""

from __future__ import annotations

from typing import Any

from openai.types.responses import input_token_count_params, response_create_params

from agentkit_server.dialects.responses_body import EXTENSIONS as EXTENSION_NAMES
from tests.compatibility.openai_probes import BOTH, EXTENSIONS, SCHEMA, STREAM, WHY
from tests.compatibility.probes import Endpoint, Probe

EARLIER = "resp_earlier"
"""Stands for the id of a response that is stored."""
FUNCTION = {"type": "function", "name": "get_weather", "parameters": {"type": "object"}}
TOOLS = {"tools": [FUNCTION]}
THINKING: dict[str, list[Any]] = {
    "chat_template_kwargs": [{"enable_thinking": False}],
    "thinking_budget": [Probe(5, {"reasoning": {"effort": "low"}})],
    "compact": [Probe(True, {"text": {"format": {"type": "json_schema", "name": "c", "schema": SCHEMA}}})],
}
KNOWN = {**BOTH, **EXTENSIONS, **THINKING}
PROBES: dict[str, list[Any]] = {
    **{name: KNOWN[name] for name in sorted(EXTENSION_NAMES)},
    "model": ["smollm2"],
    "input": ["Hello!"],
    "access_programs": [{}],
    "background": [True],
    "background_options": [{}],
    "client_metadata": [{"key": "value"}],
    "context_management": [[{"type": "compaction"}]],
    "conversation": ["conv_1"],
    "guided_decoding_backend": ["xgrammar"],
    "image": [{}],
    "include": [["message.output_text.logprobs"]],
    "instructions": ["Be brief."],
    "max_output_tokens": [3],
    "max_tool_calls": [1],
    "metadata": [{"key": "value"}],
    "moderation": [{}],
    "parallel_tool_calls": [Probe(False, TOOLS)],
    "personality": ["friendly"],
    "prediction": [{"type": "content", "content": "Hello"}],
    "previous_response_id": [EARLIER],
    "prompt": [{"id": "pmpt_1"}],
    "prompt_cache_key": ["someone"],
    "prompt_cache_options": [{"mode": "implicit"}],
    "prompt_cache_retention": ["24h"],
    "reasoning": [{"effort": "low"}],
    "safety_identifier": ["someone"],
    "service_tier": ["auto", "priority"],
    "store": [False],
    "stream": [True],
    "stream_options": [
        Probe({"include_obfuscation": False}, STREAM),
        Probe({"include_obfuscation": True}, STREAM),
    ],
    "text": [{"format": {"type": "json_schema", "name": "c", "schema": SCHEMA}}, {"verbosity": "low"}],
    "tool_choice": [Probe("required", TOOLS)],
    "tools": [[FUNCTION]],
    "top_logprobs": [2],
    "truncation": ["auto"],
    "user": ["someone"],
}
RESPONSES = Endpoint(
    path="/v1/responses",
    afterwards="/v1/responses/{id}",
    source="openai.types.responses.ResponseCreateParams",
    published=response_create_params.ResponseCreateParamsBase.__annotations__
    | response_create_params.ResponseCreateParamsStreaming.__annotations__,
    base={"model": "smollm2", "input": "Hello!"},
    probes=PROBES,
    why={
        **{name: why for name, why in WHY.items() if name != "store"},
        "client_metadata": "for bookkeeping",
        "metadata": "kept with the response, which says it back",
        "stream_options": "what happens anyway",
        "max_tool_calls": "tools run at the client; the answer says it back",
    },
)
_EFFECTIVE = frozenset(
    {
        *("chat_template_kwargs", "input", "instructions", "keep_alive", "max_seconds", "model", "num_ctx"),
        *("previous_response_id", "reasoning", "tools"),
    }
)
COUNT = Endpoint(
    path="/v1/responses/input_tokens",
    source="openai.types.responses.InputTokenCountParams",
    published=input_token_count_params.InputTokenCountParams.__annotations__,
    base={"model": "smollm2", "input": "Hello!"},
    probes={**PROBES, "reasoning": [{"effort": "none"}]},
    why=dict.fromkeys(PROBES.keys() - _EFFECTIVE, "nothing is generated"),
)
