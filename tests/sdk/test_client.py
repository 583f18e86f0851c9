from __future__ import annotations

import asyncio
import hashlib
import json
import os
from pathlib import Path

import httpx
import ollama
import pytest

import agentkit
from agentkit import AsyncClient, Client, Message, Options, RequestError

CHAT = {"model": "m", "message": {"role": "assistant", "content": "Hi"}, "done": True, "done_reason": "stop"}


def test_chat_sends_the_conversation_and_returns_the_message(wire) -> None:
    wire.answers(json=CHAT)
    answer = wire.call(
        "chat",
        "m",
        [{"role": "system", "content": "Be brief."}, Message(role="user", content="Hello")],
        options=Options(temperature=0, stop=["END"]),
        keep_alive="10m",
    )
    assert answer.message.content == answer["message"]["content"] == "Hi"
    assert wire.requests[-1].url.path == "/api/chat"
    assert wire.body() == {
        "model": "m",
        "messages": [{"role": "system", "content": "Be brief."}, {"role": "user", "content": "Hello"}],
        "stream": False,
        "options": {"temperature": 0, "stop": ["END"]},
        "keep_alive": "10m",
    }


def test_a_stream_yields_each_piece(wire) -> None:
    wire.streams(
        {"message": {"role": "assistant", "content": "H"}, "done": False},
        {"message": {"role": "assistant", "content": "i"}, "done": True, "eval_count": 2},
    )
    pieces = wire.call("chat", "m", [{"role": "user", "content": "Hello"}], stream=True)
    assert [piece.message.content for piece in pieces] == ["H", "i"]
    assert pieces[-1].eval_count == 2
    assert wire.body()["stream"] is True


def test_generate_sends_every_parameter(wire, tmp_path: Path) -> None:
    picture = tmp_path / "a.png"
    picture.write_bytes(b"png")
    wire.answers(json={"response": "ok", "done": True, "context": [1, 2]})
    answer = wire.call(
        "generate",
        "m",
        "text",
        "suffix",
        system="s",
        raw=True,
        context=[1],
        images=[str(picture), b"raw"],
        format={"type": "object"},
    )
    assert (answer.response, answer.context) == ("ok", [1, 2])
    assert wire.body() == {
        "model": "m",
        "prompt": "text",
        "suffix": "suffix",
        "stream": False,
        "system": "s",
        "raw": True,
        "context": [1],
        "images": ["cG5n", "cmF3"],
        "format": {"type": "object"},
    }


WEATHER = {
    "type": "function",
    "function": {"name": "weather", "parameters": {"type": "object", "properties": {"city": {}}}},
}


@pytest.mark.parametrize("tool", [WEATHER, ollama.Tool.model_validate(WEATHER)])
def test_chat_sends_tools_and_returns_calls_and_thoughts(wire, tool) -> None:
    call = {"id": "call_1", "function": {"index": 0, "name": "weather", "arguments": {"city": None}}}
    message = {"role": "assistant", "content": "", "thinking": "Hm.", "tool_calls": [call]}
    wire.answers(json={**CHAT, "message": message, "constraint": "exact", "constraint_notes": ["a"]})
    answer = wire.call(
        "chat",
        "m",
        [{"role": "user", "content": "Hi"}],
        tools=[tool],
        tool_choice="required",
        parallel_tool_calls=False,
        think="low",
        thinking_budget=0,
        compact=True,
    )
    [called] = answer.message.tool_calls
    assert (called.id, called.function.name, called.function.arguments) == (
        "call_1",
        "weather",
        {"city": None},
    )
    assert (answer.message.thinking, answer.constraint, answer.constraint_notes) == ("Hm.", "exact", ["a"])
    body = wire.body()
    assert body["tools"] == [WEATHER]
    assert {name: body[name] for name in body if name not in ("model", "messages", "stream", "tools")} == {
        "tool_choice": "required",
        "parallel_tool_calls": False,
        "think": "low",
        "thinking_budget": 0,
        "compact": True,
    }
    result = {"role": "tool", "tool_name": "weather", "content": "mild"}
    wire.call("chat", "m", [answer.message, result])
    assert wire.body()["messages"] == [message, result]


def test_a_refused_schema_tells_its_problems(wire) -> None:
    problem = {"pointer": "/not", "keyword": "not", "reason": "cannot be negated", "rewrite": ""}
    wire.answers(400, json={"error": "refused", "problems": [problem]})
    with pytest.raises(agentkit.ResponseError) as error:
        wire.call("chat", "m", [{"role": "user", "content": "Hi"}], format={"not": {}})
    assert (error.value.error, error.value.problems) == ("refused", (problem,))


