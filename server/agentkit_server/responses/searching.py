"""Turns whose model may search the web: the server searches, shows the model what was found, and lets it go
on, until it answers or calls a tool of the caller's."""

from __future__ import annotations

import json
import time
from collections.abc import AsyncGenerator, Sequence
from contextlib import aclosing
from dataclasses import dataclass, field, replace
from typing import Any

from agentkit_server.engine.types import Usage
from agentkit_server.errors import SearchFailed
from agentkit_server.search import Found, Search
from agentkit_server.turn.events import (
    Event,
    Finish,
    Started,
    TextDelta,
    ThinkingDelta,
    ToolArgumentsDelta,
    ToolCallEnd,
    ToolCallStart,
)
from agentkit_server.turn.run import Backend, run_turn
from agentkit_server.turn.types import Chat, Tool, ToolChoice, Turn

MOST_SEARCHES = 5
"""In one response, unless the caller says otherwise."""
SEARCH_TOOL = Tool(
    name="web_search",
    description="Searches the web. Use it for what you do not know or what may have changed.",
    parameters={
        "type": "object",
        "properties": {"query": {"type": "string", "minLength": 1, "maxLength": 300}},
        "required": ["query"],
    },
)
LOST = "The results of this search are not in the conversation any more."


@dataclass(frozen=True, kw_only=True)
class Searches:
    """How a turn may search."""

    engine: Search
    most_results: int
    domains: tuple[str, ...] = ()
    most: int = MOST_SEARCHES
    """Searches in all."""


@dataclass(frozen=True)
class Searching:
    """The model asked for a search, which begins now."""

    id: str
    query: str


@dataclass(frozen=True)
class Searched:
    """That search is done."""

    id: str
    query: str
    found: tuple[Found, ...]
    error: str = ""


Told = Event | Searching | Searched


def search_call(id: str, query: str) -> dict[str, Any]:
    """A search in a conversation, as a call."""
    return {
        "id": id,
        "type": "function",
        "function": {"name": SEARCH_TOOL.name, "arguments": {"query": query}},
    }


def search_result(id: str, found: Sequence[Found], error: str = "") -> dict[str, Any]:
    """What the model reads of a search."""
    pages = [{"title": each.title, "url": each.url, "content": each.content} for each in found]
    text = error or (json.dumps(pages, ensure_ascii=False) if pages else "Nothing was found.")
    return {"role": "tool", "tool_call_id": id, "content": text}


async def run_searching(backend: Backend, turn: Turn, searches: Searches) -> AsyncGenerator[Told]:
    """The events of `turn`, which has SEARCH_TOOL among its tools: one Started, what the model thinks and
    says between searches, each search, one Finish with the usage of all of it. Raises what `run_turn` does.
    """
    began, done = time.monotonic(), 0
    finishes: list[Finish] = []
    while True:
        round_ = _Round()
        async with aclosing(run_turn(backend, turn)) as events:
            async for event in events:
                if isinstance(event, Finish):
                    finishes.append(event)
                elif not isinstance(event, Started) or not finishes:
                    for told in round_.take(event):
                        yield told
        results: list[Searched] = []
        for id, query in round_.queries:
            yield Searching(id, query)
            results.append(await _searched(searches, id, query, allowed=done < searches.most))
            yield results[-1]
            done += 1
        if not results or round_.others or finishes[-1].reason != "stop":
            yield _whole(finishes)
            return
        now = time.monotonic()
        if turn.max_seconds is not None:
            left, began = turn.max_seconds - (now - began), now
            if left <= 0:
                yield replace(_whole(finishes), reason="deadline")
                return
            turn = replace(turn, max_seconds=left)
        turn = _next(turn, round_, results, left=searches.most - done)


@dataclass
class _Round:
    """One turn of it."""

    queries: list[tuple[str, str]] = field(default_factory=list[tuple[str, str]])
    others: bool = False
    """The caller's tools were called, too."""
    thoughts: list[str] = field(default_factory=list[str])
    texts: list[str] = field(default_factory=list[str])
    _searching: set[int] = field(default_factory=set[int])

    def take(self, event: Event) -> list[Event]:
        """What of `event` the caller is told: all but the calls that are searches."""
        match event:
            case ToolCallStart(call=call, name=name) if name == SEARCH_TOOL.name:
                self._searching.add(call)
                return []
            case ToolArgumentsDelta(call=call) if call in self._searching:
                return []
            case ToolCallEnd(call=call, id=id, arguments=arguments) if call in self._searching:
                self.queries.append((id, json.loads(arguments)["query"]))
                return []
            case ToolCallStart():
                self.others = True
            case TextDelta(text=text):
                self.texts.append(text)
            case ThinkingDelta(text=text):
                self.thoughts.append(text)
            case _:
                pass
        return [event]


async def _searched(searches: Searches, id: str, query: str, *, allowed: bool) -> Searched:
    if not allowed:
        return Searched(id, query, (), f"{searches.most} searches are the most; answer without this one.")
    try:
        found = await searches.engine.search(query, searches.domains)
    except SearchFailed as error:
        # The model may know enough without it.
        return Searched(id, query, (), error.message)
    return Searched(id, query, tuple(found[: searches.most_results]))


def _next(turn: Turn, round_: _Round, results: Sequence[Searched], *, left: int) -> Turn:
    """`turn` behind what was searched. A call that was required has been made."""
    assert isinstance(turn.prompt, Chat)
    said: dict[str, Any] = {
        "role": "assistant",
        "content": "".join(round_.texts),
        "tool_calls": [search_call(each.id, each.query) for each in results],
    }
    if round_.thoughts:
        said["thinking"] = "".join(round_.thoughts)
    shown = [search_result(each.id, each.found, each.error) for each in results]
    messages = (*turn.prompt.messages, said, *shown)
    choice = replace(turn.tool_choice, mode="auto")
    return replace(
        turn,
        prompt=replace(turn.prompt, messages=messages),
        tool_choice=choice if left > 0 else _without_search(turn, choice),
    )


def _without_search(turn: Turn, choice: ToolChoice) -> ToolChoice:
    names = choice.names or tuple(tool.name for tool in turn.tools)
    others = tuple(name for name in names if name != SEARCH_TOOL.name)
    return replace(choice, names=others) if others else replace(choice, mode="none", names=())


def _whole(finishes: Sequence[Finish]) -> Finish:
    """The last of them, with the tokens of all."""
    usages = [finish.usage for finish in finishes]
    usage = Usage(
        prompt_tokens=sum(usage.prompt_tokens for usage in usages),
        cached_tokens=sum(usage.cached_tokens for usage in usages),
        completion_tokens=sum(usage.completion_tokens for usage in usages),
    )
    thinking = sum(finish.thinking_tokens for finish in finishes)
    return replace(finishes[-1], usage=usage, thinking_tokens=thinking)
