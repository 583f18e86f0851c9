"""Search through a SearXNG instance, one's own or another's, by its JSON answers."""

from __future__ import annotations

import json
from typing import Any

import httpx
from pydantic import BaseModel, ValidationError

from agentkit._errors import WebError
from agentkit._host import is_loopback
from agentkit.web._search import SearchResult

_MOST_PAGES = 5
_HINTS = {
    403: "its JSON answers are off: add `json` to `search.formats` in its settings.yml",
    429: "its limiter takes this for a robot: allow this machine in its limiter.toml, or wait",
}


class _Found(BaseModel):
    title: str | None = None
    url: str | None = None
    content: str | None = None


class _Answer(BaseModel):
    results: list[_Found]
    unresponsive_engines: list[Any] = []


class Searxng:
    """A SearXNG instance at `url`, such as `http://localhost:8888`. It is trusted, and may be local."""

    def __init__(
        self, url: str, *, timeout: float = 15.0, transport: httpx.AsyncBaseTransport | None = None
    ) -> None:
        """`timeout`: seconds for each wait for the instance."""
        self._url = f"{url.rstrip('/')}/search"
        self._arguments: dict[str, Any] = {
            "timeout": timeout,
            "transport": transport,
            "follow_redirects": True,
            # A proxy cannot reach this machine's own loopback.
            "trust_env": not is_loopback(self._url),
        }

    async def search(self, query: str, max_results: int) -> list[SearchResult]:
        """Reads as many of its pages (of about 20 results) as `max_results` needs, and 5 at most."""
        found: dict[str, SearchResult] = {}
        async with httpx.AsyncClient(**self._arguments) as http:
            for number in range(1, _MOST_PAGES + 1):
                before = len(found)
                for result in await self._page(http, query, number):
                    found.setdefault(result.url, result)
                if len(found) >= max_results or len(found) == before:
                    break
        return list(found.values())[:max_results]

    async def _page(self, http: httpx.AsyncClient, query: str, number: int) -> list[SearchResult]:
        parameters: dict[str, str | int] = {"q": query, "format": "json", "pageno": number}
        try:
            answer = await http.get(self._url, params=parameters)
        except httpx.HTTPError as error:
            reason = str(error) or type(error).__name__
            raise WebError(f"SearXNG at {self._url} does not answer: {reason}") from error
        if not answer.is_success:
            status = answer.status_code
            raise WebError(f"SearXNG at {self._url} answered {status}", hint=_HINTS.get(status, ""))
        read = self._read(answer.text)
        if not read.results and number == 1 and read.unresponsive_engines:
            engines = json.dumps(read.unresponsive_engines)
            raise WebError(f"no engine of SearXNG at {self._url} answered: {engines}")
        return [
            SearchResult(each.title or "", each.url, each.content or "") for each in read.results if each.url
        ]

    def _read(self, text: str) -> _Answer:
        try:
            return _Answer.model_validate_json(text)
        except ValidationError as error:
            raise WebError(
                f"{self._url} did not answer with the JSON of SearXNG", hint="check its URL"
            ) from error
