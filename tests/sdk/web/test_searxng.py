from __future__ import annotations

import json
from typing import Any

import pytest

from agentkit._errors import WebError
from agentkit.web import SearchResult, Searxng

from .conftest import Site, response

pytestmark = pytest.mark.anyio


def found(first: int, count: int) -> list[dict[str, Any]]:
    return [
        {"title": f"T{n}", "url": f"https://pages.test/{n}", "content": f"C{n}", "engine": "e", "score": 1.0}
        for n in range(first, first + count)
    ]


def answer(results: list[dict[str, Any]], **more: Any) -> bytes:
    body = {"query": "q", "number_of_results": 0, "results": results, "unresponsive_engines": [], **more}
    return response(json.dumps(body).encode(), "application/json")


def path(page: int, query: str = "hot+water") -> str:
    return f"/search?q={query}&format=json&pageno={page}"


async def test_results_are_read_from_its_json(site: Site) -> None:
    site.answers[path(1)] = answer(
        [*found(1, 2), {"url": None, "title": "answerless"}, {"url": "https://b.test/"}]
    )
    results = await Searxng(site.url()).search("hot water", 3)
    assert results == [
        SearchResult("T1", "https://pages.test/1", "C1"),
        SearchResult("T2", "https://pages.test/2", "C2"),
        SearchResult("", "https://b.test/", ""),
    ]
    assert len(site.requests) == 1


async def test_further_pages_are_read_while_they_bring_something_new(site: Site) -> None:
    site.answers = {
        path(1): answer(found(1, 20)),
        path(2): answer(found(18, 5)),
        path(3): answer(found(18, 5)),
    }
    results = await Searxng(site.url()).search("hot water", 40)
    assert [result.title for result in results] == [f"T{n}" for n in range(1, 23)]
    assert len(site.requests) == 3


async def test_no_more_results_than_asked(site: Site) -> None:
    site.answers[path(1)] = answer(found(1, 20))
    assert len(await Searxng(site.url()).search("hot water", 3)) == 3


async def test_finding_nothing_is_no_error_unless_no_engine_answered(site: Site) -> None:
    site.answers[path(1)] = answer([])
    assert await Searxng(site.url()).search("hot water", 3) == []
    site.answers[path(1)] = answer([], unresponsive_engines=[["somewhere", "timeout"]])
    with pytest.raises(WebError, match=r"somewhere.*timeout"):
        await Searxng(site.url()).search("hot water", 3)


@pytest.mark.parametrize(
    ("status", "says"),
    [(403, r"search\.formats"), (429, "limiter"), (500, "answered 500"), (404, "answered 404")],
)
async def test_a_refusal_says_what_to_do(site: Site, status: int, says: str) -> None:
    site.answers[path(1)] = response(b"", "text/html", status=status)
    with pytest.raises(WebError, match=says):
        await Searxng(site.url()).search("hot water", 3)


@pytest.mark.parametrize("body", [b"<html></html>", b"[]", b'{"results": 3}', b""])
async def test_another_server_is_recognised(site: Site, body: bytes) -> None:
    site.answers[path(1)] = response(body)
    with pytest.raises(WebError, match="JSON of SearXNG"):
        await Searxng(site.url()).search("hot water", 3)


async def test_no_instance_is_an_error_with_its_address(site: Site) -> None:
    site.answers[path(1)] = b""
    with pytest.raises(WebError, match="does not answer"):
        await Searxng(site.url()).search("hot water", 3)
