"""The web search of the Responses API, as a request asks for it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal

import msgspec

from agentkit_server.dialects._shared import shown
from agentkit_server.errors import BadRequest, NotBuiltYet
from agentkit_server.responses.searching import MOST_SEARCHES, Searches
from agentkit_server.search import Search

SEARCH_TYPES = frozenset(
    {
        "web_search",
        "web_search_2025_08_26",
        "web_search_preview",
        "web_search_preview_2025_03_11",
    }
)
_RESULTS = {"low": 3, "medium": 5, "high": 10}


class _Filters(msgspec.Struct, kw_only=True, forbid_unknown_fields=True):
    allowed_domains: list[str] | None = None


class _WebSearch(msgspec.Struct, kw_only=True, forbid_unknown_fields=True):
    type: str
    external_web_access: bool | None = None
    filters: _Filters | None = None
    search_context_size: Literal["low", "medium", "high"] | None = None
    user_location: dict[str, str | None] | None = None


def read_search(fields: Mapping[str, Any], where: str, engine: Search, most: int | None) -> Searches:
    """How a request's `web_search` tool wants to search. Raises BadRequest, and NotBuiltYet for a place."""
    try:
        asked = msgspec.convert(fields, _WebSearch)
    except msgspec.ValidationError as error:
        raise BadRequest(f"{where} is {shown(fields)}: {error}", param=where) from None
    if any(value for name, value in (asked.user_location or {}).items() if name != "type"):
        raise NotBuiltYet(
            f"{where}.user_location = {shown(asked.user_location)} is not built yet in this version; leave "
            f"it out, or say in a message where you are",
            param=f"{where}.user_location",
        )
    filters = asked.filters or _Filters()
    return Searches(
        engine=engine,
        most_results=_RESULTS[asked.search_context_size or "medium"],
        domains=tuple(_domain(domain, where) for domain in filters.allowed_domains or ()),
        most=MOST_SEARCHES if most is None else most,
    )


def _domain(given: str, where: str) -> str:
    """As the host of a URL has it."""
    if not given or any(char in given for char in "/:@ "):
        raise BadRequest(
            f"{where}.filters.allowed_domains has {shown(given)}; it must be a domain such as 'example.org'",
            param=f"{where}.filters.allowed_domains",
        )
    return given.lower()
