"""Every parameter of Ollama's routes."""

from __future__ import annotations

from typing import Any

import ollama._types as ollama

from agentkit_server.turn.options import option_schemas
from tests.compatibility.probes import Endpoint, Probe
from tests.compatibility.uploads import ADAPTER, MATRIX, MODEL

SCHEMA = {"type": "object", "properties": {"colour": {"type": "string"}}, "required": ["colour"]}
FUNCTION = {
    "name": "get_weather",
    "parameters": {"type": "object", "properties": {"city": {"type": "string"}}},
}
TOOLS = {"tools": [{"type": "function", "function": FUNCTION}]}
HELLO = [{"role": "user", "content": "Hello!"}]
RUN: dict[str, list[Any]] = {
    "model": ["smollm2"],
    "name": [Probe("smollm2", instead=["model"])],
    "stream": [False],
    "format": ["json", SCHEMA],
    "compact": [Probe(True, {"format": SCHEMA})],
    "options": [{"temperature": 0.5}],
    "keep_alive": ["1h"],
    "think": [True],
    "thinking_budget": [Probe(5, {"think": True})],
    "max_seconds": [60],
    "run_id": ["run-1"],
    "truncate": [True],
    "shift": [True],
    "logprobs": [True],
    "top_logprobs": [Probe(2, {"logprobs": True})],
    "_debug_render_only": [False, True],
}
IMAGES = ["iVBORw0KGgo="]
GENERATE = Endpoint(
    path="/api/generate",
    source="ollama.GenerateRequest",
    published=ollama.GenerateRequest.model_fields,
    base={"model": "smollm2", "prompt": "Hello!"},
    probes={
        **RUN,
        "prompt": ["Hello!"],
        "suffix": ["the end"],
        "system": ["Be brief."],
        "template": ["{{ messages[0].content }}"],
        "context": [[1, 2, 3]],
        "raw": [True],
        "images": [[], IMAGES],
        "width": [64],
        "height": [64],
        "steps": [4],
    },
    why={
        "_debug_render_only": "what happens anyway",
        "images": "says nothing",
        "width": "for models that make images; said in the log",
        "height": "for models that make images; said in the log",
        "steps": "for models that make images; said in the log",
    },
)
CHAT = Endpoint(
    path="/api/chat",
    source="ollama.ChatRequest",
    published=ollama.ChatRequest.model_fields,
    base={"model": "smollm2", "messages": HELLO},
    probes={
        **RUN,
        "messages": [HELLO, [{"role": "user", "content": "What is this?", "images": IMAGES}]],
        "tools": [TOOLS["tools"]],
        "tool_choice": [Probe("required", TOOLS)],
        "parallel_tool_calls": [Probe(False, TOOLS)],
    },
    why={"_debug_render_only": "what happens anyway"},
)
EMBED = Endpoint(
    path="/api/embed",
    source="ollama.EmbedRequest",
    published=ollama.EmbedRequest.model_fields,
    base={"model": "all-minilm", "input": "a text"},
    probes={
        "model": ["all-minilm"],
        "name": [Probe("all-minilm", instead=["model"])],
        "input": ["a text"],
        "truncate": [False],
        "dimensions": [4],
        "keep_alive": ["1h"],
        "options": [{"num_ctx": 512}],
    },
    why={},
)
EMBEDDINGS = Endpoint(
    path="/api/embeddings",
    source="ollama.EmbeddingsRequest",
    published=ollama.EmbeddingsRequest.model_fields,
    base={"model": "all-minilm", "prompt": "a text"},
    probes={
        "model": ["all-minilm"],
        "name": [Probe("all-minilm", instead=["model"])],
        "prompt": ["a text"],
        "keep_alive": ["1h"],
        "options": [{"num_ctx": 512}],
    },
    why={},
)
TOKENS: dict[str, list[Any]] = {
    "model": ["smollm2"],
    "name": [Probe("smollm2", instead=["model"])],
    "keep_alive": ["1h"],
    "options": [{"num_ctx": 512}],
    "max_seconds": [60],
}
TOKENIZE = Endpoint(
    path="/api/tokenize",
    source="an extension",
    published=(),
    base={"model": "smollm2", "text": "<|im_start|>"},
    probes={**TOKENS, "text": ["a text"], "add_special": [False], "parse_special": [False]},
    why={},
)
DETOKENIZE = Endpoint(
    path="/api/detokenize",
    source="an extension",
    published=(),
    base={"model": "smollm2", "tokens": [72, 105]},
    probes={**TOKENS, "tokens": [[72]], "special": [False]},
    why={},
)
_GENERATING = (
    *("stream", "format", "compact", "thinking_budget", "run_id", "truncate", "shift", "logprobs"),
    *("top_logprobs", "_debug_render_only", "tool_choice", "parallel_tool_calls"),
)
APPLY_TEMPLATE = Endpoint(
    path="/api/apply_template",
    echoes=False,
    source="an extension",
    published=(),
    base={"model": "smollm2", "messages": HELLO},
    probes={**CHAT.probes, "tokens": [True], "options": [{"num_ctx": 512}], "think": [False]},
    why=dict.fromkeys(_GENERATING, "nothing is generated"),
)
SHOW = Endpoint(
    path="/api/show",
    source="ollama.ShowRequest",
    echoes=False,
    published=ollama.ShowRequest.model_fields,
    base={"model": "smollm2"},
    probes={
        "model": ["smollm2"],
        "name": [Probe("smollm2", instead=["model"])],
        "system": ["Be brief."],
        "template": ["{{ messages[0].content }}"],
        "verbose": [True],
        "options": [{"temperature": 0.5}],
    },
    why={"options": "what is shown does not depend on them", "verbose": "nothing of this model is long"},
)
PULL = Endpoint(
    path="/api/pull",
    source="ollama.PullRequest",
    published=ollama.PullRequest.model_fields,
    base={"model": "smollm2"},
    probes={
        "model": ["smollm2"],
        "name": [Probe("smollm2", instead=["model"])],
        "stream": [False],
        "insecure": [True],
        "username": ["someone"],
        "password": [Probe("secret", beside={"username": "someone"})],
    },
    why=dict.fromkeys(("insecure", "username", "password"), "for registries; this model is of a package"),
)
COPY = Endpoint(
    path="/api/copy",
    source="ollama.CopyRequest",
    published=ollama.CopyRequest.model_fields,
    base={"source": "smollm2", "destination": "mine"},
    probes={"source": ["smollm2"], "destination": ["mine"]},
    why={},
)
DELETE = Endpoint(
    path="/api/delete",
    method="DELETE",
    source="ollama.DeleteRequest",
    published=ollama.DeleteRequest.model_fields,
    base={"model": "mine"},
    probes={"model": ["mine"], "name": [Probe("spare", instead=["model"])]},
    why={},
)
PUSHED = "registry/me/mine"
"""Stands for a model of a registry on loopback, without https."""
PUSH = Endpoint(
    path="/api/push",
    source="ollama.PushRequest",
    published=ollama.PushRequest.model_fields,
    base={"model": PUSHED, "insecure": True},
    probes={
        "model": [PUSHED],
        "name": [Probe(PUSHED, instead=["model"])],
        "stream": [False],
        "insecure": [True],
        "username": ["someone"],
        "password": [Probe("secret", beside={"username": "someone"})],
    },
    why=dict.fromkeys(("username", "password"), "for registries that ask for a login; this one does not"),
)
CREATE = Endpoint(
    path="/api/create",
    source="ollama.CreateRequest",
    published=ollama.CreateRequest.model_fields,
    base={"model": "made", "from": "smollm2"},
    probes={
        "model": ["made"],
        "name": [Probe("made", instead=["model"])],
        "stream": [False],
        "from": ["smollm2"],
        "files": [Probe({"a.gguf": MODEL}, instead=["from"])],
        "draft_files": [{"a.gguf": MODEL}],
        "adapters": [{"a.gguf": ADAPTER}],
        "adapter_scales": [Probe({"a.gguf": 0.5}, {"adapters": {"a.gguf": ADAPTER}})],
        "quantize": ["F16"],
        "quantization": ["F16"],
        "draft_quantize": [Probe("F16", {"draft_files": {"a.gguf": MODEL}})],
        "imatrix": [Probe(MATRIX, {"quantize": "F16"})],
        "template": ["{{ .Prompt }}"],
        "license": ["free", ["free", "open"]],
        "system": ["Be brief."],
        "parameters": [{"temperature": 0.5}],
        "messages": [HELLO],
        "renderer": ["qwen3"],
        "parser": ["qwen3"],
        "requires": ["0.14.0"],
        "info": [{"context_length": 64}],
        "capabilities": [["tools"]],
        "remote_host": ["ollama.com"],
    },
    why={},
)
_VALUES: dict[str, Any] = {"use_mmap": False, "num_ctx": 512, "stop": ["world"], "num_predict": 3}
_RETIRED = (
    *("embedding_only", "f16_kv", "logits_all", "low_vram", "numa"),
    *("penalize_newline", "tfs_z", "use_mlock", "vocab_only", "draft_num_predict"),
)
OPTIONS = Endpoint(
    path="/api/generate",
    within="options",
    source="ollama.Options",
    published=ollama.Options.model_fields,
    base={"model": "smollm2", "prompt": "Hello!"},
    probes={
        **{name: [_VALUES.get(name, 1)] for name in option_schemas()},
        **{name: [True] for name in _RETIRED},
    },
    why=dict.fromkeys(_RETIRED, "as in Ollama; said in the log"),
)
