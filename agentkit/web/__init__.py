"""The web for agents: search behind one protocol, pages fetched under strict rules, and both as tools.

from agentkit import web
tools = web.tools(web.Searxng("http://localhost:8888"))
"""

from __future__ import annotations

from agentkit.web._cloud import Cloud
from agentkit.web._fetch import Fetcher, Resolver
from agentkit.web._fixtures import FixturePages
from agentkit.web._page import Page
from agentkit.web._policy import FetchPolicy
from agentkit.web._search import PageSource, SearchProvider, SearchResult
from agentkit.web._searxng import Searxng
from agentkit.web._tools import tools

__all__ = [
    "Cloud",
    "FetchPolicy",
    "Fetcher",
    "FixturePages",
    "Page",
    "PageSource",
    "Resolver",
    "SearchProvider",
    "SearchResult",
    "Searxng",
    "tools",
]
