"""A registry that misbehaves: a proxy on loopback, in front of a real docker-registry or of a small one in
memory.

It counts what it sends, can make faults of every kind, and can be held after so many bytes.
"""

from __future__ import annotations

import asyncio
import re
import socket
import ssl
from collections.abc import AsyncGenerator, Callable, Mapping
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field, replace
from typing import Protocol

import httpx

from agentkit_server.models.digest import Digest

_PIECE = 16 << 10
_DROPPED = frozenset({"connection", "transfer-encoding", "host", "date", "content-length"})


@dataclass(frozen=True)
class Asked:
    """A request."""

    method: str
    target: str
    headers: Mapping[str, str]
    body: bytes = b""


@dataclass(frozen=True)
class Answer:
    """What is sent back; the fields behind `body` are ways to send it wrong."""

    status: int
    headers: Mapping[str, str] = field(default_factory=dict[str, str])
    body: bytes = b""
    length: int | None = None
    """What Content-Length states, where that is not the truth."""
    cut: int | None = None
    """Close the connection after this many bytes of the body."""
    stall: int | None = None
    """Send nothing more after this many bytes of the body, and leave the connection open."""
    endless: bool = False
    """Repeat the body until the other end has enough."""


class Upstream(Protocol):
    async def answer(self, asked: Asked) -> Answer: ...


class Memory:
    """Manifests and blobs by their paths, with ranges. `put` fills it."""

    def __init__(self) -> None:
        self.contents: dict[str, bytes] = {}

    def put_blob(self, repository: str, content: bytes) -> Digest:
        digest = Digest.of(content)
        self.contents[f"/v2/{repository}/blobs/{digest}"] = content
        return digest

    def put_manifest(self, repository: str, tag: str, content: bytes) -> None:
        self.contents[f"/v2/{repository}/manifests/{tag}"] = content

    async def answer(self, asked: Asked) -> Answer:
        content = self.contents.get(asked.target.partition("?")[0])
        if content is None:
            return Answer(404, body=b'{"errors":[{"code":"MANIFEST_UNKNOWN","message":"manifest unknown"}]}')
        wanted = re.fullmatch(r"bytes=(\d+)-(\d+)", asked.headers.get("range", ""))
        if wanted is None:
            return Answer(200, {}, content)
        first, last = int(wanted[1]), min(int(wanted[2]), len(content) - 1)
        span = f"bytes {first}-{last}/{len(content)}"
        return Answer(206, {"content-range": span}, content[first : last + 1])


class Proxied:
    """Another registry on loopback, `host:port`."""

    def __init__(self, host: str) -> None:
        self._http = httpx.AsyncClient(base_url=f"http://{host}", trust_env=False, verify=False)

    async def answer(self, asked: Asked) -> Answer:
        headers = {name: value for name, value in asked.headers.items() if name not in _DROPPED}
        got = await self._http.request(asked.method, asked.target, headers=headers, content=asked.body)
        kept = {name: value for name, value in got.headers.items() if name not in _DROPPED}
        length = int(got.headers.get("content-length", 0)) if asked.method == "HEAD" else None
        return Answer(got.status_code, kept, got.content, length=length)

    async def __aenter__(self) -> Proxied:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._http.aclose()


Fault = Callable[[Asked, Answer], Answer]


