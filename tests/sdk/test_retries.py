from __future__ import annotations

from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from pathlib import Path
from typing import Any

import httpx
import pytest

import agentkit
from agentkit._retry import Attempts, Retry

SAFE: list[tuple[str, tuple[Any, ...]]] = [
    ("list", ()),
    ("ps", ()),
    ("show", ("m",)),
    ("version", ()),
    ("blob_exists", ("sha256:a",)),
    ("embed", ("m", "a")),
    ("embeddings", ("m", "a")),
]
UNSAFE: list[tuple[str, tuple[Any, ...]]] = [
    ("chat", ("m", [{"role": "user", "content": "Hi"}])),
    ("generate", ("m", "a")),
    ("pull", ("m",)),
    ("push", ("m",)),
    ("create", ("m",)),
    ("copy", ("a", "b")),
    ("delete", ("m",)),
    ("stop", ("m",)),
]
ANSWERS = {
    "/api/tags": {"models": []},
    "/api/ps": {"models": []},
    "/api/version": {"version": "1"},
    "/api/embed": {"embeddings": [[1.0]]},
    "/api/embeddings": {"embedding": [1.0]},
    "/api/chat": {"message": {"role": "assistant", "content": "Hi"}, "done": True},
    "/api/generate": {"response": "Hi", "done": True},
}


def fails_first(wire, times: int, fault: type[httpx.TransportError] | httpx.Response) -> None:
    """The first `times` requests fail by `fault`; later ones are answered as the route answers."""

    def answer(request: httpx.Request) -> httpx.Response:
        if len(wire.requests) > times:
            return httpx.Response(200, json=ANSWERS.get(request.url.path, {"status": "success"}))
        if isinstance(fault, httpx.Response):
            return httpx.Response(fault.status_code, headers=fault.headers, content=fault.content)
        raise fault("scripted", request=request)

    wire.answer = answer


@pytest.mark.parametrize(("method", "arguments"), SAFE + UNSAFE)
@pytest.mark.parametrize("fault", [httpx.ConnectError, httpx.ConnectTimeout])
def test_every_request_is_repeated_when_it_could_not_be_sent(wire, fault, method, arguments) -> None:
    fails_first(wire, 2, fault)
    wire.call(method, *arguments)
    assert len(wire.requests) == 3


@pytest.mark.parametrize("method", ["chat", "generate"])
def test_a_stream_is_repeated_when_it_could_not_be_sent(wire, method: str) -> None:
    fails_first(wire, 1, httpx.ConnectError)
    [piece] = wire.call(method, *dict(UNSAFE)[method], stream=True)
    assert piece.done
    assert len(wire.requests) == 2


@pytest.mark.parametrize(("method", "arguments"), SAFE)
@pytest.mark.parametrize("fault", [httpx.ReadError, httpx.RemoteProtocolError, httpx.Response(503)])
def test_what_changes_nothing_is_repeated_after_any_passing_fault(wire, fault, method, arguments) -> None:
    fails_first(wire, 2, fault)
    wire.call(method, *arguments)
    assert len(wire.requests) == 3


@pytest.mark.parametrize(("method", "arguments"), UNSAFE)
@pytest.mark.parametrize("fault", [httpx.ReadError, httpx.RemoteProtocolError, httpx.Response(503)])
def test_what_the_server_may_have_done_is_not_asked_again(wire, fault, method, arguments) -> None:
    fails_first(wire, 1, fault)
    with pytest.raises(agentkit.AgentkitError):
        wire.call(method, *arguments)
    assert len(wire.requests) == 1
    assert wire.waits == []


@pytest.mark.parametrize("fault", [httpx.ReadTimeout, httpx.WriteTimeout, httpx.PoolTimeout])
def test_a_timeout_is_the_callers_and_never_multiplied(wire, fault) -> None:
    fails_first(wire, 1, fault)
    with pytest.raises(agentkit.TimeoutError):
        wire.call("list")
    assert len(wire.requests) == 1


@pytest.mark.parametrize("status", [400, 401, 404, 500, 501])
def test_an_error_that_stays_is_not_asked_for_again(wire, status: int) -> None:
    fails_first(wire, 1, httpx.Response(status))
    with pytest.raises(agentkit.ResponseError):
        wire.call("list")
    assert len(wire.requests) == 1


