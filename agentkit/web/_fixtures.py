"""A folder of pages that stands in for the web: search and fetch that work offline, for tests and demos.

Each `.html`, `.htm`, `.md` and `.txt` file below the folder is the page at `base_url` and its path. Ranking
counts the words of the query, rare ones and those of the title more.
"""

from __future__ import annotations

import asyncio
import math
import re
from collections import Counter
from collections.abc import Sequence
from functools import cached_property
from os import PathLike
from pathlib import Path
from urllib.parse import quote

from agentkit._errors import DefinitionError, WebError
from agentkit.web._body import Body
from agentkit.web._extract import check_installed, page
from agentkit.web._page import Page
from agentkit.web._search import SearchResult

_TYPES = {".html": "text/html", ".htm": "text/html", ".md": "text/markdown", ".txt": "text/plain"}
_TITLE_WEIGHT = 2.0
_SNIPPET = 300
_WORD = re.compile(r"\w+")


class FixturePages:
    """Searches and fetches the files of `folder`, which are read at the first use."""

    def __init__(self, folder: str | PathLike[str], *, base_url: str = "https://pages.test") -> None:
        """Raises `DefinitionError` when there is no such folder."""
        self._folder = Path(folder)
        self._base_url = base_url.rstrip("/")
        if not self._folder.is_dir():
            raise DefinitionError(f"no folder of pages at {str(folder)!r}")

    async def search(self, query: str, max_results: int) -> list[SearchResult]:
        """The pages that have a word of `query`, best first; equal ones by URL."""
        words = _words(query)
        pages = list((await asyncio.to_thread(lambda: self._pages)).values())
        ranked = sorted(
            zip(_scores(words, pages), pages, strict=True), key=lambda each: (-each[0], each[1].url)
        )
        return [
            SearchResult(found.title, found.url, _snippet(found.content, words))
            for score, found in ranked[:max_results]
            if score > 0
        ]

    async def fetch(self, url: str) -> Page:
        """The page at `url`, found by what `search` gives as its URL."""
        pages = await asyncio.to_thread(lambda: self._pages)
        if (found := pages.get(url.partition("#")[0])) is None:
            raise WebError(f"there is no page {url!r}")
        return found

    @cached_property
    def _pages(self) -> dict[str, Page]:
        paths = sorted(path for path in self._folder.rglob("*") if path.suffix.lower() in _TYPES)
        read = [self._read(path) for path in paths if path.is_file()]
        return {found.url: found for found in read}

    def _read(self, path: Path) -> Page:
        media_type = _TYPES[path.suffix.lower()]
        if media_type == "text/html":
            check_installed()
        url = f"{self._base_url}/{quote(path.relative_to(self._folder).as_posix())}"
        found = page(url, Body(media_type, path.read_text(encoding="utf-8")))
        return found if found.title else Page(url, path.stem, found.content, found.links)


def _words(text: str) -> list[str]:
    return _WORD.findall(text.lower())


def _scores(words: Sequence[str], pages: Sequence[Page]) -> list[float]:
    counts = [(Counter(_words(page.content)), set(_words(page.title))) for page in pages]
    scores = [0.0] * len(pages)
    for word in set(words):
        having = sum(word in content or word in title for content, title in counts)
        rarity = math.log(1 + len(pages) / having) if having else 0.0
        for index, (content, title) in enumerate(counts):
            # Saturates, so that one word said often does not outweigh two words.
            often = content[word] / (content[word] + 1)
            scores[index] += rarity * (often + _TITLE_WEIGHT * (word in title))
    return scores


def _snippet(content: str, words: Sequence[str]) -> str:
    """The surroundings of the first word of the query."""
    places = [found.start() for found in _WORD.finditer(content) if found[0].lower() in words]
    start = max(0, places[0] - _SNIPPET // 3) if places else 0
    return " ".join(content[start : start + _SNIPPET].split())
