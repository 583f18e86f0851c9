"""Compressed request bodies: gzip, deflate and zstd, unpacked piece by piece as they arrive, so that nothing
grows beyond the limit that is set for a body."""

from __future__ import annotations

import sys
import zlib
from collections.abc import Callable, Generator
from typing import Protocol

from anyio.lowlevel import checkpoint
from starlette.datastructures import Headers
from starlette.types import Message, Receive, Scope

from agentkit_server.errors import BadRequest, UnsupportedEncoding

if sys.version_info >= (3, 14):
    from compression import zstd
else:
    from backports import zstd

PIECE = 1 << 18
"""Most bytes that are unpacked at once."""
LARGEST_WINDOW = 23
"""Of a zstd body, as a power of two: what RFC 9659 has for HTTP, 8 MiB of memory."""


class _Unpacking(Protocol):
    """One compressed stream."""

    def feed(self, data: bytes) -> Generator[bytes]:
        """What `data` unpacks to, in pieces. Raises zlib.error, ZstdError."""
        ...

    @property
    def whole(self) -> bool:
        """Has it come to its end?"""
        ...


class _Zlib:
    """gzip and deflate. A body may be several gzip members, one behind the other."""

    def __init__(self, wbits: int) -> None:
        self._wbits = wbits
        self._member = zlib.decompressobj(wbits)

    @property
    def whole(self) -> bool:
        return self._member.eof

    def feed(self, data: bytes) -> Generator[bytes]:
        while data:
            if self._member.eof:
                self._member = zlib.decompressobj(self._wbits)
            yield self._member.decompress(data, PIECE)
            data = self._member.unconsumed_tail or self._member.unused_data
        # What fits in no piece any more waits inside.
        while not self._member.eof and (rest := self._member.decompress(b"", PIECE)):
            yield rest


class _Zstd:
    """zstd. A body may be several frames."""

    def __init__(self) -> None:
        self._frame = self._new()

    @property
    def whole(self) -> bool:
        return self._frame.eof

    def feed(self, data: bytes) -> Generator[bytes]:
        while data or not (self._frame.eof or self._frame.needs_input):
            if self._frame.eof:
                self._frame = self._new()
            yield self._frame.decompress(data, PIECE)
            data = self._frame.unused_data if self._frame.eof else b""

    def _new(self) -> zstd.ZstdDecompressor:
        limit: dict[int, int] = {zstd.DecompressionParameter.window_log_max: LARGEST_WINDOW}
        return zstd.ZstdDecompressor(options=limit)


_KINDS: dict[str, Callable[[], _Unpacking]] = {
    "gzip": lambda: _Zlib(16 + zlib.MAX_WBITS),
    "x-gzip": lambda: _Zlib(16 + zlib.MAX_WBITS),
    "deflate": lambda: _Zlib(zlib.MAX_WBITS),
    "zstd": _Zstd,
}


def unpacked(scope: Scope, receive: Receive) -> Receive:
    """The body of a request as it was before it was compressed, and `scope` without the headers that speak of
    the compressed one.

    Raises UnsupportedEncoding; what is returned raises BadRequest for a body that is not what it says.
    """
    kind = _encoding(Headers(scope=scope))
    if kind is None:
        return receive
    scope["headers"] = [
        header for header in scope["headers"] if header[0] not in (b"content-encoding", b"content-length")
    ]
    return _Receiving(kind, _KINDS[kind](), receive)


class _Receiving:
    """A Receive that unpacks."""

    def __init__(self, kind: str, unpacking: _Unpacking, receive: Receive) -> None:
        self._kind = kind
        self._unpacking = unpacking
        self._receive = receive
        self._pieces: Generator[bytes] | None = None
        self._more = True
        self._empty = True

    async def __call__(self) -> Message:
        while True:
            if self._pieces is not None:
                # A large body must not keep every other request waiting.
                await checkpoint()
                piece = self._next()
                if piece is not None:
                    return {"type": "http.request", "body": piece, "more_body": True}
                if not self._more:
                    return {"type": "http.request", "body": b"", "more_body": False}
            message = await self._receive()
            if message["type"] != "http.request" or not self._more:
                return message
            self._more = message.get("more_body", False)
            self._empty = self._empty and not message.get("body")
            self._pieces = self._unpacking.feed(message.get("body", b""))

    def _next(self) -> bytes | None:
        """The next piece of what has arrived; None when there is no more of it."""
        assert self._pieces is not None
        try:
            for piece in self._pieces:
                if piece:
                    return piece
        except (zlib.error, zstd.ZstdError) as error:
            raise BadRequest(f"the request body is no valid {self._kind}: {error}") from None
        self._pieces = None
        if not self._more and not (self._unpacking.whole or self._empty):
            raise BadRequest(f"the request body ends in the midst of its {self._kind}")
        return None


def _encoding(headers: Headers) -> str | None:
    """The one encoding of a body, None for one that is as it stands."""
    given = [
        name.strip().lower() for value in headers.getlist("content-encoding") for name in value.split(",")
    ]
    named = [name for name in given if name and name != "identity"]
    if not named:
        return None
    if len(named) > 1 or named[0] not in _KINDS:
        raise UnsupportedEncoding(
            f"the Content-Encoding {', '.join(named)!r} is not read here; send one of gzip, deflate, zstd, "
            f"or the body as it is"
        )
    return named[0]
