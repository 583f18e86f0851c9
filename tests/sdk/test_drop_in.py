"""The published `ollama` client and ours say the same on the wire."""

from __future__ import annotations

import inspect
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any, get_args, get_type_hints

import httpx
import ollama
import pytest
from pydantic import BaseModel

import agentkit

# Where we differ on purpose, and why. Everything else of the published package is here under its name.
ABSENT = {
    "systemone": "scores questions with one vendor's kind of model, which the server does not run",
    "SystemOne": "the types of `systemone`",
}
DIFFERENT = {
    "Tool": "ours is the tool that an agent runs; its form on the wire is a dict, which both take",
    "create.template": "by keyword only, as all after `adapters`: nobody counts to seven",
    "create.license": "by keyword only",
    "create.system": "by keyword only",
    "create.parameters": "by keyword only",
    "create.messages": "by keyword only",
}
# Options that no server has read for years. One that is given is sent all the same.
FORGOTTEN_OPTIONS = {
    *("numa", "low_vram", "f16_kv", "logits_all", "vocab_only", "use_mlock", "embedding_only", "tfs_z"),
    *("mirostat", "mirostat_tau", "mirostat_eta", "penalize_newline"),
}
RECORDS = [
    "ChatResponse",
    "EmbedResponse",
    "EmbeddingsResponse",
    "GenerateResponse",
    "Image",
    "ListResponse",
    "Message",
    "Options",
    "ProcessResponse",
    "ProgressResponse",
    "ShowResponse",
    "StatusResponse",
    "WebFetchResponse",
    "WebSearchResponse",
]
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
    ("pull", ("m",), {"insecure": True}),
    ("push", ("me/m",), {}),
    ("push", ("me/m",), {"stream": True, "insecure": True}),
    ("create", ("mario",), {"from_": "m", "system": "You are Mario."}),
    ("create", ("q", "Q8_0", None, {"a.gguf": "sha256:a"}, {"b.gguf": "sha256:b"}), {"stream": True}),
    (
        "create",
        ("m",),
        {
            "from_": "base",
            "template": "{{ prompt }}",
            "license": ["a", "b"],
            "parameters": ollama.Options(temperature=0.5),
            "messages": ASKED,
        },
    ),
    ("embed", ("m", "a", True, {"num_ctx": 8}, "5m", 3), {}),
    ("embeddings", ("m", "a", {"num_ctx": 8}, 0), {}),
    ("generate", ("m", "why?"), {"width": 8, "height": 8, "steps": 2}),
    ("generate", ("m", "why?"), {"images": [b"raw", "cmF3"]}),
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
    "push": {"status": "success"},
    "create": {"status": "success"},
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


def parameters(function: Any) -> dict[str, inspect.Parameter]:
    """Parameters by name; keywords that a TypedDict declares count as keyword-only ones of default None."""
    found: dict[str, inspect.Parameter] = {}
    hints = get_type_hints(function, include_extras=True)
    for name, parameter in inspect.signature(function).parameters.items():
        if parameter.kind is not parameter.VAR_KEYWORD:
            found[name] = parameter
            continue
        [declared] = get_args(hints[name])
        for keyword in declared.__annotations__:
            found[keyword] = inspect.Parameter(keyword, inspect.Parameter.KEYWORD_ONLY, default=None)
    return found


def published(client: type) -> dict[str, Any]:
    """The public methods of a published client that are here too."""
    members = inspect.getmembers(client, inspect.isfunction)
    return {name: member for name, member in members if not name.startswith("_") and name not in ABSENT}


def records(ours: Any, theirs: Any) -> Iterator[tuple[str, Any, Any]]:
    """A record of both packages, and the ones nested in it."""
    yield theirs.__qualname__, ours, theirs
    for name, nested in vars(theirs).items():
        if inspect.isclass(nested) and not name.startswith("_"):
            yield from records(getattr(ours, name), nested)


def test_every_public_name_is_here() -> None:
    names = {name for name in ollama.__all__ if not name.startswith(tuple(ABSENT))}
    names |= {name for name, value in vars(ollama).items() if inspect.ismethod(value)} - ABSENT.keys()
    assert {name for name in names if not hasattr(agentkit, name)} == set()


