"""The published `ollama` client and ours say the same on the wire."""

from __future__ import annotations

import inspect
import json
from typing import Any

import httpx
import ollama
import pytest

import agentkit

NOT_YET = {"create", "push", "web_fetch", "web_search", "systemone"}
TOOL = {
    "type": "function",
    "function": {"name": "f", "description": "d", "parameters": {"type": "object", "properties": {}}},
}
ASKED = [{"role": "user", "content": "why?"}]
CALLED = {
    "role": "assistant",
    "thinking": "Hm.",
    "tool_calls": [{"function": {"name": "f", "arguments": {"a": [1, None]}}}],
}
CALLS: list[tuple[str, tuple[Any, ...], dict[str, Any]]] = [
    ("generate", ("m", "why?"), {"options": {"seed": 1}, "keep_alive": 0}),
    ("generate", ("m", "why?"), {"stream": True, "system": "s"}),
    ("chat", ("m", [{"role": "user", "content": "why?"}]), {"options": {"temperature": 0.5}}),
    ("chat", ("m", [{"role": "user", "content": "why?"}]), {"stream": True, "format": "json", "think": True}),
    ("chat", ("m", ASKED), {"tools": [TOOL], "think": "high"}),
    ("chat", ("m", ASKED), {"tools": [ollama.Tool.model_validate(TOOL)], "format": {"type": "object"}}),
    ("chat", ("m", [*ASKED, CALLED, {"role": "tool", "tool_name": "f", "content": "3"}]), {}),
    ("chat", ("m", [*ASKED, ollama.Message.model_validate(CALLED)]), {}),
    ("embed", ("m", ["a", "b"]), {"truncate": False, "dimensions": 3}),
    ("embeddings", ("m", "a"), {}),
    ("pull", ("m",), {"stream": True}),
    ("list", (), {}),
    ("show", ("m",), {}),
    ("copy", ("a", "b"), {}),
    ("delete", ("m",), {}),
    ("ps", (), {}),
]
ANSWERS: dict[str, Any] = {
    "generate": {"response": "a", "done": True},
    "chat": {"message": {"role": "assistant", "content": "a"}, "done": True},
    "embed": {"embeddings": [[1.0]]},
    "embeddings": {"embedding": [1.0]},
    "pull": {"status": "success"},
    "list": {"models": []},
    "show": {"model_info": {}},
    "ps": {"models": []},
}


def sent(client_type: type, method: str, arguments: tuple[Any, ...], keywords: dict[str, Any]) -> Any:
    """Method, path and body of the request that a call makes, without what means nothing."""
    seen: list[httpx.Request] = []

    def answer(request: httpx.Request) -> httpx.Response:
        seen.append(request)
        return httpx.Response(200, json=ANSWERS.get(method, {}))

    client = client_type("here:1", transport=httpx.MockTransport(answer))
    result = getattr(client, method)(*arguments, **keywords)
    if keywords.get("stream"):
        list(result)
    client.close()
    body = json.loads(seen[0].content) if seen[0].content else {}
    said = {
        name: value for name, value in body.items() if name in keywords or value not in (None, "", False, [])
    }
    return seen[0].method, str(seen[0].url), said


@pytest.mark.parametrize(("method", "arguments", "keywords"), CALLS)
def test_a_call_sends_what_the_published_client_sends(method, arguments, keywords) -> None:
    theirs = sent(ollama.Client, method, arguments, keywords)
    assert sent(agentkit.Client, method, arguments, keywords) == theirs


@pytest.mark.parametrize("theirs", [ollama.Client, ollama.AsyncClient])
def test_every_method_of_the_published_client_is_here(theirs: type) -> None:
    ours = getattr(agentkit, theirs.__name__)
    methods = {name for name, _ in inspect.getmembers(theirs, inspect.isfunction) if not name.startswith("_")}
    assert {name for name in methods if not hasattr(ours, name)} == NOT_YET


def test_the_functions_of_the_published_package_are_here() -> None:
    functions = {name for name, value in vars(ollama).items() if inspect.ismethod(value)}
    assert {name for name in functions if not callable(getattr(agentkit, name, None))} == NOT_YET
