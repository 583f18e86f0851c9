"""A site on loopback that answers exactly the bytes it is told to, and a resolver that is told its names."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field

import httpx
import pytest

from agentkit.web import Fetcher, FetchPolicy

Answer = bytes | Callable[[asyncio.StreamWriter], Awaitable[None]]


def response(
    body: bytes = b"", content_type: str = "text/plain", *, status: int = 200, **headers: str
) -> bytes:
    """An HTTP answer in bytes; `headers` are written with underscores."""
    lines = [f"HTTP/1.1 {status} said", f"content-length: {len(body)}", "connection: close"]
    lines += [f"content-type: {content_type}"] if content_type else []
    lines += [f"{name.replace('_', '-')}: {value}" for name, value in headers.items()]
    return "\r\n".join(lines).encode() + b"\r\n\r\n" + body


def redirect(location: str, status: int = 302) -> bytes:
    """A redirect in bytes."""
    return response(status=status, location=location)


@dataclass
class Site:
    """A server on loopback, what it was asked, and the names that lead to it."""

    port: int = 0
    answers: dict[str, Answer] = field(default_factory=dict)
    requests: list[tuple[str, dict[str, str]]] = field(default_factory=list)
    names: dict[str, Sequence[str]] = field(default_factory=dict)
    lookups: list[str] = field(default_factory=list)

    def url(self, path: str = "/", host: str = "127.0.0.1") -> str:
        return f"http://{host}:{self.port}{path}"

    def hosts(self) -> list[str]:
        """The Host header of each request."""
        return [headers["host"] for _, headers in self.requests]

    async def resolve(self, host: str, port: int) -> Sequence[str]:
        self.lookups.append(host)
        if host not in self.names:
            raise OSError(f"no such name: {host}")
        return self.names[host]

    def fetcher(self, *, ssl_context=None, **policy) -> Fetcher:
        """One that may read from loopback, by names that this site is told."""
        return Fetcher(
            FetchPolicy(**{"allow_local": True, **policy}), resolver=self.resolve, ssl_context=ssl_context
        )

    async def fetch(
        self, path: str = "/", *, host: str = "127.0.0.1", headers: Mapping[str, str] | None = None
    ):
        return await self.fetcher().fetch(self.url(path, host), headers=headers)

    async def handle(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            first, *lines = (await reader.readuntil(b"\r\n\r\n")).decode().strip().split("\r\n")
            path = first.split(" ")[1]
            self.requests.append((path, dict(line.lower().split(": ", 1) for line in lines)))
            answer = self.answers.get(path, response(b"no such page", status=404))
            if isinstance(answer, bytes):
                writer.write(answer)
            else:
                await answer(writer)
            await writer.drain()
        except (ConnectionError, asyncio.IncompleteReadError):
            self.requests.append(("closed by the client", {}))
        finally:
            writer.close()


@pytest.fixture
async def site() -> AsyncIterator[Site]:
    started = Site()
    server = await asyncio.start_server(started.handle, "127.0.0.1", 0)
    started.port = server.sockets[0].getsockname()[1]
    async with server:
        yield started


@pytest.fixture(autouse=True)
def no_cloud_setting(monkeypatch: pytest.MonkeyPatch) -> None:
    for prefix in ("AGENTKIT", "OLLAMA"):
        monkeypatch.delenv(f"{prefix}_CLOUD_BASE_URL", raising=False)


@pytest.fixture
def scripted() -> Callable[[Callable[[httpx.Request], httpx.Response]], httpx.MockTransport]:
    """A transport that a function answers."""
    return httpx.MockTransport
