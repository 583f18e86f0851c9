"""Reads the body of an answer: capped while it comes in, and again while it is decompressed."""

from __future__ import annotations

import codecs
import re
import zlib
from dataclasses import dataclass

import httpx

from agentkit._errors import WebError

_READABLE = re.compile(
    r"text/(html|markdown|x-markdown|plain|csv|xml)|application/(xhtml\+xml|json|xml|[\w.-]+\+(json|xml))"
)
_DECLARED = re.compile(
    rb"""charset\s*=\s*["']?([\w.:-]+)|<\?xml[^>]{0,100}encoding=["']([\w.:-]+)""", re.IGNORECASE
)
_DECLARED_WITHIN = 1024
# Text encodings of Python that no page is written in; some take quadratic time.
_NO_CHARSETS = frozenset({"idna", "punycode", "undefined", "unicode_escape", "raw_unicode_escape", "utf-7"})


@dataclass(frozen=True)
class Body:
    """The text of an answer and its media type, such as `text/html`."""

    media_type: str
    text: str


async def read_body(answer: httpx.Response, max_bytes: int) -> Body:
    """The body of a streaming `answer`.

    Raises:
        WebError: its type is not text, its encoding is not gzip, or it is larger than `max_bytes`.
    """
    media_type = answer.headers.get("content-type", "").partition(";")[0].strip().lower()
    if not _READABLE.fullmatch(media_type):
        raise WebError(
            f"the page is of the type {media_type!r}; only text, HTML, Markdown, JSON and XML are read"
        )
    content = await _content(answer, max_bytes)
    return Body(media_type, content.decode(_charset(answer, content), errors="replace"))


async def _content(answer: httpx.Response, max_bytes: int) -> bytes:
    encoding = answer.headers.get("content-encoding", "identity").strip().lower()
    if encoding not in ("identity", "gzip", ""):
        raise WebError(f"the page is encoded as {encoding!r}, which was not asked for")
    length = answer.headers.get("content-length", "")
    if length.isdecimal() and int(length) > max_bytes:
        raise _too_large(max_bytes)
    gzip = _Gzip() if encoding == "gzip" else None
    content, taken = bytearray(), 0
    async for piece in answer.aiter_raw():
        taken += len(piece)
        content += gzip.feed(piece, max_bytes + 1 - len(content)) if gzip else piece
        if max(taken, len(content)) > max_bytes:
            raise _too_large(max_bytes)
    if gzip and not gzip.complete:
        raise WebError("the page is not complete: its gzip stream breaks off")
    return bytes(content)


class _Gzip:
    """Decompresses no more than it is asked for, so that a small body cannot fill the memory."""

    def __init__(self) -> None:
        self._stream = zlib.decompressobj(zlib.MAX_WBITS | 16)

    @property
    def complete(self) -> bool:
        return self._stream.eof

    def feed(self, piece: bytes, at_most: int) -> bytes:
        try:
            return self._stream.decompress(piece, at_most)
        except zlib.error as error:
            raise WebError(f"the page is not gzip, as it says: {error}") from error


def _too_large(max_bytes: int) -> WebError:
    return WebError(f"the page is larger than {max_bytes} bytes")


def _charset(answer: httpx.Response, content: bytes) -> str:
    """The charset that the answer or the page itself declares, UTF-8 where that is none."""
    if content.startswith(codecs.BOM_UTF8):
        return "utf-8-sig"
    declared = answer.charset_encoding
    if declared is None and (match := _DECLARED.search(content[:_DECLARED_WITHIN])):
        declared = (match[1] or match[2]).decode()
    try:
        name = codecs.lookup(declared or "utf-8").name
        # Nothing that turns bytes into bytes, such as base64. An empty text would not be looked at.
        b"a".decode(name, errors="replace")
    except (LookupError, ValueError):
        return "utf-8"
    return "utf-8" if name in _NO_CHARSETS else name
