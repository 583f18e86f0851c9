"""Searching the web for a model: what a search engine is, and SearXNG, one's own or another's.

Its address comes from the settings and is trusted. What it finds is data: pages of strangers.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated, Protocol

import httpx
import msgspec
from msgspec import Meta

from agentkit_server.errors import BadRequest, SearchFailed

TIMEOUT_S = 15.0
LONGEST_QUERY = 1000
LONGEST_CONTENT = 1000
"""Characters of one result that a model is shown."""
_HINTS = {
    403: "its JSON answers are off: add `json` to `search.formats` in its settings.yml",
    429: "its limiter takes this for a robot: allow this machine in its limiter.toml, or wait",
}


class Found(msgspec.Struct, kw_only=True):
    """One page that a search found; `content` is the part of it that fits the query."""

    title: str
    url: str
    content: str


class Search(Protocol):
    """A search engine."""

    async def search(self, query: str, domains: Sequence[str] = ()) -> list[Found]:
        """The pages that fit `query`, best first, of `domains` and what is under them where some are given.
        Raises SearchFailed."""
        ...


class _Result(msgspec.Struct):
    url: Annotated[str, Meta(min_length=1)]
    title: str | None = None
    content: str | None = None


class _Answer(msgspec.Struct):
    results: list[_Result]


class Searxng:
    """The SearXNG instance at `url`, such as `http://localhost:8888`."""

    def __init__(self, url: str, *, transport: httpx.AsyncBaseTransport | None = None) -> None:
        """Raises BadRequest for what is no URL."""
        self._url = f"{url.rstrip('/')}/search"
        self._shown = _without_password(self._url)
        self._transport = transport

    async def search(self, query: str, domains: Sequence[str] = ()) -> list[Found]:
        """Its first page, of about 20 results."""
        results = self._read(await self._asked(query[:LONGEST_QUERY]))
        return [
            Found(title=each.title or "", url=each.url, content=(each.content or "")[:LONGEST_CONTENT])
            for each in results
            if not domains or _within(each.url, domains)
        ]

    async def _asked(self, query: str) -> bytes:
        try:
            # A proxy of the environment cannot reach an instance on this machine.
            async with httpx.AsyncClient(
                timeout=TIMEOUT_S, transport=self._transport, trust_env=False
            ) as http:
                answer = await http.get(self._url, params={"q": query, "format": "json"})
        except httpx.HTTPError as error:
            reason = str(error) or type(error).__name__
            raise SearchFailed(f"SearXNG at {self._shown!r} does not answer: {reason}") from error
        if not answer.is_success:
            hint = _HINTS.get(answer.status_code, "look into its log")
            raise SearchFailed(f"SearXNG at {self._shown!r} answered {answer.status_code}; {hint}")
        return answer.content

    def _read(self, answer: bytes) -> list[_Result]:
        try:
            return msgspec.json.decode(answer, type=_Answer).results
        except (msgspec.DecodeError, UnicodeDecodeError) as error:
            raise SearchFailed(
                f"{self._shown!r} did not answer with the JSON of SearXNG: {error}; check AGENTKIT_SEARCH"
            ) from error


def _without_password(url: str) -> str:
    """`url` as a model and a caller may read it."""
    try:
        parsed = httpx.URL(url)
    except httpx.InvalidURL as error:
        raise BadRequest(f"AGENTKIT_SEARCH is no URL: {error}") from None
    if parsed.scheme not in ("http", "https") or not parsed.host:
        raise BadRequest("AGENTKIT_SEARCH is no URL of a SearXNG, such as 'http://localhost:8888'")
    return str(parsed.copy_with(userinfo=b""))


def _within(url: str, domains: Sequence[str]) -> bool:
    try:
        host = httpx.URL(url).host
    except httpx.InvalidURL:
        return False
    return any(host == domain or host.endswith(f".{domain}") for domain in domains)