class FaultRegistry:
    """What stands between: `faults` change answers, in their order."""

    def __init__(self, upstream: Upstream) -> None:
        self.upstream = upstream
        self.faults: list[Fault] = []
        self.asked: list[Asked] = []
        self.sent: list[tuple[str, str, int]] = []
        """Path, `Range` and bytes sent, of each body."""
        self.host = ""
        self.hold_after: int | None = None
        """Bytes of blobs after which nothing more is sent, until `release`."""
        self.held = asyncio.Event()
        self._free = asyncio.Event()
        self._served = 0

    def on(self, path: str, fault: Fault, times: int | None = None) -> None:
        """Apply `fault` to answers whose path fits the expression; to the first `times` of them."""
        left = [times]

        def rule(asked: Asked, answer: Answer) -> Answer:
            if not re.search(path, asked.target) or left[0] == 0:
                return answer
            if left[0] is not None:
                left[0] -= 1
            return fault(asked, answer)

        self.faults.append(rule)

    def ranges(self, path: str, since: int = 0) -> list[tuple[int, int]]:
        """First and last byte of each range that was asked for, from the request of this number on; the one
        that asks for the first byte alone finds out whether there are ranges."""
        asked = [each.headers.get("range", "") for each in self.asked[since:] if re.search(path, each.target)]
        spans = (re.fullmatch(r"bytes=(\d+)-(\d+)", span) for span in asked if span != "bytes=0-0")
        return [(int(span[1]), int(span[2])) for span in spans if span]

    def hold(self, after: int) -> None:
        """Let this many more bytes of blobs through."""
        self.hold_after = self._served + after
        self.held.clear()
        self._free.clear()

    def release(self) -> None:
        self.hold_after = None
        self._free.set()

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with suppress(ConnectionError, asyncio.IncompleteReadError):
            try:
                asked = await _read(reader)
            except ValueError:
                # Whoever speaks TLS to a server without it reads this, and knows.
                writer.write(b"HTTP/1.1 400 X\r\n\r\n")
                writer.close()
                return
            self.asked.append(asked)
            answer = await self.upstream.answer(asked)
            for fault in self.faults:
                answer = fault(asked, answer)
            await self._send(asked, answer, writer)
        writer.close()
        with suppress(ConnectionError):
            await writer.wait_closed()

    async def _send(self, asked: Asked, answer: Answer, writer: asyncio.StreamWriter) -> None:
        length = len(answer.body) if answer.length is None else answer.length
        head = [f"HTTP/1.1 {answer.status} X", "connection: close"]
        if not answer.endless:
            head.append(f"content-length: {length}")
        head += [f"{name}: {value}" for name, value in answer.headers.items()]
        writer.write("\r\n".join([*head, "", ""]).encode("latin-1"))
        count = 0
        try:
            while asked.method != "HEAD":
                end = min(x for x in (len(answer.body), answer.cut, answer.stall) if x is not None)
                while count < end:
                    piece = answer.body[count : min(count + _PIECE, end)]
                    await self._let_through(asked, len(piece))
                    writer.write(piece)
                    await writer.drain()
                    count += len(piece)
                if not answer.endless:
                    break
                await asyncio.sleep(0)
                count = 0
            if answer.stall is not None:
                await writer.drain()
                await asyncio.Event().wait()
        finally:
            self.sent.append((asked.target, asked.headers.get("range", ""), count))

    async def _let_through(self, asked: Asked, count: int) -> None:
        if "/blobs/" not in asked.target:
            return
        if self.hold_after is not None and self._served + count > self.hold_after:
            self.held.set()
            await self._free.wait()
        self._served += count


async def _read(reader: asyncio.StreamReader) -> Asked:
    first = await reader.readexactly(1)
    if not first.isalpha():
        raise ValueError("that is no HTTP")
    head = (first + await reader.readuntil(b"\r\n\r\n")).decode("latin-1")
    line, *lines = head.rstrip("\r\n").split("\r\n")
    method, target, _ = line.split(" ")
    headers = {name.lower(): value.strip() for name, _, value in (line.partition(":") for line in lines)}
    body = await reader.readexactly(int(headers.get("content-length", 0)))
    return Asked(method, target, headers, body)


@asynccontextmanager
async def fault_registry(
    upstream: Upstream, *, tls: ssl.SSLContext | None = None
) -> AsyncGenerator[FaultRegistry]:
    """The proxy, listening at its `host`, until the end of the block."""
    registry = FaultRegistry(upstream)
    connections: set[asyncio.Task[None]] = set()

    async def connected(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        # What was sent shall have arrived, or nearly so.
        if tls is None:
            writer.transport.set_write_buffer_limits(0)
            writer.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, _PIECE)
        task = asyncio.current_task()
        assert task is not None
        connections.add(task)
        try:
            await registry.serve(reader, writer)
        except asyncio.CancelledError:
            # Ended with the block that it serves.
            return
        finally:
            writer.transport.abort()
            connections.discard(task)

    server = await asyncio.start_server(connected, "127.0.0.1", 0, ssl=tls)
    try:
        registry.host = f"127.0.0.1:{server.sockets[0].getsockname()[1]}"
        yield registry
    finally:
        server.close()
        for task in list(connections):
            task.cancel()
        if connections:
            await asyncio.wait(connections)


# --- faults ---------------------------------------------------------------------------------------


def cut(after: int) -> Fault:
    return lambda _, answer: replace(answer, cut=after)


def stall(after: int) -> Fault:
    return lambda _, answer: replace(answer, stall=after)


def status(number: int, headers: Mapping[str, str] | None = None, body: bytes = b"oops") -> Fault:
    return lambda _, answer: Answer(number, headers or {}, body)


def wrong_bytes(asked: Asked, answer: Answer) -> Answer:
    if not answer.body:
        return answer
    return replace(answer, body=bytes([answer.body[0] ^ 1]) + answer.body[1:])


def longer_than_it_is(asked: Asked, answer: Answer) -> Answer:
    """As if the blob had ten bytes more."""
    span = answer.headers.get("content-range", "")
    if span:
        start, _, size = span.rpartition("/")
        return replace(answer, headers={**answer.headers, "content-range": f"{start}/{int(size) + 10}"})
    return replace(answer, body=answer.body + b"\0" * 10)


def endless(asked: Asked, answer: Answer) -> Answer:
    body = answer.body or b"x"
    return replace(answer, endless=True, body=body * (1 + _PIECE // len(body)))


class NoRanges:
    """An upstream that gives whole files only."""

    def __init__(self, upstream: Upstream) -> None:
        self._upstream = upstream

    async def answer(self, asked: Asked) -> Answer:
        headers = {name: value for name, value in asked.headers.items() if name != "range"}
        return await self._upstream.answer(replace(asked, headers=headers))