@pytest.mark.parametrize(
    ("method", "arguments", "sent", "body", "answer"),
    [
        ("version", (), "GET /api/version", None, {"version": "1"}),
        ("list", (), "GET /api/tags", None, {"models": []}),
        ("ps", (), "GET /api/ps", None, {"models": []}),
        ("show", ("m",), "POST /api/show", {"model": "m"}, {"model_info": {"a": 1}}),
        ("copy", ("a", "b"), "POST /api/copy", {"source": "a", "destination": "b"}, None),
        ("delete", ("m",), "DELETE /api/delete", {"model": "m"}, None),
        ("pull", ("m",), "POST /api/pull", {"model": "m", "stream": False}, {"status": "success"}),
        ("stop", ("m",), "POST /api/generate", {"model": "m", "keep_alive": 0, "stream": False}, {}),
        ("embed", ("m", ["a"]), "POST /api/embed", {"model": "m", "input": ["a"]}, {"embeddings": [[1.0]]}),
        ("embeddings", ("m", "a"), "POST /api/embeddings", {"model": "m", "prompt": "a"}, {"embedding": [1]}),
        (
            "tokenize",
            ("m", ""),
            "POST /api/tokenize",
            {"model": "m", "text": "", "add_special": True, "parse_special": True},
            {"model": "m", "tokens": [], "count": 0},
        ),
        (
            "detokenize",
            ("m", (1, 2)),
            "POST /api/detokenize",
            {"model": "m", "tokens": [1, 2], "special": True},
            {"model": "m", "text": "hi"},
        ),
        (
            "apply_template",
            ("m", [{"role": "user", "content": "hi"}]),
            "POST /api/apply_template",
            {"model": "m", "messages": [{"role": "user", "content": "hi"}], "stream": False},
            {"model": "m", "prompt": "hi", "prompt_eval_count": 1, "context_length": 2},
        ),
    ],
)
def test_each_method_has_its_route(wire, method: str, arguments: tuple, sent: str, body, answer) -> None:
    wire.answers(json=answer) if answer is not None else wire.answers()
    result = wire.call(method, *arguments)
    request = wire.requests[-1]
    assert f"{request.method} {request.url.path}" == sent
    assert (json.loads(request.content) if request.content else None) == body
    if answer is None:
        assert result.status == "success"
    else:
        assert result.model_dump(by_alias=True, exclude_unset=True) == answer


def test_pull_yields_progress(wire) -> None:
    wire.streams({"status": "pulling a", "digest": "a", "total": 4, "completed": 2}, {"status": "success"})
    first, last = wire.call("pull", "m", stream=True, insecure=True)
    assert (first.completed, first.total, last.status) == (2, 4, "success")
    assert wire.body()["insecure"] is True


def test_an_error_answer_raises_with_text_and_status(wire) -> None:
    wire.answers(404, json={"error": "model 'm' not found"})
    with pytest.raises(agentkit.ResponseError) as error:
        wire.call("show", "m")
    assert (error.value.error, error.value.status_code) == ("model 'm' not found", 404)
    assert str(error.value) == "model 'm' not found (status code: 404)"


def test_an_error_before_the_first_piece_raises_with_its_status(wire) -> None:
    wire.answers(503, json={"error": "server busy"})
    with pytest.raises(agentkit.ResponseError) as error:
        wire.call("generate", "m", "a", stream=True)
    assert error.value.status_code == 503


def test_an_error_line_in_the_middle_of_a_stream_raises(wire) -> None:
    wire.streams({"response": "a", "done": False}, {"error": "model runner has unexpectedly stopped"})
    with pytest.raises(agentkit.ResponseError, match="unexpectedly stopped") as error:
        wire.call("generate", "m", "a", stream=True)
    assert error.value.status_code == -1


def test_a_line_of_a_stream_ends_only_at_its_newline(wire) -> None:
    text = "a\u2028b\u2029c\u0085d"
    lines = [{"response": text, "done": False}, {"response": "", "done": True}]
    content = "\r\n".join(json.dumps(line, ensure_ascii=False) for line in lines).encode()
    wire.answers(content=content)
    assert [piece.response for piece in wire.call("generate", "m", "a", stream=True)] == [text, ""]


def test_a_stream_cut_short_is_an_error_and_no_answer(wire) -> None:
    wire.streams({"response": "a", "done": False})
    with pytest.raises(agentkit.ConnectionError, match="before it was complete"):
        wire.call("generate", "m", "a", stream=True)


@pytest.mark.parametrize("content", [b"<html>proxy</html>", b"[]", b'{"models": 7}'])
def test_an_answer_of_another_shape_names_the_setting_to_check(wire, content: bytes) -> None:
    wire.answers(content=content)
    with pytest.raises(agentkit.ResponseError, match="check"):
        wire.call("list")


