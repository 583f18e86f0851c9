"""What agents send to servers and make of their answers: agentkit's own, and any other that speaks OpenAI's
chat completions."""

from __future__ import annotations

import asyncio
import json
import logging
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any, Literal

import anyio
import httpx
import pytest
from support.scripted_server import Replies, scripted_app, serving

from agentkit import (
    Agent,
    ConnectionError,
    LimitReached,
    Limits,
    Message,
    Notice,
    OpenAICompatible,
    OutputInvalid,
    RequestError,
    ResponseError,
    RunEvent,
    Server,
    ToolCallClosed,
    Usage,
)
from agentkit._turn import Demand, Piece, Text, Told, TurnDone, TurnRequest


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


def notices_of(agent: Agent[Any]) -> list[str]:
    return [event.text for event in asyncio.run(events_of(agent)) if isinstance(event, Notice)]


def refusal(status: int, message: str, **error: Any) -> httpx.Response:
    return httpx.Response(status, json={"error": {"message": message, **error}})


class Never(httpx.AsyncByteStream):
    """A body that begins and does not go on."""

    def __init__(self, begin: bytes = b"") -> None:
        self.begin = begin

    async def __aiter__(self) -> AsyncIterator[bytes]:
        yield self.begin
        await asyncio.Event().wait()


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


def test_what_is_refused_without_a_schema_too_is_the_first_error_and_the_next_run_asks_for_it_again() -> None:
    wire = Wire(
        refusal(400, "context too long"),
        refusal(400, "too long again"),
        refusal(422, "and again"),
        streamed([chunk(content='"red"'), chunk("stop")]),
    )
    agent = Agent("m", Literal["red", "blue"], backend=wire.other())
    with pytest.raises(ResponseError, match="context too long"):
        agent.run_sync("Go")
    assert notices_of(agent) == []
    assert wire.bodies[-1]["response_format"]["type"] == "json_schema"


@pytest.mark.parametrize("status", [404, 500])
def test_an_error_that_no_schema_causes_is_raised_at_once(status: int) -> None:
    wire = Wire(refusal(status, "no such model"))
    with pytest.raises(ResponseError, match="no such model"):
        Agent("m", Literal["red", "blue"], backend=wire.other()).run_sync("Go")
    assert len(wire.bodies) == 1


def test_asking_for_less_takes_its_time_from_the_same_deadline(monkeypatch: pytest.MonkeyPatch) -> None:
    now = 0.0
    monkeypatch.setattr("agentkit._backends.monotonic", lambda: now)

    def slowly(body: dict[str, Any]) -> httpx.Response:
        nonlocal now
        now += 40
        return refusal(400, "no schemas")

    wire = Wire(slowly, slowly, httpx.Response(200, stream=Never()))
    request = TurnRequest(
        model="m",
        messages=[Message(role="user", content="Go")],
        demand=Demand("json_schema", {}),
        max_seconds=60,
    )

    async def pieces() -> list[Piece]:
        with anyio.fail_after(30):
            async with wire.other().connect() as session:
                return [piece async for piece in session.turn(request)]

    assert asyncio.run(pieces())[-1] == TurnDone("deadline", Usage(turns=1))


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


def closed_calls(*deltas: dict[str, Any]) -> list[tuple[str, dict[str, Any]]]:
    wire = Wire(streamed([chunk(tool_calls=[one]) for one in deltas] + [chunk("stop")]), streamed(TEXT))
    events = asyncio.run(events_of(Agent("m", tools=[add], backend=wire.other())))
    results = [m["tool_call_id"] for m in wire.bodies[-1]["messages"] if m["role"] == "tool"]
    closed = [(e.call_id, e.arguments) for e in events if isinstance(e, ToolCallClosed)]
    assert results == [id for id, _ in closed]
    return closed


@pytest.mark.parametrize("index", [0, 1])
def test_calls_that_share_an_id_are_told_apart(index: int) -> None:
    first, second = closed_calls(
        call(0, "c1", "add", '{"a": 1, "b": 1}'),
        call(index, "c1", "add", '{"a": 2,'),
        call(index, "c1", None, ' "b": 2}'),
    )
    assert first == ("c1", {"a": 1, "b": 1})
    assert second[0] != "c1"
    assert second[1] == {"a": 2, "b": 2}


def test_calls_without_ids_that_all_have_index_0_are_told_apart() -> None:
    first, second = closed_calls(
        call(0, None, "add", '{"a": 1,'),
        call(0, None, None, ' "b": 1}'),
        call(0, None, "add", '{"a": 2, "b": 2}'),
    )
    assert (first[1], second[1]) == ({"a": 1, "b": 1}, {"a": 2, "b": 2})
    assert first[0] != second[0]


def test_a_head_that_is_repeated_with_each_piece_is_one_call() -> None:
    pieces = [call(0, "c1", "add", text) for text in ('{"a": 1,', ' "b": 1}', "")]
    assert closed_calls(*pieces) == [("c1", {"a": 1, "b": 1})]


@pytest.mark.parametrize("kind", ["own", "other"])
def test_images_are_refused_and_not_dropped(kind: str) -> None:
    wire = Wire()
    message = Message(role="user", content="What is it?", images=["cG5n"])
    with pytest.raises(RequestError, match="text only"):
        Agent("m", backend=getattr(wire, kind)()).run_sync("Go", history=[message])
    assert wire.bodies == []


