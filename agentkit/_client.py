"""The synchronous client: one method for each native route.

With `stream=True` a method returns an iterator that sends the request when it is first read; closing it, or
leaving it by an exception, cancels the request on the server.
"""

from __future__ import annotations

from collections.abc import Generator, Mapping, Sequence
from functools import cached_property
from os import PathLike
from pathlib import Path
from types import TracebackType
from typing import Literal, Self, Unpack, overload

import httpx

from agentkit import _requests
from agentkit._answers import LineReader, check_status, parse_answer, translated
from agentkit._blob import file_digest
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


class Client:
    """A connection to one server. Safe to share between threads; close it, or use it in a `with` block."""

    def __init__(
        self,
        host: str | None = None,
        *,
        api_key: str | None = None,
        headers: Mapping[str, str] | None = None,
        timeout: httpx.Timeout | float | None = DEFAULT_TIMEOUT,
        transport: httpx.BaseTransport | None = None,
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
    def generate(
        self,
        model: str,
        prompt: str | None = None,
        suffix: str | None = None,
        *,
        stream: Literal[False] = False,
        **parameters: Unpack[GenerateParameters],
    ) -> GenerateResponse: ...

    @overload
    def generate(
        self,
        model: str,
        prompt: str | None = None,
        suffix: str | None = None,
        *,
        stream: Literal[True],
        **parameters: Unpack[GenerateParameters],
    ) -> Generator[GenerateResponse, None, None]: ...

    def generate(
        self,
        model: str,
        prompt: str | None = None,
        suffix: str | None = None,
        *,
        stream: bool = False,
        **parameters: Unpack[GenerateParameters],
    ) -> GenerateResponse | Generator[GenerateResponse, None, None]:
        """Completes a prompt. An empty prompt loads the model."""
        return self._answer(_requests.generate(model, prompt, suffix, stream, parameters), stream)

    @overload
    def chat(
        self,
        model: str,
        messages: Messages | None = None,
        *,
        stream: Literal[False] = False,
        **parameters: Unpack[ChatParameters],
    ) -> ChatResponse: ...

    @overload
    def chat(
        self,
        model: str,
        messages: Messages | None = None,
        *,
        stream: Literal[True],
        **parameters: Unpack[ChatParameters],
    ) -> Generator[ChatResponse, None, None]: ...

    def chat(
        self,
        model: str,
        messages: Messages | None = None,
        *,
        stream: bool = False,
        **parameters: Unpack[ChatParameters],
    ) -> ChatResponse | Generator[ChatResponse, None, None]:
        """Answers a conversation. No messages loads the model."""
        return self._answer(_requests.chat(model, messages, stream, parameters), stream)

    def embed(
        self, model: str, input: str | Sequence[str] = "", **parameters: Unpack[EmbedParameters]
    ) -> EmbedResponse:
        """Vectors of unit length for one or several texts."""
        return self._send(_requests.embed(model, input, parameters))

    def embeddings(
        self, model: str, prompt: str | None = None, **parameters: Unpack[EmbeddingsParameters]
    ) -> EmbeddingsResponse:
        """Vector of one text by the older route; prefer `embed`."""
        return self._send(_requests.embeddings(model, prompt, parameters))

    @overload
    def pull(
        self, model: str, *, insecure: bool | None = None, stream: Literal[False] = False
    ) -> ProgressResponse: ...

    @overload
    def pull(
        self, model: str, *, insecure: bool | None = None, stream: Literal[True]
    ) -> Generator[ProgressResponse, None, None]: ...

    def pull(
        self, model: str, *, insecure: bool | None = None, stream: bool = False
    ) -> ProgressResponse | Generator[ProgressResponse, None, None]:
        """Downloads a model into the server's store."""
        return self._answer(_requests.pull(model, insecure, stream), stream)

    def list(self) -> ListResponse:
        """The models of the store."""
        return self._send(_requests.tags())

    def show(self, model: str, *, verbose: bool | None = None) -> ShowResponse:
        """Details of a model; `verbose` adds long metadata arrays and tensors."""
        return self._send(_requests.show(model, verbose))

    def ps(self) -> ProcessResponse:
        """The models in memory."""
        return self._send(_requests.ps())

    def copy(self, source: str, destination: str) -> StatusResponse:
        """Gives a model a second name."""
        return self._send(_requests.copy(source, destination))

    def delete(self, model: str) -> StatusResponse:
        """Removes a name, and what no other name needs, from the store."""
        return self._send(_requests.delete(model))

    def stop(self, model: str) -> GenerateResponse:
        """Unloads a model from memory."""
        return self._send(_requests.stop(model))

    def version(self) -> VersionResponse:
        """The server's version."""
        return self._send(_requests.version())

    def blob_exists(self, digest: str) -> bool:
        """Whether the store has the blob `digest` (`sha256:` and 64 hex digits)."""
        with translated(self.base_url):
            answer = self._http.head(_requests.blob_path(digest))
        if answer.status_code != 404:
            check_status(answer.status_code, answer.content)
        return answer.is_success

    def create_blob(self, path: str | PathLike[str]) -> str:
        """Uploads a file, unless the store has it, and returns its digest."""
        digest = file_digest(path)
        if not self.blob_exists(digest):
            with translated(self.base_url), Path(path).open("rb") as file:
                answer = self._http.post(_requests.blob_path(digest), content=file)
            check_status(answer.status_code, answer.content)
        return digest

    def close(self) -> None:
        """Closes the connections; the client cannot be used afterwards."""
        self._http.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    @cached_property
    def _http(self) -> httpx.Client:
        return httpx.Client(transport=self._transport, **self._connection.arguments())

    def _answer(self, request: Request[R], stream: bool) -> R | Generator[R, None, None]:
        return self._stream(request) if stream else self._send(request)

    def _send(self, request: Request[R]) -> R:
        with translated(self.base_url):
            answer = self._http.request(request.method, request.path, json=request.body)
        return parse_answer(request, answer.status_code, answer.content)

    def _stream(self, request: Request[R]) -> Generator[R, None, None]:
        reader = LineReader(request)
        with (
            translated(self.base_url),
            self._http.stream(request.method, request.path, json=request.body) as answer,
        ):
            if not answer.is_success:
                check_status(answer.status_code, answer.read())
            for line in answer.iter_lines():
                if (record := reader.read(line)) is not None:
                    yield record
        reader.finish()
