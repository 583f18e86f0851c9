"""Every parameter of Anthropic's Messages, with those of its beta, and of counting tokens."""

from __future__ import annotations

from typing import Any

from anthropic.types import message_count_tokens_params, message_create_params
from anthropic.types.beta import message_create_params as beta_params

from tests.compatibility.probes import Endpoint, Probe

SCHEMA = {"type": "object", "properties": {"colour": {"type": "string"}}, "required": ["colour"]}
TOOL = {"name": "get_weather", "input_schema": {"type": "object", "properties": {"city": {"type": "string"}}}}
HELLO = [{"role": "user", "content": "Hello!"}]
PROMPT: dict[str, list[Any]] = {
    "model": ["smollm2"],
    "messages": [HELLO],
    "system": ["Be brief."],
    "thinking": [{"type": "enabled", "budget_tokens": 1024}],
    "tools": [[TOOL]],
    "tool_choice": [Probe({"type": "any"}, {"tools": [TOOL]})],
    "output_config": [
        {"format": {"type": "json_schema", "schema": SCHEMA}},
        Probe({"effort": "low"}, {"thinking": {"type": "adaptive"}}),
    ],
    "output_format": [{"type": "json_schema", "schema": SCHEMA}],
    "cache_control": [{"type": "ephemeral"}],
    "context_management": [{"edits": [{"type": "clear_thinking_20251015", "keep": "all"}]}],
    "speed": ["fast"],
    "user_profile_id": ["someone"],
    "workspace_id": ["somewhere"],
    "betas": ["files-api-2025-04-14"],
    "container": [[], "container-1"],
    "mcp_servers": [[], [{"type": "url", "name": "here", "url": "http://localhost/mcp"}]],
    "compaction": [[], {"type": "auto"}],
    "thread": [{"id": "thread-1"}],
    "metadata": [{"user_id": "someone"}],
    "service_tier": ["auto"],
    "inference_geo": ["eu"],
    "billing_policy": ["standard"],
    "diagnostics": [{}],
    "fallbacks": [[]],
    "fallback_credit_token": ["token"],
    "num_ctx": [512],
    "keep_alive": ["1h"],
    "truncate": [True],
    "max_seconds": [60],
    "run_id": ["run-1"],
}
SAMPLING: dict[str, list[Any]] = {
    "max_tokens": [3],
    "stop_sequences": [["world"]],
    "stream": [True],
    "temperature": [0.5],
    "top_k": [5],
    "top_p": [0.5],
}
GENERATING = ("run_id", "tool_choice", "output_config", "output_format", "truncate")
WHY = {
    "billing_policy": "nothing is billed",
    "cache_control": "every prefix is kept as long as there is room",
    "context_management": "asks for what happens anyway; the answer says so",
    "diagnostics": "for support",
    "fallback_credit_token": "nothing is billed",
    "fallbacks": "for models that refuse",
    "inference_geo": "it is this machine",
    **dict.fromkeys(("compaction", "container", "mcp_servers"), "says nothing"),
    "metadata": "for abuse checks",
    "service_tier": "there is one queue",
    "speed": "there is one",
    "user_profile_id": "for abuse checks",
    "workspace_id": "for billing",
    "betas": "whatever is built is there without",
}
HEADERS = {
    "betas": "anthropic-beta",
    "user_profile_id": "anthropic-user-profile-id",
    "workspace_id": "anthropic-workspace-id",
}
MESSAGES = Endpoint(
    path="/v1/messages",
    source="anthropic.types.beta.MessageCreateParams",
    published=message_create_params.MessageCreateParamsBase.__annotations__
    | message_create_params.MessageCreateParamsStreaming.__annotations__
    | beta_params.MessageCreateParamsBase.__annotations__,
    base={"model": "smollm2", "messages": HELLO, "max_tokens": 2000},
    probes={**PROMPT, **SAMPLING},
    in_headers=HEADERS,
    why=WHY,
)
COUNT = Endpoint(
    path="/v1/messages/count_tokens",
    source="anthropic.types.MessageCountTokensParams",
    published=message_count_tokens_params.MessageCountTokensParams.__annotations__,
    base={"model": "smollm2", "messages": HELLO},
    probes={**PROMPT, **SAMPLING},
    in_headers=HEADERS,
    why=WHY | dict.fromkeys((*SAMPLING, *GENERATING), "nothing is generated"),
)
