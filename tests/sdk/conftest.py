"""Runs the same test on the sync and on the async client, against a scripted HTTP transport."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, Literal

import httpx
import pytest

from agentkit import AsyncClient, Client
from agentkit._retry import Retry

Answerer = Callable[[httpx.Request], httpx.Response]


@dataclass
class Wire:
    """The scripted other end: what came in, and what goes out."""

    kind: Literal["sync", "async"]
    answer: Answerer = lambda request: httpx.Response(200, json={})
    requests: list[httpx.Request] = field(default_factory=list)
    waits: list[float] = field(default_factory=list)
    """Seconds that the client would have slept between attempts."""
    settings: dict[str, Any] = field(default_factory=dict)
    """Further arguments of the client."""

    def body(self) -> Any:
        """JSON body of the last request."""
        return json.loads(self.requests[-1].content)

    def answers(self, status: int = 200, **response: Any) -> None:
        """Every request is answered so from now on."""
        self.answer = lambda request: httpx.Response(status, **response)

    def streams(self, *lines: object) -> None:
        """Every request is answered by these JSON lines."""
        self.answers(content="".join(json.dumps(line) + "\n" for line in lines))

    def fails(self, error: type[httpx.TransportError]) -> None:
        """Every request fails in transport."""

        def fail(request: httpx.Request) -> httpx.Response:
            raise error("scripted", request=request)

        self.answer = fail

    def call(self, method: str, *arguments: Any, host: str | None = None, **keywords: Any) -> Any:
        """Calls a client's method; a stream is collected into a list."""
        settings = {
            "transport": httpx.MockTransport(self._handle),
            "retries": Retry(sleep=self.waits.append),
            **self.settings,
        }
        if self.kind == "async":
            return asyncio.run(self._call_async(host, settings, method, arguments, keywords))
        with Client(host, **settings) as client:
            result = getattr(client, method)(*arguments, **keywords)
            return list(result) if keywords.get("stream") else result

    async def _call_async(self, host: Any, settings: Any, method: str, arguments: Any, keywords: Any) -> Any:
        async with AsyncClient(host, **settings) as client:
            result = await getattr(client, method)(*arguments, **keywords)
            return [piece async for piece in result] if keywords.get("stream") else result

    def _handle(self, request: httpx.Request) -> httpx.Response:
        self.requests.append(request)
        return self.answer(request)


@pytest.fixture(autouse=True)
def clean_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    """No setting of the machine reaches a test."""
    for name in ("HOST", "API_KEY"):
        monkeypatch.delenv(f"AGENTKIT_{name}", raising=False)
        monkeypatch.delenv(f"OLLAMA_{name}", raising=False)


@pytest.fixture(params=["sync", "async"])
def wire(request: pytest.FixtureRequest) -> Wire:
    """A scripted transport for each kind of client."""
    return Wire(request.param)
