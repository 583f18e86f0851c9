"""A registry that takes uploads and can go wrong at each of them: cut connections, errors, lost sessions."""

from __future__ import annotations

import asyncio
import hashlib
from collections import Counter
from collections.abc import AsyncGenerator, Callable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from urllib.parse import parse_qs, urlsplit

Headers = Mapping[str, str]
Answer = tuple[int, Headers, bytes]
Fault = Callable[["Session", bytes], Answer | None]
"""What happens to a chunk in place of being taken. None = the connection is cut."""


@dataclass
class Session:
    """One upload."""

    repository: str
    location: str
    content: bytearray = field(default_factory=bytearray)
    lost: bool = False


def cut_half_way(session: Session, body: bytes) -> None:
    """Half of the chunk arrives, and the line breaks."""
    session.content += body[: len(body) // 2]


def busy(session: Session, body: bytes) -> Answer:
    """The server is in trouble, and took nothing."""
    return 503, {}, b'{"errors": [{"code": "UNAVAILABLE", "message": "in trouble"}]}'


def half_and_busy(session: Session, body: bytes) -> Answer:
    """The server is in trouble, and has half of it."""
    cut_half_way(session, body)
    return 500, {}, b""


def lost(session: Session, body: bytes) -> Answer:
    """The server has forgotten the upload."""
    session.lost = True
    return 404, {}, b""


def taken(session: Session, body: bytes) -> Answer:
    """Nothing goes wrong."""
    session.content += body
    return 202, {"location": session.location}, b""


def denied(session: Session, body: bytes) -> Answer:
    """Nobody may upload."""
    return 403, {}, b'{"errors": [{"code": "DENIED", "message": "not yours"}]}'


@dataclass
class UploadRegistry:
    """What it has, and what it was asked."""

    address: str = ""
    faults: list[Fault] = field(default_factory=list[Fault])
    """What happens to the next chunks, one each."""
    faults_at_the_end: int = 0
    """How many of the next blobs are taken, with the answer lost."""
    mounts: bool = True
    blobs: dict[str, dict[str, bytes]] = field(default_factory=dict[str, dict[str, bytes]])
    """Repository -> digest -> content."""
    manifests: dict[str, bytes] = field(default_factory=dict[str, bytes])
    asked: list[str] = field(default_factory=list[str])
    """Method and path of each request."""
    chunks: list[tuple[int, int]] = field(default_factory=list[tuple[int, int]])
    """Start and length of each chunk that was sent."""
    sessions: dict[str, Session] = field(default_factory=dict[str, Session])

    @property
    def counted(self) -> Counter[str]:
        """How often each method was used."""
        return Counter(line.split()[0] for line in self.asked)

    @asynccontextmanager
    async def serving(self) -> AsyncGenerator[None]:
        """Listen on loopback until the block ends."""
        server = await asyncio.start_server(self._serve, "127.0.0.1", 0)
        self.address = f"127.0.0.1:{server.sockets[0].getsockname()[1]}"
        try:
            yield
        finally:
            server.close()
            await server.wait_closed()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1").split("\r\n")
            method, target, _ = head[0].split()
            pairs = (line.split(":", 1) for line in head[1:] if line)
            headers = {name.lower(): value.strip() for name, value in pairs}
            body = await reader.readexactly(int(headers.get("content-length", "0")))
            self.asked.append(f"{method} {target}")
            answer = self._answer(method, target, headers, body)
            if answer is not None:
                writer.write(_written(method, *answer))
                await writer.drain()
        except (asyncio.IncompleteReadError, ConnectionError):
            pass
        finally:
            writer.close()

    def _answer(self, method: str, target: str, headers: Headers, body: bytes) -> Answer | None:
        path, query = urlsplit(target).path, parse_qs(urlsplit(target).query)
        repository, _, rest = path.removeprefix("/v2/").partition("/blobs/")
        if method == "PUT" and not rest:
            self.manifests[path] = body
            return 201, {}, b""
        if rest == "uploads/":
            return self._begin(repository, query)
        if rest.startswith("uploads/"):
            return self._upload(method, rest.removeprefix("uploads/"), headers, body, query)
        content = self.blobs.get(repository, {}).get(rest)
        return (404, {}, b"") if content is None else (200, {"content-length": str(len(content))}, b"")

    def _begin(self, repository: str, query: Mapping[str, list[str]]) -> Answer:
        if "mount" in query and self.mounts:
            digest, other = query["mount"][0], query["from"][0]
            if digest in self.blobs.get(other, {}):
                self.blobs.setdefault(repository, {})[digest] = self.blobs[other][digest]
                return 201, {}, b""
        if "mount" in query and not self.mounts:
            return 403, {}, b""
        identity = str(len(self.sessions))
        self.sessions[identity] = Session(repository, f"/v2/{repository}/blobs/uploads/{identity}")
        return 202, self._place(identity), b""

    def _upload(
        self, method: str, identity: str, headers: Headers, body: bytes, query: Mapping[str, list[str]]
    ) -> Answer | None:
        session = self.sessions[identity]
        if session.lost:
            return 404, {}, b""
        match method:
            case "PATCH":
                return self._patch(identity, session, headers, body)
            case "GET":
                return 204, self._place(identity), b""
            case "PUT":
                return self._put(session, query["digest"][0])
            case _:
                session.lost = True
                return 204, {}, b""

    def _patch(self, identity: str, session: Session, headers: Headers, body: bytes) -> Answer | None:
        first, _, last = headers["content-range"].partition("-")
        assert int(last) - int(first) + 1 == len(body)
        self.chunks.append((int(first), len(body)))
        if self.faults:
            return self.faults.pop(0)(session, body)
        if int(first) != len(session.content):
            return 416, self._place(identity), b""
        session.content += body
        return 202, self._place(identity), b""

    def _put(self, session: Session, digest: str) -> Answer | None:
        if f"sha256:{hashlib.sha256(session.content).hexdigest()}" != digest:
            return 400, {}, b'{"errors": [{"code": "DIGEST_INVALID", "message": "digest mismatch"}]}'
        self.blobs.setdefault(session.repository, {})[digest] = bytes(session.content)
        session.lost = True
        if self.faults_at_the_end:
            self.faults_at_the_end -= 1
            return None
        return 201, {}, b""

    def _place(self, identity: str) -> Headers:
        session = self.sessions[identity]
        last = max(len(session.content) - 1, 0)
        return {"location": session.location, "range": f"0-{last}"}


def _written(method: str, status: int, headers: Headers, body: bytes) -> bytes:
    fields = {"content-length": str(len(body)), "connection": "close", **headers}
    head = "".join(f"{name}: {value}\r\n" for name, value in fields.items())
    return f"HTTP/1.1 {status} x\r\n{head}\r\n".encode() + (b"" if method == "HEAD" else body)
