"""Compressed request bodies, on every route."""

from __future__ import annotations

import gzip
import json
import sys
import zlib
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import httpx
import pytest
from support.scripted_server import Replies, scripted_app

if sys.version_info >= (3, 14):
    from compression import zstd
else:
    from backports import zstd

pytestmark = pytest.mark.anyio

LIMIT = 1 << 20
Compress = Callable[[bytes], bytes]
KINDS: dict[str, Compress] = {"gzip": gzip.compress, "deflate": zlib.compress, "zstd": zstd.compress}
ROUTES: dict[str, dict[str, Any]] = {
    "/v1/responses": {"model": "tiny", "input": "hi"},
    "/v1/chat/completions": {"model": "tiny", "messages": [{"role": "user", "content": "hi"}]},
    "/api/chat": {"model": "tiny", "messages": [{"role": "user", "content": "hi"}], "stream": False},
}


@pytest.fixture
async def http(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[httpx.AsyncClient]:
    monkeypatch.setenv("AGENTKIT_MAX_BODY_BYTES", str(LIMIT))
    app, _ = scripted_app(tmp_path, Replies())
    transport = httpx.ASGITransport(app)
    async with (
        app.router.lifespan_context(app),
        httpx.AsyncClient(transport=transport, base_url="http://127.0.0.1") as client,
    ):
        yield client


async def post(http: httpx.AsyncClient, kind: str, body: bytes | AsyncIterator[bytes]) -> httpx.Response:
    return await http.post("/v1/responses", content=body, headers={"content-encoding": kind})


@pytest.mark.parametrize("route", ROUTES)
@pytest.mark.parametrize("kind", [*KINDS, "GZIP", "x-gzip", "identity"])
async def test_a_compressed_body_is_read(http: httpx.AsyncClient, route: str, kind: str) -> None:
    compress = KINDS.get(kind, gzip.compress if "gzip" in kind.lower() else bytes)
    body = compress(json.dumps(ROUTES[route]).encode())
    answer = await http.post(route, content=body, headers={"content-encoding": kind})
    assert answer.status_code == 200, answer.text


@pytest.mark.parametrize("kind", KINDS)
async def test_a_body_may_come_byte_by_byte_and_in_several_members(
    http: httpx.AsyncClient, kind: str
) -> None:
    text = json.dumps({"model": "tiny", "input": "hi " * 300}).encode()
    halves = [text] if kind == "deflate" else [text[:99], text[99:]]

    async def bytewise() -> AsyncIterator[bytes]:
        for half in halves:
            for byte in KINDS[kind](half):
                yield bytes([byte])

    answer = await post(http, kind, bytewise())
    assert answer.status_code == 200, answer.text


@pytest.mark.parametrize("kind", KINDS)
async def test_a_bomb_is_stopped_at_the_limit(http: httpx.AsyncClient, kind: str) -> None:
    bomb = KINDS[kind](b" " * (200 * LIMIT))
    assert len(bomb) < LIMIT
    answer = await post(http, kind, bomb)
    assert (answer.status_code, answer.json()["error"]["code"]) == (413, "body_too_large")


@pytest.mark.parametrize("kind", KINDS)
async def test_a_broken_body_is_told(http: httpx.AsyncClient, kind: str) -> None:
    whole = KINDS[kind](json.dumps(ROUTES["/v1/responses"]).encode())
    cut = await post(http, kind, whole[:-5])
    assert (cut.status_code, f"in the midst of its {kind}" in cut.text) == (400, True)
    wrong = await post(http, kind, b"no such thing at all")
    assert (wrong.status_code, f"is no valid {kind}" in wrong.text) == (400, True)
    assert (await post(http, kind, b"")).json()["error"]["message"] == "missing request body"


@pytest.mark.parametrize("kind", ["br", "gzip, zstd", "compress"])
async def test_another_encoding_is_refused(http: httpx.AsyncClient, kind: str) -> None:
    answer = await post(http, kind, b"{}")
    assert (answer.status_code, answer.json()["error"]["code"]) == (415, "unsupported_encoding")
    native = await http.post("/api/chat", content=b"{}", headers={"content-encoding": kind})
    assert native.status_code == 415 and kind in native.json()["error"]


async def test_a_zstd_body_with_a_huge_window_is_refused(http: httpx.AsyncClient) -> None:
    options = {zstd.CompressionParameter.window_log: 27, zstd.CompressionParameter.content_size_flag: 0}
    compressor = zstd.ZstdCompressor(options=options)  # pyright: ignore[reportArgumentType]
    body = compressor.compress(b'{"model":"tiny","input":"hi"}') + compressor.flush()
    answer = await post(http, "zstd", body)
    assert (answer.status_code, "is no valid zstd" in answer.text) == (400, True)
