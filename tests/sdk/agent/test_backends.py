"""What agents send to servers and make of their answers: agentkit's own, and any other that speaks OpenAI's
chat completions."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any, Literal

import httpx
import pytest
from support.scripted_server import Replies, scripted_app, serving

from agentkit import (
    Agent,
    ConnectionError,
    LimitReached,
    Limits,
    Notice,
    OpenAICompatible,
    OutputInvalid,
    ResponseError,
    RunEvent,
    Server,
    ToolCallClosed,
)


def add(a: int, b: int) -> int:
    """Adds."""
    return a + b


def chunk(reason: str | None = None, **delta: Any) -> dict[str, Any]:
    return {"choices": [{"index": 0, "delta": delta, "finish_reason": reason}]}


def call(index: int, id: str | None, name: str | None, arguments: str) -> dict[str, Any]:
    function = {"arguments": arguments} if name is None else {"name": name, "arguments": arguments}
    return {"index": index, "id": id, "function": function}


USAGE = {"choices": [], "usage": {"prompt_tokens": 9, "completion_tokens": 4}}
TEXT = [chunk(content="It is "), chunk(content='"red"'), chunk("stop"), USAGE]


def streamed(chunks: list[dict[str, Any]], *, done: bool = True) -> httpx.Response:
    lines = "".join(f"data: {json.dumps(one)}\n\n" for one in chunks)
    return httpx.Response(200, text=lines + ("data: [DONE]\n\n" if done else ""))


class Wire:
    """The scripted other end."""

    def __init__(self, *answers: httpx.Response | Callable[[dict[str, Any]], httpx.Response]) -> None:
        self.answers = list(answers)
        self.bodies: list[dict[str, Any]] = []
        self.paths: list[str] = []

    def __call__(self, request: httpx.Request) -> httpx.Response:
        self.paths.append(f"{request.method} {request.url.path}")
        if request.method == "DELETE":
            return httpx.Response(200, json={"status": "success"})
        self.bodies.append(json.loads(request.content))
        answer = self.answers.pop(0)
        return answer(self.bodies[-1]) if callable(answer) else answer

    def other(self) -> OpenAICompatible:
        return OpenAICompatible("http://other:1/v1", api_key="k", transport=httpx.MockTransport(self))

    def own(self) -> Server:
        return Server("own:1", transport=httpx.MockTransport(self))


async def events_of(agent: Agent[Any], **options: Any) -> list[RunEvent]:
    async with agent.run_stream("Go", **options) as stream:
        return [event async for event in stream]


def test_another_server_gets_only_what_openais_protocol_has() -> None:
    wire = Wire(
        streamed([chunk(tool_calls=[call(0, "c1", "add", '{"a": 1, "b": 2}')]), chunk("tool_calls"), USAGE]),
        streamed(TEXT),
    )
    agent = Agent(
        "m",
        tools=[add],
        backend=wire.other(),
        thinking_budget=9,
        options={"temperature": 0.5, "num_predict": 40},
        limits=Limits(seconds=60),
    )
    result = agent.run_sync("Go")
    assert result.output == 'It is "red"'
    assert result.usage.prompt_tokens == 18
    assert wire.paths == ["POST /v1/chat/completions"] * 2
    assert wire.bodies[0].keys() == {
        "model", "messages", "stream", "stream_options", "tools", "tool_choice", "parallel_tool_calls",
        "temperature", "max_tokens",
    }  # fmt: skip
    sent_call, sent_result = wire.bodies[1]["messages"][-2:]
    assert sent_call["tool_calls"][0]["function"] == {"name": "add", "arguments": '{"a": 1, "b": 2}'}
    assert sent_result == {"role": "tool", "content": "3", "tool_call_id": "c1"}


def test_our_own_server_gets_the_run_its_deadline_and_the_tools_that_may_be_called() -> None:
    wire = Wire(streamed(TEXT))
    agent = Agent("m", tools=[add], backend=wire.own(), think=True, limits=Limits(seconds=60))
    result = agent.run_sync("Go")
    [body] = wire.bodies
    assert body["run_id"] == result.run.id
    assert 0 < body["max_seconds"] <= 60
    assert body["chat_template_kwargs"] == {"enable_thinking": True}
    assert wire.paths[-1] == f"DELETE /api/runs/{result.run.id}"


def refuse_schema(body: dict[str, Any]) -> httpx.Response:
    kind = body.get("response_format", {}).get("type")
    if kind in ("json_schema", "json_object"):
        return httpx.Response(400, json={"error": {"message": f"{kind} is not supported"}})
    return streamed([chunk(content='"red"'), chunk("stop")])


def test_a_server_without_schemas_is_asked_for_less_and_the_run_says_so() -> None:
    wire = Wire(*[refuse_schema] * 4)
    backend = wire.other()
    agent = Agent("m", Literal["red", "blue"], backend=backend)
    events = asyncio.run(events_of(agent))
    notices = [event.text for event in events if isinstance(event, Notice)]
    assert len(notices) == 2
    assert "json_schema is not supported" in notices[0]
    assert [body.get("response_format", {}).get("type") for body in wire.bodies] == [
        "json_schema",
        "json_object",
        None,
    ]
    # The next run knows.
    again = asyncio.run(events_of(agent))
    assert [event.text for event in again if isinstance(event, Notice)] == [
        "this server does not enforce schemas: it is asked for text, and validating it here"
    ]
    assert len(wire.bodies) == 4


def test_what_a_server_does_not_enforce_is_validated_here() -> None:
    wire = Wire(*[streamed([chunk(content='"green"'), chunk("stop")])] * 3)
    agent = Agent("m", Literal["red", "blue"], backend=wire.other(), output_retries=2)
    with pytest.raises(OutputInvalid, match="must be"):
        agent.run_sync("Go")
    assert len(wire.bodies) == 3


def test_calls_that_all_have_index_0_are_told_apart() -> None:
    calls = [call(0, "c1", "add", '{"a": 1, "b": 1}'), call(0, "c2", "add", '{"a": 2, "b": 2}')]
    wire = Wire(streamed([chunk(tool_calls=[one]) for one in calls] + [chunk("stop")]), streamed(TEXT))
    events = asyncio.run(events_of(Agent("m", tools=[add], backend=wire.other())))
    closed = [(e.call_id, e.arguments) for e in events if isinstance(e, ToolCallClosed)]
    assert closed == [("c1", {"a": 1, "b": 1}), ("c2", {"a": 2, "b": 2})]


def test_calls_without_an_id_get_one_and_arguments_may_be_objects() -> None:
    given = {"function": {"name": "add", "arguments": {"a": 1, "b": 1}}}
    wire = Wire(streamed([chunk(tool_calls=[given]), chunk("stop")]), streamed(TEXT))
    run = Agent("m", tools=[add], backend=wire.other()).run_sync("Go").run
    assert run.messages[2].content == "2"
    assert run.messages[2].tool_call_id


@pytest.mark.parametrize(
    ("answer", "error", "words"),
    [
        (httpx.Response(404, json={"error": {"message": "no such model"}}), ResponseError, "no such model"),
        (streamed([chunk(content="It")], done=False), ConnectionError, "before it was complete"),
        (streamed([chunk(content="It"), {"error": {"message": "out of memory"}}]), ResponseError, "memory"),
        (httpx.Response(200, text="data: <html>\n\n"), ResponseError, "expected a JSON object"),
        (httpx.Response(200, text="<html>hello</html>"), ConnectionError, "before it was complete"),
    ],
)
def test_what_a_server_says_wrong_is_a_typed_error(
    answer: httpx.Response, error: type[Exception], words: str
) -> None:
    with pytest.raises(error, match=words):
        Agent("m", backend=Wire(answer).other()).run_sync("Go")


def test_a_server_that_hangs_is_left_at_the_deadline() -> None:
    class Never(httpx.AsyncByteStream):
        async def __aiter__(self) -> AsyncIterator[bytes]:
            yield b'data: {"choices": [{"index": 0, "delta": {"content": "It"}}]}\n\n'
            await asyncio.Event().wait()

    wire = Wire(httpx.Response(200, stream=Never()))
    agent = Agent("m", backend=wire.other(), limits=Limits(seconds=0.2))
    with pytest.raises(LimitReached) as caught:
        agent.run_sync("Go")
    assert caught.value.limit == "seconds"


def test_no_server_says_how_to_get_one() -> None:
    with pytest.raises(ConnectionError, match="agentkit serve"):
        Agent("m", backend=Server("http://127.0.0.1:9")).run_sync("Go")


@pytest.mark.parametrize("kind", [Server, lambda url: OpenAICompatible(f"{url}/v1")])
def test_the_same_agent_runs_on_our_server_by_either_way(kind: Any, tmp_path: Path) -> None:
    say = '<tool_call>\n{"name": "add", "arguments": {"a": 20, "b": 22}}\n</tool_call>'
    app, _ = scripted_app(tmp_path, Replies([say, '"blue"']))
    with serving(app) as url:
        agent = Agent("thinker", Literal["red", "blue"], tools=[add], backend=kind(url))
        result = agent.run_sync("Go")
    assert result.output == "blue"
    assert result.messages[2].content == "42"
    assert result.usage.cached_tokens > 0