def test_a_run_says_which_wishes_another_server_cannot_keep() -> None:
    def sub(a: int, b: int) -> int:
        """Subtracts."""
        return a - b

    wire = Wire(streamed([chunk(content="It"), chunk(content=" is"), chunk("stop")]))
    request = TurnRequest(
        model="m",
        messages=[Message(role="user", content="Go")],
        tools=[{"type": "function", "function": {"name": name}} for name in ("add", "sub", "mul")],
        allowed=["add", "sub"],
        thinking_budget=9,
        max_tokens=50,
    )

    async def pieces() -> list[Piece]:
        async with wire.other().connect() as session:
            return [piece async for piece in session.turn(request)]

    told = asyncio.run(pieces())
    assert [type(piece) for piece in told] == [Told, Told, Text, Text, Told, TurnDone]
    texts = [piece.text for piece in told if isinstance(piece, Told)]
    for text, words in zip(texts, ["thinking budget", "['add', 'sub']", "estimated"], strict=True):
        assert words in text
    assert told[-1] == TurnDone("stop", Usage(turns=1, completion_tokens=2))


def test_tokens_end_a_run_on_a_server_that_does_not_count_them() -> None:
    calling = [
        chunk(tool_calls=[call(0, "c1", "add", '{"a": 1,')]),
        chunk(tool_calls=[call(0, "c1", None, '"b": 1}')]),
    ]
    wire = Wire(*[streamed([*calling, chunk("stop")])] * 2)
    agent = Agent("m", tools=[add], backend=wire.other(), limits=Limits(tokens=4))
    with pytest.raises(LimitReached) as caught:
        agent.run_sync("Go")
    assert caught.value.limit == "tokens"
    assert [body["max_tokens"] for body in wire.bodies] == [4, 2]


@pytest.mark.parametrize(("limit", "sent"), [(None, None), (7, 7)])
def test_a_negative_num_predict_is_no_bound(limit: int | None, sent: int | None) -> None:
    wire = Wire(streamed(TEXT))
    agent = Agent("m", backend=wire.other(), options={"num_predict": -1}, limits=Limits(tokens=limit))
    agent.run_sync("Go")
    assert wire.bodies[0].get("max_tokens") == sent


def test_an_error_of_null_is_none() -> None:
    wire = Wire(streamed([{**one, "error": None} for one in TEXT]))
    assert Agent("m", backend=wire.other()).run_sync("Go").output == 'It is "red"'


SEPARATORS = "a\u2028b\u2029c\u0085d\x0be\x0cf\x1cg"


def test_a_line_ends_only_where_the_protocol_ends_it() -> None:
    one = json.dumps(chunk(content=SEPARATORS), ensure_ascii=False)
    text = f"data: {one}\r\n\r\ndata: {json.dumps(chunk('stop'))}"
    # Each byte by itself: no character and no line comes whole.
    pieces = [bytes([byte]) for byte in text.encode()]

    class Bytes(httpx.AsyncByteStream):
        async def __aiter__(self) -> AsyncIterator[bytes]:
            for piece in pieces:
                yield piece

    wire = Wire(httpx.Response(200, stream=Bytes()))
    # In JSON the control characters are escaped, the others are not.
    assert Agent("m", backend=wire.other()).run_sync("Go").output == SEPARATORS


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
        (streamed([chunk(content="It"), chunk("content_filter")]), ResponseError, "server's filter"),
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
    begin = b'data: {"choices": [{"index": 0, "delta": {"content": "It"}}]}\n\n'
    wire = Wire(httpx.Response(200, stream=Never(begin)))
    agent = Agent("m", backend=wire.other(), limits=Limits(seconds=0.2))
    with pytest.raises(LimitReached) as caught:
        agent.run_sync("Go")
    assert caught.value.limit == "seconds"


def test_a_server_that_hangs_in_its_error_is_left_at_the_deadline() -> None:
    wire = Wire(httpx.Response(503, stream=Never()))
    agent = Agent("m", backend=wire.other(), limits=Limits(seconds=0.2))

    async def bounded() -> None:
        with anyio.fail_after(30):
            await agent.run("Go")

    with pytest.raises(LimitReached) as caught:
        asyncio.run(bounded())
    assert caught.value.limit == "seconds"


def test_seconds_are_used_up_when_our_server_says_so_and_not_when_a_proxy_times_out() -> None:
    wire = Wire(refusal(408, "the deadline has passed", code="deadline_passed"), refusal(408, "proxy"))
    agent = Agent("m", backend=wire.own(), limits=Limits(seconds=60))
    with pytest.raises(LimitReached):
        agent.run_sync("Go")
    with pytest.raises(ResponseError, match="proxy"):
        agent.run_sync("Go")


def test_a_release_that_is_never_answered_does_not_keep_a_run(monkeypatch: pytest.MonkeyPatch) -> None:
    async def answer(request: httpx.Request) -> httpx.Response:
        if request.method == "DELETE":
            await asyncio.Event().wait()
        return streamed(TEXT)

    monkeypatch.setattr("agentkit._backends._RELEASE_S", 0.01)
    # An hour: only the release's own bound ends it.
    backend = Server("own:1", timeout=3600, transport=httpx.MockTransport(answer))

    async def bounded() -> str:
        with anyio.fail_after(30):
            return (await Agent("m", backend=backend).run("Go")).output

    assert asyncio.run(bounded()) == 'It is "red"'


@pytest.mark.parametrize(
    "error", [httpx.DecodingError, httpx.TooManyRedirects, httpx.ReadError, RuntimeError]
)
def test_a_release_that_fails_is_logged_and_the_run_goes_well(
    error: Callable[[str], Exception], caplog: pytest.LogCaptureFixture
) -> None:
    def answer(request: httpx.Request) -> httpx.Response:
        if request.method == "DELETE":
            raise error("scripted")
        return streamed(TEXT)

    caplog.set_level(logging.DEBUG, "agentkit._backends")
    backend = Server("own:1", transport=httpx.MockTransport(answer))
    assert Agent("m", backend=backend).run_sync("Go").output == 'It is "red"'
    assert "scripted" in caplog.text


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