@pytest.mark.parametrize(
    ("status", "content", "text"),
    [
        (500, b"plain words", "plain words"),
        (502, b"", "the server answered with status 502"),
        (400, b'{"error": {"message": "shaped otherwise"}}', "shaped otherwise"),
    ],
)
def test_errors_of_any_shape_keep_their_words(wire, status: int, content: bytes, text: str) -> None:
    wire.answers(status, content=content)
    with pytest.raises(agentkit.ResponseError) as error:
        wire.call("ps")
    assert (error.value.error, error.value.status_code) == (text, status)


@pytest.mark.parametrize(
    ("fault", "expected"),
    [
        (httpx.ConnectError, agentkit.ConnectionError),
        (httpx.ConnectTimeout, agentkit.ConnectionError),
        (httpx.RemoteProtocolError, agentkit.ConnectionError),
        (httpx.ReadTimeout, agentkit.TimeoutError),
    ],
)
def test_faults_of_the_transport_are_the_sdks_own_errors(wire, fault, expected) -> None:
    wire.fails(fault)
    for stream in (False, True):
        with pytest.raises(expected, match=r"http://127\.0\.0\.1:11434"):
            wire.call("generate", "m", "a", stream=stream)


def test_no_server_says_what_to_do_and_is_the_builtin_error_too(wire) -> None:
    wire.fails(httpx.ConnectError)
    with pytest.raises(ConnectionError, match="agentkit serve"):
        wire.call("list")


def test_the_key_of_the_environment_is_sent_as_bearer(wire, monkeypatch: pytest.MonkeyPatch) -> None:
    wire.answers(json={"models": []})
    monkeypatch.setenv("OLLAMA_API_KEY", "theirs")
    wire.call("list")
    assert wire.requests[-1].headers["authorization"] == "Bearer theirs"
    monkeypatch.setenv("AGENTKIT_API_KEY", "ours")
    wire.call("list")
    assert wire.requests[-1].headers["authorization"] == "Bearer ours"


def test_arguments_win_over_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AGENTKIT_HOST", "environment:1")
    monkeypatch.setenv("AGENTKIT_API_KEY", "environment")
    seen: list[httpx.Request] = []

    def answer(request: httpx.Request) -> httpx.Response:
        seen.append(request)
        return httpx.Response(200, json={"version": "1"})

    transport = httpx.MockTransport(answer)
    with Client("here:2/path", api_key="mine", headers={"X-Team": "a"}, transport=transport) as client:
        client.version()
    assert str(seen[0].url) == "http://here:2/path/api/version"
    assert (seen[0].headers["authorization"], seen[0].headers["x-team"]) == ("Bearer mine", "a")


def test_a_blob_is_uploaded_once(wire, tmp_path: Path) -> None:
    content = b"gguf" * 700_000
    file = tmp_path / "x.gguf"
    file.write_bytes(content)
    store: set[str] = set()

    def answer(request: httpx.Request) -> httpx.Response:
        if request.method == "HEAD":
            return httpx.Response(200 if request.url.path in store else 404)
        assert hashlib.sha256(request.content).hexdigest() in request.url.path
        store.add(request.url.path)
        return httpx.Response(201)

    wire.answer = answer
    digest = wire.call("create_blob", file)
    assert digest == f"sha256:{hashlib.sha256(content).hexdigest()}"
    assert wire.call("create_blob", file) == digest
    assert [request.method for request in wire.requests] == ["HEAD", "POST", "HEAD"]


def test_an_upload_tells_how_far_it_is(wire, tmp_path: Path) -> None:
    file = tmp_path / "x.gguf"
    file.write_bytes(b"a" * 1_500_000)
    told: list[tuple[str, int, int]] = []
    wire.answer = lambda request: httpx.Response(404 if request.method == "HEAD" else 201)
    wire.call("create_blob", file, progress=lambda *step: told.append(step))
    assert told == [
        (doing, done, 1_500_000) for doing in ("hashing", "uploading") for done in (1 << 20, 1_500_000)
    ]
    assert wire.requests[-1].headers["content-length"] == "1500000"


@pytest.mark.parametrize("when", ["hashing", "uploading"])
@pytest.mark.parametrize("size", [100, 3_000_000])
def test_a_file_of_another_length_than_at_the_beginning_is_not_uploaded(
    wire, tmp_path: Path, when: str, size: int
) -> None:
    file = tmp_path / "x.gguf"
    file.write_bytes(b"a" * 2_000_000)

    def change(doing: str, done: int, total: int) -> None:
        if doing == when:
            os.truncate(file, size)

    wire.answer = lambda request: httpx.Response(404 if request.method == "HEAD" else 201)
    with pytest.raises(RequestError, match=f"'{file}' has changed while it was read"):
        wire.call("create_blob", file, progress=change)


