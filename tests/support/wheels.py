"""Wheels for tests of the `pypi:` source, and a package index that serves them on loopback."""

from __future__ import annotations

import zipfile
from collections.abc import AsyncGenerator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

import anyio
from anyio.abc import SocketAttribute, SocketStream

WHEEL = "Wheel-Version: 1.0\nGenerator: test\nRoot-Is-Purelib: true\nTag: py3-none-any\n"


def write_wheel(
    folder: Path, package: str, members: Mapping[str, bytes], *, version: str = "1.0", license: str = ""
) -> Path:
    """Write a wheel that pip accepts, with these members beside its metadata."""
    stem = f"{package.replace('-', '_')}-{version}"
    metadata = f"Metadata-Version: 2.1\nName: {package}\nVersion: {version}\n"
    if license:
        metadata += f"License: {license}\n"
    path = folder / f"{stem}-py3-none-any.whl"
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in members.items():
            archive.writestr(name, content)
        archive.writestr(f"{stem}.dist-info/METADATA", metadata)
        archive.writestr(f"{stem}.dist-info/WHEEL", WHEEL)
        archive.writestr(f"{stem}.dist-info/RECORD", "")
    return path


@dataclass
class Index:
    """A package index that serves one wheel."""

    url: str
    half_sent: anyio.Event
    """Set once half of the wheel has gone out."""
    go_on: anyio.Event
    """The second half waits for this."""
    downloads: int = 0


@asynccontextmanager
async def serve_index(wheel: Path) -> AsyncGenerator[Index]:
    """Serve `wheel` over HTTP until the block ends; its second half waits for `go_on`."""
    listener = await anyio.create_tcp_listener(local_host="127.0.0.1", local_port=0)
    port = listener.extra(SocketAttribute.local_port)
    content = await anyio.Path(wheel).read_bytes()
    index = Index(f"http://127.0.0.1:{port}/simple", anyio.Event(), anyio.Event())

    async def answer(stream: SocketStream) -> None:
        async with stream:
            request = b""
            while b"\r\n\r\n" not in request:
                request += await stream.receive()
            path = request.split()[1].decode()
            if path.endswith(".whl"):
                index.downloads += 1
                await _send(stream, "application/octet-stream", len(content), content[: len(content) // 2])
                index.half_sent.set()
                await index.go_on.wait()
                await stream.send(content[len(content) // 2 :])
            else:
                page = f'<html><body><a href="/{wheel.name}">{wheel.name}</a></body></html>'.encode()
                await _send(stream, "text/html", len(page), page)

    async def answer_any(stream: SocketStream) -> None:
        # A client that is killed half-way is what some tests are about.
        try:
            await answer(stream)
        except (anyio.BrokenResourceError, anyio.EndOfStream, anyio.ClosedResourceError):
            return

    async with listener, anyio.create_task_group() as group:
        group.start_soon(listener.serve, answer_any)
        yield index
        group.cancel_scope.cancel()


async def _send(stream: SocketStream, kind: str, length: int, body: bytes) -> None:
    head = f"HTTP/1.1 200 OK\r\nContent-Type: {kind}\r\nContent-Length: {length}\r\nConnection: close\r\n\r\n"
    await stream.send(head.encode() + body)
