"""What a search engine and a source of pages are to the tools: one method each."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol, runtime_checkable

from agentkit.web._page import Page


@dataclass(frozen=True)
class SearchResult:
    """One page that a search found; `content` is the part of it that fits the query."""

    title: str
    url: str
    content: str


class SearchProvider(Protocol):
    """A search engine."""

    async def search(self, query: str, max_results: int) -> list[SearchResult]:
        """At most `max_results` pages, best first; none when nothing fits. Raises `WebError`."""
        ...


@runtime_checkable
class PageSource(Protocol):
    """Where the text of pages comes from."""

    async def fetch(self, url: str) -> Page:
        """The whole page. Raises `WebError`."""
        ...
