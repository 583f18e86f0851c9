"""Search and pages from the cloud that `web_search` and `web_fetch` of the clients ask."""

from __future__ import annotations

from collections.abc import Generator
from contextlib import contextmanager

import httpx

from agentkit._async_client import AsyncClient
from agentkit._errors import ConnectionError, ResponseError, TimeoutError, WebError
from agentkit.web._page import Page
from agentkit.web._search import SearchResult

_MOST_RESULTS = 10


class Cloud:
    """Searches and fetches through the cloud. Needs a key: `api_key`, AGENTKIT_API_KEY or OLLAMA_API_KEY."""

    def __init__(
        self, *, api_key: str | None = None, transport: httpx.AsyncBaseTransport | None = None
    ) -> None:
        self._api_key = api_key
        self._transport = transport

    async def search(self, query: str, max_results: int) -> list[SearchResult]:
        """At most 10 pages, whatever `max_results` asks."""
        with _as_web_error():
            async with self._client() as client:
                answer = await client.web_search(query, min(max_results, _MOST_RESULTS))
        return [
            SearchResult(found.title or "", found.url or "", found.content or "") for found in answer.results
        ]

    async def fetch(self, url: str) -> Page:
        """The page as the cloud reads it."""
        with _as_web_error():
            async with self._client() as client:
                answer = await client.web_fetch(url)
        return Page(url, answer.title or "", answer.content or "", tuple(answer.links or ()))

    def _client(self) -> AsyncClient:
        # One for each request: a client belongs to one event loop, and the synchronous API runs many.
        return AsyncClient(api_key=self._api_key, transport=self._transport)


@contextmanager
def _as_web_error() -> Generator[None, None, None]:
    try:
        yield
    except (ConnectionError, TimeoutError) as error:
        raise WebError(error.message, hint=error.hint) from error
    except ResponseError as error:
        raise WebError(str(error)) from error