def test_the_last_fault_is_the_one_that_is_raised(wire) -> None:
    fails_first(wire, 9, httpx.Response(503, json={"error": "server busy"}))
    with pytest.raises(agentkit.ResponseError, match="server busy"):
        wire.call("list")
    wire.requests.clear()
    fails_first(wire, 9, httpx.ConnectError)
    with pytest.raises(agentkit.ConnectionError, match="agentkit serve"):
        wire.call("list")
    assert len(wire.requests) == 3


@pytest.mark.parametrize(("retries", "requests"), [(0, 1), (1, 2), (4, 5)])
def test_how_often_is_the_clients_setting(wire, retries: int, requests: int) -> None:
    wire.settings["retries"] = Retry(retries, sleep=wire.waits.append)
    fails_first(wire, 9, httpx.ConnectError)
    with pytest.raises(agentkit.ConnectionError):
        wire.call("list")
    assert (len(wire.requests), len(wire.waits)) == (requests, retries)


def test_no_retries_is_a_number_too(wire) -> None:
    wire.settings["retries"] = 0
    fails_first(wire, 9, httpx.ConnectError)
    with pytest.raises(agentkit.ConnectionError):
        wire.call("list")
    assert len(wire.requests) == 1


def test_waits_double_within_a_bound_and_differ_by_chance(wire) -> None:
    wire.settings["retries"] = Retry(6, first_wait=1, longest_wait=8, sleep=wire.waits.append)
    fails_first(wire, 6, httpx.ConnectError)
    wire.call("list")
    for wait, longest in zip(wire.waits, [1, 2, 4, 8, 8, 8], strict=True):
        assert longest / 2 <= wait <= longest


@pytest.mark.parametrize(("header", "waits"), [("3", [3.0]), ("0", [0.0])])
def test_the_wait_that_a_busy_server_asks_for_is_kept(wire, header: str, waits: list[float]) -> None:
    fails_first(wire, 1, httpx.Response(503, headers={"retry-after": header}))
    wire.call("list")
    assert wire.waits == waits


def test_a_server_that_asks_for_longer_than_the_bound_is_not_asked_again(wire) -> None:
    later = format_datetime(datetime.now(UTC) + timedelta(days=1), usegmt=True)
    for header in ("11", later):
        wire.requests.clear()
        fails_first(wire, 1, httpx.Response(503, headers={"retry-after": header}))
        with pytest.raises(agentkit.ResponseError):
            wire.call("list")
        assert len(wire.requests) == 1


@pytest.mark.parametrize("header", ["soon", "-1", "Wed, 21 Oct", "1.5"])
def test_a_wait_that_cannot_be_read_counts_as_none(header: str) -> None:
    attempts = Attempts(Retry(first_wait=4), safe=True)
    wait = attempts.wait_after_answer(httpx.Response(503, headers={"retry-after": header}))
    assert wait is not None
    assert 2 <= wait <= 4


def test_a_moment_that_has_passed_is_no_wait() -> None:
    past = format_datetime(datetime(2020, 1, 1, tzinfo=UTC), usegmt=True)
    answer = httpx.Response(503, headers={"retry-after": past})
    assert Attempts(Retry(), safe=True).wait_after_answer(answer) == 0


def test_an_upload_is_whole_after_its_first_attempt_failed(wire, tmp_path: Path) -> None:
    file = tmp_path / "x.gguf"
    file.write_bytes(b"gguf" * 700_000)

    def answer(request: httpx.Request) -> httpx.Response:
        if request.method == "HEAD":
            return httpx.Response(404)
        if len(wire.requests) == 2:
            raise httpx.ConnectError("scripted", request=request)
        return httpx.Response(201)

    wire.answer = answer
    wire.call("create_blob", file)
    assert len(wire.waits) == 1
    assert wire.requests[-1].content == file.read_bytes()


def test_an_async_sleep_is_awaited() -> None:
    import asyncio

    waits: list[float] = []

    async def sleep(seconds: float) -> None:
        await asyncio.sleep(0)
        waits.append(seconds)

    asyncio.run(Retry(sleep=sleep).pause_async(3))
    assert waits == [3]
