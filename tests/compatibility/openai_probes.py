"""Every parameter of OpenAI's chat completions, completions and embeddings."""

from __future__ import annotations

from typing import Any

from openai.types import completion_create_params, embedding_create_params
from openai.types.chat import completion_create_params as chat_params

from tests.compatibility.probes import Endpoint, Probe

SCHEMA = {"type": "object", "properties": {"colour": {"type": "string"}}, "required": ["colour"]}
FUNCTION = {
    "name": "get_weather",
    "parameters": {"type": "object", "properties": {"city": {"type": "string"}}},
}
TOOLS = {"tools": [{"type": "function", "function": FUNCTION}]}
HELLO = [{"role": "user", "content": "Hello!"}]
STREAM = {"stream": True}

EXTENSIONS: dict[str, list[Any]] = {
    "top_k": [5],
    "min_p": [0.1],
    "typical_p": [0.9],
    "repeat_penalty": [1.2],
    "repeat_last_n": [32],
    "num_ctx": [512],
    "keep_alive": ["1h"],
    "truncate": [True],
    "max_seconds": [60],
    "run_id": ["run-1"],
    "structured_outputs": [{"choice": ["yes", "no"]}],
    "guided_json": [SCHEMA],
    "guided_regex": ["a+"],
    "guided_choice": [["yes", "no"]],
    "guided_grammar": ['start: "yes" | "no"'],
    "guided_whitespace_pattern": [Probe("[ ]?", {"guided_json": SCHEMA})],
    "guided_decoding_backend": ["xgrammar"],
    "regex": ["a+"],
    "ebnf": ['root ::= "yes" | "no"'],
    "compact": [Probe(True, {"guided_json": SCHEMA})],
}
BOTH: dict[str, list[Any]] = {
    "stream": [True],
    "stream_options": [Probe({"include_usage": True}, STREAM), Probe({"include_obfuscation": True}, STREAM)],
    "n": [2],
    "seed": [7],
    "stop": [["world"]],
    "temperature": [0.5],
    "top_p": [0.5],
    "frequency_penalty": [0.5],
    "presence_penalty": [0.5],
    "logit_bias": [{"72": -100}],
    "max_tokens": [3],
    "user": ["someone"],
    "prompt_cache_key": ["someone"],
}
WHY = {
    "user": "for abuse checks",
    "metadata": "for bookkeeping",
    "safety_identifier": "for abuse checks",
    "prediction": "for speed",
    "prompt_cache_retention": "every prefix is kept as long as there is room",
    "prompt_cache_options": "every prefix is kept as long as there is room",
    "guided_decoding_backend": "there is one",
    "modalities": "what happens anyway",
    "verbosity": "what happens anyway",
    "store": "what happens anyway",
    "service_tier": "there is one queue; the answer says it back",
}
CHAT = Endpoint(
    path="/v1/chat/completions",
    source="openai.types.chat.CompletionCreateParams",
    published=chat_params.CompletionCreateParamsStreaming.__annotations__
    | chat_params.CompletionCreateParamsBase.__annotations__,
    base={"model": "smollm2", "messages": HELLO},
    probes={
        **BOTH,
        **EXTENSIONS,
        "model": ["smollm2"],
        "messages": [HELLO],
        "audio": [{"voice": "ash", "format": "mp3"}],
        "function_call": [Probe("none", {"functions": [FUNCTION]})],
        "functions": [[FUNCTION]],
        "logprobs": [True],
        "top_logprobs": [Probe(2, {"logprobs": True})],
        "max_completion_tokens": [3],
        "metadata": [{"key": "value"}],
        "modalities": [["text"], ["text", "audio"]],
        "moderation": [{"model": "omni-moderation-latest"}],
        "parallel_tool_calls": [Probe(False, TOOLS)],
        "prediction": [{"type": "content", "content": "Hello"}],
        "prompt_cache_options": [{"mode": "implicit"}],
        "prompt_cache_retention": ["24h"],
        "reasoning_effort": ["low"],
        "response_format": [{"type": "json_schema", "json_schema": {"name": "c", "schema": SCHEMA}}],
        "safety_identifier": ["someone"],
        "service_tier": ["auto", "priority"],
        "store": [False, True],
        "tool_choice": [Probe("required", TOOLS)],
        "tools": [TOOLS["tools"]],
        "verbosity": ["medium", "low"],
        "web_search_options": [{}],
        "reasoning": [{"effort": "low"}],
        "chat_template_kwargs": [{"enable_thinking": False}],
        "thinking_budget": [Probe(5, {"reasoning_effort": "low"})],
        "continue_final_message": [
            Probe(True, {"messages": [*HELLO, {"role": "assistant", "content": "Hel"}]})
        ],
        "add_generation_prompt": [
            Probe(
                False,
                {
                    "messages": [*HELLO, {"role": "assistant", "content": "Hel"}],
                    "continue_final_message": True,
                },
            )
        ],
    },
    why=WHY | {"add_generation_prompt": "says again what continue_final_message says"},
)
COMPLETIONS = Endpoint(
    path="/v1/completions",
    source="openai.types.CompletionCreateParams",
    published=completion_create_params.CompletionCreateParamsStreaming.__annotations__
    | completion_create_params.CompletionCreateParamsBase.__annotations__,
    base={"model": "smollm2", "prompt": "Once upon a time"},
    probes={
        **BOTH,
        **EXTENSIONS,
        "model": ["smollm2"],
        "prompt": ["Once upon a time"],
        "best_of": [1, 2],
        "echo": [True],
        "response_format": [{"type": "json_schema", "json_schema": {"name": "c", "schema": SCHEMA}}],
        "logprobs": [2],
        "suffix": ["the end"],
        "metadata": [{"key": "value"}],
        "modalities": [["text"]],
        "prediction": [{"type": "content", "content": "Hello"}],
        "prompt_cache_options": [{"mode": "implicit"}],
        "prompt_cache_retention": ["24h"],
        "safety_identifier": ["someone"],
        "store": [False],
        "verbosity": ["medium"],
    },
    why=WHY | {"best_of": "what happens anyway"},
)
EMBEDDINGS = Endpoint(
    path="/v1/embeddings",
    source="openai.types.EmbeddingCreateParams",
    published=embedding_create_params.EmbeddingCreateParams.__annotations__,
    base={"model": "all-minilm", "input": "a text"},
    probes={
        "model": ["all-minilm"],
        "input": ["a text"],
        "dimensions": [4],
        "encoding_format": ["base64"],
        "user": ["someone"],
        **{name: EXTENSIONS[name] for name in ("num_ctx", "keep_alive", "truncate", "max_seconds", "run_id")},
        "guided_decoding_backend": ["xgrammar"],
        "metadata": [{"key": "value"}],
        "modalities": [["text"]],
        "prediction": [{"type": "content", "content": "Hello"}],
        "prompt_cache_options": [{"mode": "implicit"}],
        "prompt_cache_retention": ["24h"],
        "safety_identifier": ["someone"],
        "store": [False],
        "verbosity": ["medium"],
    },
    why=WHY | {"run_id": "vectors leave no prefix to keep"},
)
