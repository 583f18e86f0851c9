"""Reads answers: pure functions from status and bytes to typed records, shared by both clients.

An error body becomes `ResponseError`; so does an error line in the middle of a stream. A stream that ends
before its last line is an error too, never a short answer.
"""

from __future__ import annotations

import json
from collections.abc import AsyncGenerator, AsyncIterable, Generator, Iterable
from contextlib import contextmanager
from typing import Any, Generic, cast

import httpx
from pydantic import ValidationError

from agentkit._errors import ConnectionError, ResponseError, TimeoutError
from agentkit._requests import R, Request

_SHOWN = 200


def parse_answer(request: Request[R], status: int, content: bytes) -> R:
    """The answer to a request that does not stream.

    Raises:
        ResponseError: the status is not a success, or the body is not what the route answers.
    """
    check_status(status, content)
    if not content.strip():
        return request.response.model_validate({"status": "success"})
    return _record(request, content)


def check_status(status: int, content: bytes) -> None:
    """Raises `ResponseError` with the server's own text unless `status` is a success."""
    if 200 <= status < 300:
        return
    text, problems = _error(content)
    raise ResponseError(text or f"the server answered with status {status}", status, problems=problems)


class LineReader(Generic[R]):
    """Reads the lines of one stream, and knows whether its last line has come."""

    def __init__(self, request: Request[R]) -> None:
        self._request = request
        self._complete = request.final is None

    def read(self, line: str) -> R | None:
        """The record on `line`; None for an empty line. Raises `ResponseError` for an error line."""
        if not line.strip():
            return None
        value = _json_object(line)
        if "error" in value:
            raise ResponseError(str(value["error"]), int(value.get("status_code", -1)))
        record = _record(self._request, line)
        if self._request.final is not None:
            name, expected = self._request.final
            self._complete = record.get(name) == expected
        return record

    def finish(self) -> None:
        """To be called at the end of the stream; raises `ConnectionError` when the last line never came."""
        if not self._complete:
            raise ConnectionError("the answer ended before it was complete", hint="send the request again")


def lines_of(pieces: Iterable[bytes]) -> Generator[str, None, None]:
    """The lines of a stream. Only \\n ends one: what else Unicode breaks lines at may stand inside JSON."""
    cutter = _LineCutter()
    for piece in pieces:
        yield from cutter.cut(piece)
    yield cutter.rest()


async def async_lines_of(pieces: AsyncIterable[bytes]) -> AsyncGenerator[str, None]:
    """As `lines_of`."""
    cutter = _LineCutter()
    async for piece in pieces:
        for line in cutter.cut(piece):
            yield line
    yield cutter.rest()


class _LineCutter:
    def __init__(self) -> None:
        self._begun: list[bytes] = []

    def cut(self, piece: bytes) -> list[str]:
        first, *others = piece.split(b"\n")
        self._begun.append(first)
        if not others:
            return []
        whole = [self.rest(), *(line.decode(errors="replace") for line in others[:-1])]
        self._begun = [others[-1]]
        return whole

    def rest(self) -> str:
        return b"".join(self._begun).decode(errors="replace")


@contextmanager
def translated(
    base_url: str, *, hint: str = "start one with `agentkit serve`, or set AGENTKIT_HOST"
) -> Generator[None, None, None]:
    """Turns httpx's transport errors into the SDK's own; `hint` is what to do when nobody answers."""
    try:
        yield
    except (httpx.ConnectError, httpx.ConnectTimeout) as error:
        raise ConnectionError(f"no server answers at {base_url}", hint=hint) from error
    except httpx.TimeoutException as error:
        raise TimeoutError(
            f"no answer from {base_url} in time", hint="give the client a longer timeout"
        ) from error
    except httpx.RequestError as error:
        reason = str(error) or type(error).__name__
        raise ConnectionError(
            f"the connection to {base_url} was lost: {reason}", hint="look at the server's log, and try again"
        ) from error


def _record(request: Request[R], text: bytes | str) -> R:
    try:
        return request.response.model_validate(_json_object(text))
    except ValidationError as error:
        raise ResponseError(
            f"the answer of {request.path} has another shape than expected: {error.errors()[0]['msg']}; "
            f"check that AGENTKIT_HOST is an agentkit or ollama server"
        ) from error


def _json_object(text: bytes | str) -> dict[str, Any]:
    try:
        value: Any = json.loads(text)
    except ValueError:
        value = None
    if not isinstance(value, dict):
        raise ResponseError(
            f"expected a JSON object from the server, got {text[:_SHOWN]!r}; check AGENTKIT_HOST"
        )
    return cast("dict[str, Any]", value)


def _error(content: bytes) -> tuple[str, list[dict[str, str]]]:
    """The text of an error body, and the problems of a refused schema in it."""
    try:
        value: Any = json.loads(content)
    except ValueError:
        return content.decode(errors="replace").strip()[:_SHOWN], []
    body = cast("dict[str, Any]", value) if isinstance(value, dict) else {}
    error = body.get("error", value)
    if isinstance(error, dict):
        error = cast("dict[str, Any]", error).get("message", error)
    return str(error), body.get("problems", [])