@pytest.mark.parametrize("client", ["Client", "AsyncClient"])
def test_every_method_takes_the_same_arguments_in_the_same_order(client: str) -> None:
    for method, theirs in published(getattr(ollama, client)).items():
        ours = parameters(getattr(getattr(agentkit, client), method))
        order = list(ours)
        for place, (name, parameter) in enumerate(inspect.signature(theirs).parameters.items()):
            assert name in ours, f"{method}({name}=)"
            if f"{method}.{name}" in DIFFERENT:
                continue
            assert ours[name].default == parameter.default, f"{method}({name}=)"
            assert ours[name].kind == parameter.kind, f"{method}({name}=)"
            if parameter.kind is parameter.POSITIONAL_OR_KEYWORD:
                assert order[place] == name, f"{method}({name}=)"


def test_nothing_differs_that_the_list_does_not_name() -> None:
    theirs = published(ollama.Client)
    for entry in DIFFERENT:
        method, _, parameter = entry.partition(".")
        assert not parameter or parameter in inspect.signature(theirs[method]).parameters


@pytest.mark.parametrize("name", RECORDS)
def test_every_field_of_a_record_is_here(name: str) -> None:
    for place, ours, theirs in records(getattr(agentkit, name), getattr(ollama, name)):
        missing = theirs.model_fields.keys() - ours.model_fields.keys()
        assert missing == (FORGOTTEN_OPTIONS if name == "Options" else set()), place


def test_every_record_is_compared() -> None:
    values = {name: getattr(ollama, name) for name in ollama.__all__}
    theirs = {
        name for name, value in values.items() if inspect.isclass(value) and issubclass(value, BaseModel)
    }
    assert {name for name in theirs - DIFFERENT.keys() if not name.startswith("SystemOne")} == set(RECORDS)


def test_a_forgotten_option_is_sent_all_the_same() -> None:
    call = ("generate", ("m", "a"), {"options": agentkit.Options(mirostat=1)})
    assert sent(agentkit.Client, *call)[2]["options"] == {"mirostat": 1}


def test_nested_records_are_made_by_their_nested_names() -> None:
    function = agentkit.Message.ToolCall.Function(name="f", arguments={"a": 1})
    message = agentkit.Message(role="assistant", tool_calls=[agentkit.Message.ToolCall(function=function)])
    assert message["tool_calls"][0]["function"]["name"] == "f"


def test_an_image_is_read_when_it_is_sent(tmp_path: Path) -> None:
    picture = tmp_path / "a.png"
    picture.write_bytes(b"raw")
    images = [module.Image(value=picture) for module in (ollama, agentkit)]
    theirs, ours = (sent(agentkit.Client, "generate", ("m", "a"), {"images": [image]}) for image in images)
    assert theirs == ours
    assert ours[2]["images"] == ["cmF3"]


@pytest.mark.parametrize("package", [ollama, agentkit])
def test_a_client_takes_what_httpx_takes(package: Any) -> None:
    def answer(request: httpx.Request) -> httpx.Response:
        if request.url.path == "/api/ps":
            assert request.headers["x-team"] == "a"
            return httpx.Response(307, headers={"location": "/elsewhere"})
        return httpx.Response(200, json={"models": []})

    transport = httpx.MockTransport(answer)
    headers = {"X-Team": "a", "X-None": None}
    with package.Client(host="here:1", headers=headers, timeout=5, transport=transport) as client:
        assert client.ps().models == []
    with (
        package.Client(host="here:1", headers=headers, follow_redirects=False, transport=transport) as client,
        pytest.raises(package.ResponseError) as error,
    ):
        client.ps()
    assert error.value.status_code == 307


@pytest.mark.parametrize("package", [ollama, agentkit])
def test_errors_are_made_and_read_alike(package: Any) -> None:
    error = package.ResponseError("busy", 503)
    assert (error.error, error.status_code, str(error)) == ("busy", 503, "busy (status code: 503)")
    assert package.ResponseError("busy").status_code == -1
    assert package.RequestError("no model").error == "no model"