class Moved(httpx.BaseTransport, httpx.AsyncBaseTransport):
    """A server that has moved to /new, and knows what it was sent there."""

    def __init__(self) -> None:
        self.received: list[bytes] = []

    def handle_request(self, request: httpx.Request) -> httpx.Response:
        return self._answer(request, b"".join(request.stream))

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        return self._answer(request, b"".join([piece async for piece in request.stream]))

    def _answer(self, request: httpx.Request, content: bytes) -> httpx.Response:
        if not request.url.path.startswith("/new"):
            return httpx.Response(308, headers={"location": f"/new{request.url.path}"})
        if request.method == "HEAD":
            return httpx.Response(404)
        self.received.append(content)
        return httpx.Response(201)


def test_an_upload_follows_a_redirect(wire, tmp_path: Path) -> None:
    file = tmp_path / "x.gguf"
    file.write_bytes(b"ab" * 1_000_000)
    wire.settings["transport"] = moved = Moved()
    wire.call("create_blob", file)
    assert moved.received == [file.read_bytes()]


@pytest.mark.parametrize("when", ["hashing", "uploading"])
def test_an_upload_can_be_cancelled(tmp_path: Path, when: str) -> None:
    file = tmp_path / "x.gguf"
    file.write_bytes(b"a" * 20_000_000)
    told: list[str] = []

    async def upload() -> None:
        loop = asyncio.get_running_loop()

        def cancel(doing: str, done: int, total: int) -> None:
            told.append(doing)
            if doing == when:
                loop.call_soon_threadsafe(task.cancel)

        transport = httpx.MockTransport(lambda request: httpx.Response(404))
        async with AsyncClient(transport=transport) as client:
            task = asyncio.create_task(client.create_blob(file, progress=cancel))
            await task

    with pytest.raises(asyncio.CancelledError):
        asyncio.run(upload())
    assert told.count(when) < 10


@pytest.mark.parametrize("value", [float("nan"), "\ud800"])
def test_what_json_cannot_say_is_a_request_error(wire, value: object) -> None:
    with pytest.raises(RequestError, match="cannot be written as JSON"):
        wire.call("create", "m", from_="x", parameters={"stop": value})
    assert wire.requests == []


def test_create_sends_what_goes_beyond_the_published_client(wire) -> None:
    wire.streams(
        {"status": "quantizing", "digest": "sha256:a", "total": 9, "completed": 3}, {"status": "success"}
    )
    given = {
        "adapter_scales": {"l.gguf": 0.5},
        "imatrix": "sha256:c",
        "draft_files": {"d.gguf": "sha256:d"},
        "draft_quantize": "q4_0",
        "renderer": "r",
        "parser": "p",
        "requires": "0.14.0",
    }
    steps = wire.call("create", "m", "q4_K_M", None, {"a": "b"}, {"l.gguf": "e"}, stream=True, **given)
    assert [step.status for step in steps] == ["quantizing", "success"]
    assert steps[0].completed == 3
    made_of = {"quantize": "q4_K_M", "files": {"a": "b"}, "adapters": {"l.gguf": "e"}}
    assert wire.body() == {"model": "m", "stream": True, **made_of, **given}


def test_an_unknown_argument_is_a_type_error(wire) -> None:
    with pytest.raises(TypeError, match="temprature"):
        wire.call("chat", "m", [], temprature=1)
    assert wire.requests == []


@pytest.mark.parametrize(
    ("method", "arguments", "keywords", "words"),
    [
        ("show", ("",), {}, "no model is named"),
        ("generate", ("m", "a"), {"images": ["missing.png"]}, "no image file"),
    ],
)
def test_what_cannot_be_sent_is_refused_before_sending(wire, method, arguments, keywords, words) -> None:
    with pytest.raises(agentkit.RequestError, match=words):
        wire.call(method, *arguments, **keywords)
    assert wire.requests == []


def test_closing_a_stream_closes_the_connection() -> None:
    class Endless(httpx.SyncByteStream):
        closed = False

        def __iter__(self):
            while True:
                yield b'{"response": "a", "done": false}\n'

        def close(self) -> None:
            self.closed = True

    body = Endless()
    with Client(transport=httpx.MockTransport(lambda request: httpx.Response(200, stream=body))) as client:
        pieces = client.generate("m", "a", stream=True)
        assert next(pieces).response == "a"
        pieces.close()
    assert body.closed


def test_a_stream_that_is_never_read_sends_nothing() -> None:
    seen: list[httpx.Request] = []

    def answer(request: httpx.Request) -> httpx.Response:
        seen.append(request)
        return httpx.Response(200)

    with Client(transport=httpx.MockTransport(answer)) as client:
        client.generate("m", "a", stream=True)
    assert seen == []
