"""The asynchronous client: the same methods as `Client`, awaited.

With `stream=True` a method is awaited for an async iterator, which sends the request when it is first
read; closing it, or leaving it by an exception, cancels the request on the server.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator, Mapping, Sequence
from contextlib import aclosing
from functools import cached_property
from os import PathLike
from types import TracebackType
from typing import Literal, Self, Unpack, overload

import httpx

from agentkit import _cloud, _requests
from agentkit._answers import LineReader, async_lines_of, check_status, parse_answer, translated
from agentkit._blob import AsyncUpload, BlobFile, BlobProgress
from agentkit._connection import DEFAULT_TIMEOUT, Connection, Headers, HttpArguments
from agentkit._parameters import (
    ChatParameters,
    CreateParameters,
    GenerateParameters,
    KeepAlive,
    OptionValues,
)
from agentkit._requests import Messages, R, Request
from agentkit._retry import Attempts, Retry, as_retry
from agentkit._types import (
    ChatResponse,
    DetokenizeResponse,
    EmbeddingsResponse,
    EmbedResponse,
    GenerateResponse,
    ListResponse,
    ProcessResponse,
    ProgressResponse,
    ShowResponse,
    StatusResponse,
    TemplateResponse,
    TokenizeResponse,
    VerifyResponse,
    VersionResponse,
    WebFetchResponse,
    WebSearchResponse,
)


class AsyncClient:
    """A connection to one server. Belongs to one event loop; close it, or use it in an `async with` block."""

    def __init__(
        self,
        host: str | None = None,
        *,
        api_key: str | None = None,
        headers: Headers | None = None,
        timeout: httpx.Timeout | float | None = DEFAULT_TIMEOUT,
        transport: httpx.AsyncBaseTransport | None = None,
        retries: int | Retry = 2,
        **http: Unpack[HttpArguments],
    ) -> None:
        """Arguments left out come from the environment: AGENTKIT_HOST and AGENTKIT_API_KEY, else OLLAMA_….

        `timeout` is in seconds and covers each wait for bytes, so None suits long thinking. `retries` is how
        often a request that failed is sent again where that is safe; 0 is never.
        """
        self._connection = Connection(host, api_key, headers or {}, timeout, http)
        self._transport = transport
        self._retry = as_retry(retries)

    @property
    def base_url(self) -> str:
        """URL of the server, without a trailing slash."""
        return self._connection.base_url()

    @overload
    async def generate(
        self,
        model: str = "",
        prompt: str | None = None,
        suffix: str | None = None,
        *,
        stream: Literal[False] = False,
        **parameters: Unpack[GenerateParameters],
    ) -> GenerateResponse: ...

    @overload
    async def generate(
        self,
        model: str = "",
        prompt: str | None = None,
        suffix: str | None = None,
        *,
        stream: Literal[True],
        **parameters: Unpack[GenerateParameters],
    ) -> AsyncGenerator[GenerateResponse, None]: ...

    async def generate(
        self,
        model: str = "",
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
        model: str = "",
        messages: Messages | None = None,
        *,
        stream: Literal[False] = False,
        **parameters: Unpack[ChatParameters],
    ) -> ChatResponse: ...

    @overload
    async def chat(
        self,
        model: str = "",
        messages: Messages | None = None,
        *,
        stream: Literal[True],
        **parameters: Unpack[ChatParameters],
    ) -> AsyncGenerator[ChatResponse, None]: ...

    async def chat(
        self,
        model: str = "",
        messages: Messages | None = None,
        *,
        stream: bool = False,
        **parameters: Unpack[ChatParameters],
    ) -> ChatResponse | AsyncGenerator[ChatResponse, None]:
        """Answers a conversation. No messages loads the model."""
        return await self._answer(_requests.chat(model, messages, stream, parameters), stream)

    async def embed(
        self,
        model: str = "",
        input: str | Sequence[str] = "",
        truncate: bool | None = None,
        options: OptionValues | None = None,
        keep_alive: KeepAlive | None = None,
        dimensions: int | None = None,
    ) -> EmbedResponse:
        """Vectors of unit length for one or several texts; `dimensions` keeps only the first of each."""
        request = _requests.embed(model, input, truncate, options, keep_alive, dimensions)
        return await self._send(request)

    async def embeddings(
        self,
        model: str = "",
        prompt: str | None = None,
        options: OptionValues | None = None,
        keep_alive: KeepAlive | None = None,
    ) -> EmbeddingsResponse:
        """Vector of one text by the older route; prefer `embed`."""
        return await self._send(_requests.embeddings(model, prompt, options, keep_alive))

    async def tokenize(
        self,
        model: str,
        text: str,
        *,
        add_special: bool = True,
        parse_special: bool = True,
        keep_alive: KeepAlive | None = None,
    ) -> TokenizeResponse:
        """Token ids of a text: with `add_special` in the marks that the model wants round it, with
        `parse_special` control tokens where their texts are. Loads the model."""
        return await self._send(_requests.tokenize(model, text, add_special, parse_special, keep_alive))

    async def detokenize(
        self, model: str, tokens: Sequence[int], *, special: bool = True, keep_alive: KeepAlive | None = None
    ) -> DetokenizeResponse:
        """Text of token ids, with `special` that of control tokens too. Loads the model."""
        return await self._send(_requests.detokenize(model, tokens, special, keep_alive))

    async def apply_template(
        self, model: str, messages: Messages, **parameters: Unpack[ChatParameters]
    ) -> TemplateResponse:
        """The prompt that `chat` would make of the same arguments, and how many tokens it has. Loads the
        model, and generates nothing."""
        return await self._send(_requests.apply_template(model, messages, parameters))

    @overload
    async def pull(
        self, model: str, *, insecure: bool = False, stream: Literal[False] = False
    ) -> ProgressResponse: ...

    @overload
    async def pull(
        self, model: str, *, insecure: bool = False, stream: Literal[True]
    ) -> AsyncGenerator[ProgressResponse, None]: ...

    async def pull(
        self, model: str, *, insecure: bool = False, stream: bool = False
    ) -> ProgressResponse | AsyncGenerator[ProgressResponse, None]:
        """Downloads a model into the server's store."""
        return await self._answer(_requests.pull(model, insecure, stream), stream)

    @overload
    async def push(
        self, model: str, *, insecure: bool = False, stream: Literal[False] = False
    ) -> ProgressResponse: ...

    @overload
    async def push(
        self, model: str, *, insecure: bool = False, stream: Literal[True]
    ) -> AsyncGenerator[ProgressResponse, None]: ...

    async def push(
        self, model: str, *, insecure: bool = False, stream: bool = False
    ) -> ProgressResponse | AsyncGenerator[ProgressResponse, None]:
        """Uploads a model to the registry that its name says."""
        return await self._answer(_requests.push(model, insecure, stream), stream)

    @overload
    async def verify(
        self, models: Sequence[str] = (), *, stream: Literal[False] = False
    ) -> VerifyResponse: ...

    @overload
    async def verify(
        self, models: Sequence[str] = (), *, stream: Literal[True]
    ) -> AsyncGenerator[VerifyResponse, None]: ...

    async def verify(
        self, models: Sequence[str] = (), *, stream: bool = False
    ) -> VerifyResponse | AsyncGenerator[VerifyResponse, None]:
        """Reads these models, or the whole store, and says what is damaged and what to do. An extension."""
        return await self._answer(_requests.verify(models, stream), stream)

    @overload
    async def create(
        self,
        model: str,
        quantize: str | None = None,
        from_: str | None = None,
        files: Mapping[str, str] | None = None,
        adapters: Mapping[str, str] | None = None,
        *,
        stream: Literal[False] = False,
        **parameters: Unpack[CreateParameters],
    ) -> ProgressResponse: ...

    @overload
    async def create(
        self,
        model: str,
        quantize: str | None = None,
        from_: str | None = None,
        files: Mapping[str, str] | None = None,
        adapters: Mapping[str, str] | None = None,
        *,
        stream: Literal[True],
        **parameters: Unpack[CreateParameters],
    ) -> AsyncGenerator[ProgressResponse, None]: ...

    async def create(
        self,
        model: str,
        quantize: str | None = None,
        from_: str | None = None,
        files: Mapping[str, str] | None = None,
        adapters: Mapping[str, str] | None = None,
        *,
        stream: bool = False,
        **parameters: Unpack[CreateParameters],
    ) -> ProgressResponse | AsyncGenerator[ProgressResponse, None]:
        """Makes a model of another one (`from_`) or of uploaded files.

        `files` and `adapters` are file names with the digests that `create_blob` returned.
        """
        sources = _requests.Sources(quantize, from_, files, adapters)
        return await self._answer(_requests.create(model, sources, stream, parameters), stream)

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

    async def web_search(self, query: str, max_results: int = 3) -> WebSearchResponse:
        """Searches the web through the cloud; needs a key. `max_results` is 1 to 10."""
        return await self._ask_cloud(_requests.web_search(query, max_results))

    async def web_fetch(self, url: str) -> WebFetchResponse:
        """Reads a page through the cloud; needs a key. A host name alone is a URL too."""
        return await self._ask_cloud(_requests.web_fetch(url))

    async def blob_exists(self, digest: str) -> bool:
        """Whether the store has the blob `digest` (`sha256:` and 64 hex digits)."""
        request = self._http.build_request("HEAD", _requests.blob_path(digest))
        answer = await self._deliver(request, safe=True)
        if answer.status_code != 404:
            check_status(answer.status_code, answer.content)
        return answer.is_success

    async def create_blob(self, path: str | PathLike[str], *, progress: BlobProgress | None = None) -> str:
        """Uploads a file, unless the store has it, and returns its digest.

        `progress` is called with "hashing" or "uploading", the bytes done, and the bytes in all.
        """
        file = BlobFile.at(path, progress)
        digest = await file.async_digest()
        if not await self.blob_exists(digest):
            request = self._http.build_request(
                "POST", _requests.blob_path(digest), content=AsyncUpload(file), headers=file.headers
            )
            answer = await self._deliver(request, safe=False)
            check_status(answer.status_code, answer.content)
        return digest

    async def close(self) -> None:
        """Closes the connections; the client cannot be used afterwards."""
        await self._http.aclose()
        if "_cloud_http" in vars(self):
            await self._cloud_http.aclose()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.close()

    @cached_property
    def _http(self) -> httpx.AsyncClient:
        return httpx.AsyncClient(transport=self._transport, **self._connection.arguments())

    @cached_property
    def _cloud_http(self) -> httpx.AsyncClient:
        return httpx.AsyncClient(transport=self._transport, **_cloud.arguments(self._connection))

    async def _answer(self, request: Request[R], stream: bool) -> R | AsyncGenerator[R, None]:
        return self._stream(request) if stream else await self._send(request)

    async def _send(self, request: Request[R]) -> R:
        answer = await self._deliver(self._built(request), request.safe)
        return parse_answer(request, answer.status_code, answer.content)

    async def _stream(self, request: Request[R]) -> AsyncGenerator[R, None]:
        reader = LineReader(request)
        answer = await self._deliver(self._built(request), request.safe, stream=True)
        async with aclosing(answer):
            with translated(self.base_url):
                if not answer.is_success:
                    check_status(answer.status_code, await answer.aread())
                async with aclosing(async_lines_of(answer.aiter_bytes())) as lines:
                    async for line in lines:
                        if (record := reader.read(line)) is not None:
                            yield record
        reader.finish()

    def _built(self, request: Request[R]) -> httpx.Request:
        with _requests.written():
            return self._http.build_request(request.method, request.path, json=request.body)

    async def _deliver(self, request: httpx.Request, safe: bool, *, stream: bool = False) -> httpx.Response:
        """The answer of the last attempt; its body is left to be read with `stream`."""
        attempts = Attempts(self._retry, safe)
        while True:
            with translated(self.base_url):
                try:
                    answer = await self._http.send(request, stream=stream)
                    wait = attempts.wait_after_answer(answer)
                    if wait is None:
                        return answer
                    await answer.aclose()
                except httpx.TransportError as error:
                    wait = attempts.wait_after_error(error)
                    if wait is None:
                        raise
            await self._retry.pause_async(wait)

    async def _ask_cloud(self, request: Request[R]) -> R:
        _cloud.check_key(self._connection.http_headers())
        with _cloud.transport_errors():
            answer = await self._cloud_http.request(request.method, request.path, json=request.body)
        return _cloud.parse(request, answer)
