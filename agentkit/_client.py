"""The synchronous client: one method for each native route.

With `stream=True` a method returns an iterator that sends the request when it is first read; closing it, or
leaving it by an exception, cancels the request on the server.
"""

from __future__ import annotations

from collections.abc import Generator, Mapping, Sequence
from contextlib import closing
from functools import cached_property
from os import PathLike
from types import TracebackType
from typing import Literal, Self, Unpack, overload

import httpx

from agentkit import _cloud, _requests
from agentkit._answers import LineReader, check_status, lines_of, parse_answer, translated
from agentkit._blob import BlobFile, BlobProgress, Upload
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


class Client:
    """A connection to one server. Safe to share between threads; close it, or use it in a `with` block."""

    def __init__(
        self,
        host: str | None = None,
        *,
        api_key: str | None = None,
        headers: Headers | None = None,
        timeout: httpx.Timeout | float | None = DEFAULT_TIMEOUT,
        transport: httpx.BaseTransport | None = None,
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
    def generate(
        self,
        model: str = "",
        prompt: str | None = None,
        suffix: str | None = None,
        *,
        stream: Literal[False] = False,
        **parameters: Unpack[GenerateParameters],
    ) -> GenerateResponse: ...

    @overload
    def generate(
        self,
        model: str = "",
        prompt: str | None = None,
        suffix: str | None = None,
        *,
        stream: Literal[True],
        **parameters: Unpack[GenerateParameters],
    ) -> Generator[GenerateResponse, None, None]: ...

    def generate(
        self,
        model: str = "",
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
        model: str = "",
        messages: Messages | None = None,
        *,
        stream: Literal[False] = False,
        **parameters: Unpack[ChatParameters],
    ) -> ChatResponse: ...

    @overload
    def chat(
        self,
        model: str = "",
        messages: Messages | None = None,
        *,
        stream: Literal[True],
        **parameters: Unpack[ChatParameters],
    ) -> Generator[ChatResponse, None, None]: ...

    def chat(
        self,
        model: str = "",
        messages: Messages | None = None,
        *,
        stream: bool = False,
        **parameters: Unpack[ChatParameters],
    ) -> ChatResponse | Generator[ChatResponse, None, None]:
        """Answers a conversation. No messages loads the model."""
        return self._answer(_requests.chat(model, messages, stream, parameters), stream)

    def embed(
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
        return self._send(request)

    def embeddings(
        self,
        model: str = "",
        prompt: str | None = None,
        options: OptionValues | None = None,
        keep_alive: KeepAlive | None = None,
    ) -> EmbeddingsResponse:
        """Vector of one text by the older route; prefer `embed`."""
        return self._send(_requests.embeddings(model, prompt, options, keep_alive))

    def tokenize(
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
        return self._send(_requests.tokenize(model, text, add_special, parse_special, keep_alive))

    def detokenize(
        self, model: str, tokens: Sequence[int], *, special: bool = True, keep_alive: KeepAlive | None = None
    ) -> DetokenizeResponse:
        """Text of token ids, with `special` that of control tokens too. Loads the model."""
        return self._send(_requests.detokenize(model, tokens, special, keep_alive))

    def apply_template(
        self, model: str, messages: Messages, **parameters: Unpack[ChatParameters]
    ) -> TemplateResponse:
        """The prompt that `chat` would make of the same arguments, and how many tokens it has. Loads the
        model, and generates nothing."""
        return self._send(_requests.apply_template(model, messages, parameters))

    @overload
    def pull(
        self, model: str, *, insecure: bool = False, stream: Literal[False] = False
    ) -> ProgressResponse: ...

    @overload
    def pull(
        self, model: str, *, insecure: bool = False, stream: Literal[True]
    ) -> Generator[ProgressResponse, None, None]: ...

    def pull(
        self, model: str, *, insecure: bool = False, stream: bool = False
    ) -> ProgressResponse | Generator[ProgressResponse, None, None]:
        """Downloads a model into the server's store."""
        return self._answer(_requests.pull(model, insecure, stream), stream)

    @overload
    def push(
        self, model: str, *, insecure: bool = False, stream: Literal[False] = False
    ) -> ProgressResponse: ...

    @overload
    def push(
        self, model: str, *, insecure: bool = False, stream: Literal[True]
    ) -> Generator[ProgressResponse, None, None]: ...

    def push(
        self, model: str, *, insecure: bool = False, stream: bool = False
    ) -> ProgressResponse | Generator[ProgressResponse, None, None]:
        """Uploads a model to the registry that its name says."""
        return self._answer(_requests.push(model, insecure, stream), stream)

    @overload
    def verify(self, models: Sequence[str] = (), *, stream: Literal[False] = False) -> VerifyResponse: ...

    @overload
    def verify(
        self, models: Sequence[str] = (), *, stream: Literal[True]
    ) -> Generator[VerifyResponse, None, None]: ...

    def verify(
        self, models: Sequence[str] = (), *, stream: bool = False
    ) -> VerifyResponse | Generator[VerifyResponse, None, None]:
        """Reads these models, or the whole store, and says what is damaged and what to do. An extension."""
        return self._answer(_requests.verify(models, stream), stream)

    @overload
    def create(
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
    def create(
        self,
        model: str,
        quantize: str | None = None,
        from_: str | None = None,
        files: Mapping[str, str] | None = None,
        adapters: Mapping[str, str] | None = None,
        *,
        stream: Literal[True],
        **parameters: Unpack[CreateParameters],
    ) -> Generator[ProgressResponse, None, None]: ...

    def create(
        self,
        model: str,
        quantize: str | None = None,
        from_: str | None = None,
        files: Mapping[str, str] | None = None,
        adapters: Mapping[str, str] | None = None,
        *,
        stream: bool = False,
        **parameters: Unpack[CreateParameters],
    ) -> ProgressResponse | Generator[ProgressResponse, None, None]:
        """Makes a model of another one (`from_`) or of uploaded files.

        `files` and `adapters` are file names with the digests that `create_blob` returned.
        """
        sources = _requests.Sources(quantize, from_, files, adapters)
        return self._answer(_requests.create(model, sources, stream, parameters), stream)

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

    def web_search(self, query: str, max_results: int = 3) -> WebSearchResponse:
        """Searches the web through the cloud; needs a key. `max_results` is 1 to 10."""
        return self._ask_cloud(_requests.web_search(query, max_results))

    def web_fetch(self, url: str) -> WebFetchResponse:
        """Reads a page through the cloud; needs a key. A host name alone is a URL too."""
        return self._ask_cloud(_requests.web_fetch(url))

    def blob_exists(self, digest: str) -> bool:
        """Whether the store has the blob `digest` (`sha256:` and 64 hex digits)."""
        request = self._http.build_request("HEAD", _requests.blob_path(digest))
        answer = self._deliver(request, safe=True)
        if answer.status_code != 404:
            check_status(answer.status_code, answer.content)
        return answer.is_success

    def create_blob(self, path: str | PathLike[str], *, progress: BlobProgress | None = None) -> str:
        """Uploads a file, unless the store has it, and returns its digest.

        `progress` is called with "hashing" or "uploading", the bytes done, and the bytes in all.
        """
        file = BlobFile.at(path, progress)
        digest = file.digest()
        if not self.blob_exists(digest):
            request = self._http.build_request(
                "POST", _requests.blob_path(digest), content=Upload(file), headers=file.headers
            )
            answer = self._deliver(request, safe=False)
            check_status(answer.status_code, answer.content)
        return digest

    def close(self) -> None:
        """Closes the connections; the client cannot be used afterwards."""
        self._http.close()
        if "_cloud_http" in vars(self):
            self._cloud_http.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    @cached_property
    def _http(self) -> httpx.Client:
        return httpx.Client(transport=self._transport, **self._connection.arguments())

    @cached_property
    def _cloud_http(self) -> httpx.Client:
        return httpx.Client(transport=self._transport, **_cloud.arguments(self._connection))

    def _answer(self, request: Request[R], stream: bool) -> R | Generator[R, None, None]:
        return self._stream(request) if stream else self._send(request)

    def _send(self, request: Request[R]) -> R:
        answer = self._deliver(self._built(request), request.safe)
        return parse_answer(request, answer.status_code, answer.content)

    def _stream(self, request: Request[R]) -> Generator[R, None, None]:
        reader = LineReader(request)
        answer = self._deliver(self._built(request), request.safe, stream=True)
        with closing(answer), translated(self.base_url):
            if not answer.is_success:
                check_status(answer.status_code, answer.read())
            for line in lines_of(answer.iter_bytes()):
                if (record := reader.read(line)) is not None:
                    yield record
        reader.finish()

    def _built(self, request: Request[R]) -> httpx.Request:
        with _requests.written():
            return self._http.build_request(request.method, request.path, json=request.body)

    def _deliver(self, request: httpx.Request, safe: bool, *, stream: bool = False) -> httpx.Response:
        """The answer of the last attempt; its body is left to be read with `stream`."""
        attempts = Attempts(self._retry, safe)
        while True:
            with translated(self.base_url):
                try:
                    answer = self._http.send(request, stream=stream)
                    wait = attempts.wait_after_answer(answer)
                    if wait is None:
                        return answer
                    answer.close()
                except httpx.TransportError as error:
                    wait = attempts.wait_after_error(error)
                    if wait is None:
                        raise
            self._retry.pause(wait)

    def _ask_cloud(self, request: Request[R]) -> R:
        _cloud.check_key(self._connection.http_headers())
        with _cloud.transport_errors():
            answer = self._cloud_http.request(request.method, request.path, json=request.body)
        return _cloud.parse(request, answer)
