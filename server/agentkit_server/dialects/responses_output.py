"""Output items of a response while they are written, and the events that tell of each step.

Every item goes the same way: `begin`, `more` any number of times where it has a text, `end`. What these
return are events without their numbers, which the response gives them.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, Literal, Protocol

import msgspec

from agentkit_server.dialects.openai_wire import chat_logprobs
from agentkit_server.dialects.responses_items import new_id, sealed
from agentkit_server.dialects.responses_tools import Callee
from agentkit_server.engine.types import TokenLogprob
from agentkit_server.responses.searching import Searched

WireEvent = dict[str, Any]
Status = Literal["in_progress", "completed", "incomplete", "failed"]


class OutputItem(Protocol):
    """One item, `index` in the output of its response."""

    index: int
    item: dict[str, Any]
    """As it stands now."""

    def begin(self) -> list[WireEvent]:
        """The item is there, and empty."""
        ...

    def end(self, status: Status) -> list[WireEvent]:
        """It is complete, or as far as it came."""
        ...


class _Item:
    """What all items have in common."""

    def __init__(self, index: int, kind: str, **fields: Any) -> None:
        self.index = index
        self.item: dict[str, Any] = {"id": new_id(kind), "type": kind, "status": "in_progress", **fields}
        self._texts: list[str] = []

    @property
    def text(self) -> str:
        return "".join(self._texts)

    def event(self, kind: str, **fields: Any) -> WireEvent:
        """An event about this item's content."""
        place = {"item_id": self.item["id"], "output_index": self.index}
        return {"type": f"response.{kind}", **place, **fields}

    def added(self) -> WireEvent:
        return self._whole("added")

    def done(self, status: Status) -> WireEvent:
        self.item["status"] = status
        return self._whole("done")

    def _whole(self, step: str) -> WireEvent:
        kind = f"response.output_item.{step}"
        # A copy: the item itself goes on changing.
        return {"type": kind, "output_index": self.index, "item": dict(self.item)}


class MessageItem(_Item):
    """Text of the assistant."""

    def __init__(self, index: int, *, logprobs: bool = False) -> None:
        super().__init__(index, "message", role="assistant", content=[])
        self._tells_logprobs = logprobs
        self._logprobs: list[dict[str, Any]] = []

    def begin(self) -> list[WireEvent]:
        part = self.event("content_part.added", content_index=0, part=self._part("", []))
        return [self.added(), part]

    def more(self, text: str, logprobs: Iterable[TokenLogprob] = ()) -> list[WireEvent]:
        told = chat_logprobs(logprobs) if self._tells_logprobs else []
        self._texts.append(text)
        self._logprobs += told
        return [self.event("output_text.delta", content_index=0, delta=text, logprobs=told)]

    def end(self, status: Status) -> list[WireEvent]:
        text, part = self.text, self._part(self.text, self._logprobs)
        self.item["content"] = [part]
        return [
            self.event("output_text.done", content_index=0, text=text, logprobs=self._logprobs),
            self.event("content_part.done", content_index=0, part=part),
            self.done(status),
        ]

    def _part(self, text: str, logprobs: list[dict[str, Any]]) -> dict[str, Any]:
        part: dict[str, Any] = {"type": "output_text", "text": text, "annotations": []}
        return {**part, "logprobs": logprobs} if self._tells_logprobs else part


class ReasoningItem(_Item):
    """Thoughts: as they are, or, where a summary was asked for, as their own summary. With `seal` the item
    carries them in `encrypted_content` as well, for clients that send nothing else back."""

    def __init__(self, index: int, *, summarised: bool, seal: bool) -> None:
        super().__init__(index, "reasoning", summary=[])
        self._seal = seal
        self._summarised = summarised
        if not summarised:
            self.item["content"] = []

    def begin(self) -> list[WireEvent]:
        return [self.added(), self._step("part.added", part=self._part(""))]

    def more(self, text: str) -> list[WireEvent]:
        self._texts.append(text)
        return [self._step("text.delta", delta=text)]

    def end(self, status: Status) -> list[WireEvent]:
        part = self._part(self.text)
        self.item["summary" if self._summarised else "content"] = [part]
        if self._seal:
            self.item["encrypted_content"] = sealed(self.text)
        return [
            self._step("text.done", text=self.text),
            self._step("part.done", part=part),
            self.done(status),
        ]

    def _part(self, text: str) -> dict[str, Any]:
        return {"type": "summary_text" if self._summarised else "reasoning_text", "text": text}

    def _step(self, step: str, **fields: Any) -> WireEvent:
        if self._summarised:
            return self.event(f"reasoning_summary_{step}", summary_index=0, **fields)
        about = "content" if step.startswith("part") else "reasoning"
        return self.event(f"{about}_{step}", content_index=0, **fields)


class CallItem(_Item):
    """A call of a function, or of a custom tool, which takes text in place of arguments."""

    def __init__(self, index: int, call_id: str, callee: Callee, *, custom: bool) -> None:
        kind, self._field = ("custom_tool_call", "input") if custom else ("function_call", "arguments")
        self._about = "custom_tool_call_input" if custom else "function_call_arguments"
        super().__init__(index, kind, call_id=call_id, name=callee.name, **{self._field: ""})
        if callee.namespace is not None:
            self.item["namespace"] = callee.namespace

    def begin(self) -> list[WireEvent]:
        return [self.added()]

    def more(self, text: str) -> list[WireEvent]:
        self._texts.append(text)
        return [self.event(f"{self._about}.delta", delta=text)]

    def end(self, status: Status) -> list[WireEvent]:
        self.item[self._field] = self.text
        return [self.event(f"{self._about}.done", **{self._field: self.text}), self.done(status)]


class SearchItem(_Item):
    """A search that the server does for the model. With `sources` its action lists the pages."""

    def __init__(self, index: int, query: str, *, sources: bool) -> None:
        super().__init__(index, "web_search_call")
        self._sources = sources
        self._failed = False
        self.item["action"] = {"type": "search", "query": query, "queries": [query]}

    def begin(self) -> list[WireEvent]:
        steps = [self.event(f"web_search_call.{step}") for step in ("in_progress", "searching")]
        return [self.added(), *steps]

    def take(self, searched: Searched) -> None:
        """What was found stays in the item, so that the conversation can go on from it."""
        self.item["results"] = [msgspec.to_builtins(each) for each in searched.found]
        self._failed = bool(searched.error)
        if searched.error:
            self.item["error"] = searched.error
        if self._sources:
            pages = [{"type": "url", "url": each.url} for each in searched.found]
            self.item["action"] = {**self.item["action"], "sources": pages}

    def end(self, status: Status) -> list[WireEvent]:
        if status == "incomplete":
            # There is no such status of a search.
            return [self.done("failed")]
        told = self.done("failed" if self._failed else status)
        return [self.event("web_search_call.completed"), told]
