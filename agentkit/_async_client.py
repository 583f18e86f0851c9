"""The asynchronous client: the same methods as `Client`, awaited.

With `stream=True` a method is awaited for an async iterator, which sends the request when it is first
read; closing it, or leaving it by an exception, cancels the request on the server.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator, Mapping, Sequence
from functools import cached_property
from os import PathLike
from types import TracebackType
from typing import Literal, Self, Unpack, overload

import anyio.to_thread
import httpx

from agentkit import _requests
from agentkit._answers import LineReader, check_status, parse_answer, translated
from agentkit._blob import file_digest, pieces
from agentkit._connection import DEFAULT_TIMEOUT, Connection
from agentkit._parameters import ChatParameters, EmbeddingsParameters, EmbedParameters, GenerateParameters
from agentkit._requests import Messages, R, Request
from agentkit._types import (
    ChatResponse,
    EmbeddingsResponse,
    EmbedResponse,
    GenerateResponse,
    ListResponse,
    ProcessResponse,
    ProgressResponse,
    ShowResponse,
    StatusResponse,
    VersionResponse,
)


class AsyncClient:
    """A connection to one server. Belongs to one event loop; close it, or use it in an `async with` block."""

    def __init__(
        self,
        host: str | None = None,
        *,
        api_key: str | None = None,
        headers: Mapping[str, str] | None = None,
        timeout: httpx.Timeout | float | None = DEFAULT_TIMEOUT,
        transport: httpx.AsyncBaseTransport | None = None,
    ) -> None:
        """Arguments left out come from the environment: AGENTKIT_HOST and AGENTKIT_API_KEY, else OLLAMA_….

        `timeout` is in seconds and covers each wait for bytes, so None suits long thinking.
        """
        self._connection = Connection(host, api_key, headers or {}, timeout)
        self._transport = transport

    @property
    def base_url(self) -> str:
        """URL of the server, without a trailing slash."""
        return self._connection.base_url()

    @overload
    async def generate(
        self,
        model: str,
        prompt: str | None = None,
        suffix: str | None = None,
        *,
        stream: Literal[False] = False,
        **parameters: Unpack[GenerateParameters],
    ) -> GenerateResponse: ...

    @overload
    async def generate(
        self,
        model: str,
        prompt: str | None = None,
        suffix: str | None = None,
        *,
        stream: Literal[True],
        **parameters: Unpack[GenerateParameters],
    ) -> AsyncGenerator[GenerateResponse, None]: ...

    async def generate(
        self,
        model: str,
        prompt: str | None = None,
        suffix: str | None = None,
        *,
        stream: bool = False,
        **parameters: Unpack[GenerateParameters],
    ) -> GenerateResponse | AsyncGenerator[GenerateResponse, None]:
        """Completes a prompt. An empty prompt loads the model."""
        return await self._answer(_requests.generate(model, prompt, suffix, stream, parameters), stream)

    @overload
    async def chat(
        self,
        model: str,
        messages: Messages | None = None,
        *,
        stream: Literal[False] = False,
        **parameters: Unpack[ChatParameters],
    ) -> ChatResponse: ...

    @overload
    async def chat(
        self,
        model: str,
        messages: Messages | None = None,
        *,
        stream: Literal[True],
        **parameters: Unpack[ChatParameters],
    ) -> AsyncGenerator[ChatResponse, None]: ...

    async def chat(
        self,
        model: str,
        messages: Messages | None = None,
        *,
        stream: bool = False,
        **parameters: Unpack[ChatParameters],
    ) -> ChatResponse | AsyncGenerator[ChatResponse, None]:
        """Answers a conversation. No messages loads the model."""
        return await self._answer(_requests.chat(model, messages, stream, parameters), stream)

    async def embed(
        self, model: str, input: str | Sequence[str] = "", **parameters: Unpack[EmbedParameters]
    ) -> EmbedResponse:
        """Vectors of unit length for one or several texts."""
        return await self._send(_requests.embed(model, input, parameters))

    async def embeddings(
        self, model: str, prompt: str | None = None, **parameters: Unpack[EmbeddingsParameters]
    ) -> EmbeddingsResponse:
        """Vector of one text by the older route; prefer `embed`."""
        return await self._send(_requests.embeddings(model, prompt, parameters))

    @overload
    async def pull(
        self, model: str, *, insecure: bool | None = None, stream: Literal[False] = False
    ) -> ProgressResponse: ...

    @overload
    async def pull(
        self, model: str, *, insecure: bool | None = None, stream: Literal[True]
    ) -> AsyncGenerator[ProgressResponse, None]: ...

    async def pull(
        self, model: str, *, insecure: bool | None = None, stream: bool = False
    ) -> ProgressResponse | AsyncGenerator[ProgressResponse, None]:
        """Downloads a model into the server's store."""
        return await self._answer(_requests.pull(model, insecure, stream), stream)

    async def list(self) -> ListResponse:
        """The models of the store."""
        return await self._send(_requests.tags())

    async def show(self, model: str, *, verbose: bool | None = None) -> ShowResponse:
        """Details of a model; `verbose` adds long metadata arrays and tensors."""
        return await self._send(_requests.show(model, verbose))

    async def ps(self) -> ProcessResponse:
        """The models in memory."""
        return await self._send(_requests.ps())

    async def copy(self, source: str, destination: str) -> StatusResponse:
        """Gives a model a second name."""
        return await self._send(_requests.copy(source, destination))

    async def delete(self, model: str) -> StatusResponse:
        """Removes a name, and what no other name needs, from the store."""
        return await self._send(_requests.delete(model))

    async def stop(self, model: str) -> GenerateResponse:
        """Unloads a model from memory."""
        return await self._send(_requests.stop(model))

    async def version(self) -> VersionResponse:
        """The server's version."""
        return await self._send(_requests.version())

    async def blob_exists(self, digest: str) -> bool:
        """Whether the store has the blob `digest` (`sha256:` and 64 hex digits)."""
        with translated(self.base_url):
            answer = await self._http.head(_requests.blob_path(digest))
        if answer.status_code != 404:
            check_status(answer.status_code, answer.content)
        return answer.is_success

    async def create_blob(self, path: str | PathLike[str]) -> str:
        """Uploads a file, unless the store has it, and returns its digest."""
        digest = await anyio.to_thread.run_sync(file_digest, path)
        if not await self.blob_exists(digest):
            with translated(self.base_url):
                answer = await self._http.post(_requests.blob_path(digest), content=pieces(path))
            check_status(answer.status_code, answer.content)
        return digest

    async def close(self) -> None:
        """Closes the connections; the client cannot be used afterwards."""
        await self._http.aclose()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.close()

    @cached_property
    def _http(self) -> httpx.AsyncClient:
        return httpx.AsyncClient(transport=self._transport, **self._connection.arguments())

    async def _answer(self, request: Request[R], stream: bool) -> R | AsyncGenerator[R, None]:
        return self._stream(request) if stream else await self._send(request)

    async def _send(self, request: Request[R]) -> R:
        with translated(self.base_url):
            answer = await self._http.request(request.method, request.path, json=request.body)
        return parse_answer(request, answer.status_code, answer.content)

    async def _stream(self, request: Request[R]) -> AsyncGenerator[R, None]:
        reader = LineReader(request)
        with translated(self.base_url):
            async with self._http.stream(request.method, request.path, json=request.body) as answer:
                if not answer.is_success:
                    check_status(answer.status_code, await answer.aread())
                async for line in answer.aiter_lines():
                    if (record := reader.read(line)) is not None:
                        yield record
        reader.finish()
