"""Requests to one registry: credentials go to its own origin alone, redirects are followed where that is
safe, and every failure is a RegistryError.

A redirect may lead to https, or, from a registry that is spoken to over http, to http on the same host. Off
the registry's own scheme, host and port no credentials are sent.
"""

from __future__ import annotations

import ssl
from collections.abc import AsyncGenerator, AsyncIterable, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from functools import cache
from importlib.metadata import version
from typing import Any, TypeVar

import httpx
from anyio import CancelScope

from agentkit_server.errors import RegistryError
from agentkit_server.models.registry.auth import Credentials
from agentkit_server.models.registry.bodies import refusal
from agentkit_server.models.registry.challenge import Challenge
from agentkit_server.models.registry.options import Access, Patience, TransferOptions
from agentkit_server.models.registry.origin import Origin, read_url

MAX_REDIRECTS = 5
_REDIRECTS = (301, 302, 303, 307, 308)
_SAME_METHOD = (307, 308)
_LOGINS = 2
"""Challenges that one request answers: the second is that of a token which has run out."""
T = TypeVar("T")


@dataclass(frozen=True)
class Call:
    """One request. `what` says what it is for, in errors."""

    method: str
    target: str | httpx.URL
    """A path of the registry, or the whole URL that it gave for this."""
    what: str
    scope: str
    headers: Mapping[str, str] = field(default_factory=dict[str, str])
    content: bytes | Callable[[], AsyncIterable[bytes]] | None = None
    """The body; a long one is made anew for each try."""


class Exchange:
    """The connections to one registry. Belongs to one event loop; closed at the end of its block."""

    def __init__(self, origin: Origin, options: TransferOptions, access: Access) -> None:
        self.origin = origin
        self.options = options
        self._credentials = Credentials(origin, options, access)
        self._http = _http(options)

    async def __aenter__(self) -> Exchange:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._http.aclose()

    @asynccontextmanager
    async def open(self, call: Call) -> AsyncGenerator[httpx.Response]:
        """The successful answer to `call`, with its body unread. Raises RegistryError, also for what
        goes wrong while the body is read."""
        url = self._url(call.target)
        redirects = logins = 0
        while True:
            header = self._credentials.header(call.scope) if self.origin.owns(url) else None
            async with self._sent(call, url, header) as response:
                if response.is_success:
                    yield response
                    return
                if response.status_code in _REDIRECTS:
                    redirects += 1
                    url = self._redirected(call, response, redirects)
                    continue
                if response.status_code != 401 or not self.origin.owns(url):
                    raise await refusal(response, call.what)
                logins += 1
                if logins > _LOGINS or not await self._login(response, call.scope, header):
                    raise await refusal(response, call.what)

    def follow(self, base: httpx.URL, location: str) -> httpx.URL:
        """The URL that a header of an answer from `base` gives. Raises RegistryError for one that must
        not be followed."""
        host = self.origin.host
        try:
            # httpx would make a login of a URL's `user:password@`.
            url = read_url(str(base.join(location))).copy_with(userinfo=b"", fragment=None)
        except httpx.InvalidURL:
            raise RegistryError(
                f"the registry {host!r} leads to {location!r:.200}, which is no URL"
            ) from None
        same_host = url.host == httpx.URL(self.origin.url).host
        if url.scheme != "https" and not (url.scheme == "http" == self.origin.scheme and same_host):
            raise RegistryError(
                f"the registry {host!r} leads to {str(url)!r:.200}, which is not https; it was not followed"
            )
        return url

    # --- within -----------------------------------------------------------------------------------

    def _url(self, target: str | httpx.URL) -> httpx.URL:
        if isinstance(target, httpx.URL):
            return target
        try:
            return read_url(self.origin.url + target)
        except httpx.InvalidURL as error:
            raise RegistryError(f"{self.origin.url + target!r:.200} is no URL: {error}") from None

    def _redirected(self, call: Call, response: httpx.Response, redirects: int) -> httpx.URL:
        location = response.headers.get("location", "")
        wrong_way = call.method not in ("GET", "HEAD") and response.status_code not in _SAME_METHOD
        if redirects > MAX_REDIRECTS or not location or wrong_way:
            why = f"more than {MAX_REDIRECTS} times" if location and not wrong_way else "in a way it must not"
            raise RegistryError(f"{call.what}: the registry {self.origin.host!r} redirects {why}")
        return self.follow(response.url, location)

    async def _login(self, response: httpx.Response, scope: str, failed: str | None) -> bool:
        challenge = Challenge.parse(response.headers.get("www-authenticate", ""))
        return await self._credentials.answer(self._http, challenge, scope, failed)

    @asynccontextmanager
    async def _sent(
        self, call: Call, url: httpx.URL, authorization: str | None
    ) -> AsyncGenerator[httpx.Response]:
        headers = dict(call.headers)
        if authorization is not None:
            headers["Authorization"] = authorization
        content = call.content() if callable(call.content) else call.content
        try:
            request = self._http.build_request(call.method, url, headers=headers, content=content)
            response = await self._http.send(request, stream=True)
            try:
                yield response
            finally:
                await response.aclose()
        except (httpx.HTTPError, httpx.StreamError, UnicodeError) as error:
            # UnicodeError: httpx reads the host of a redirect, even of one that it is not to follow.
            raise self._broken(call, url, error) from error

    def _broken(
        self, call: Call, url: httpx.URL, error: httpx.HTTPError | httpx.StreamError | UnicodeError
    ) -> RegistryError:
        host, words = url.host, str(error) or type(error).__name__
        match error:
            case httpx.ReadTimeout() | httpx.WriteTimeout():
                why = f"{host!r} stalled: not a byte for {self.options.stall_seconds:g} seconds"
            case httpx.ProxyError():
                why = f"the proxy on the way to {host!r} refused ({words}); check HTTPS_PROXY and NO_PROXY"
            case httpx.ConnectError() if "SSL" in words or "CERTIFICATE" in words.upper():
                return RegistryError(
                    f"{call.what}: {host!r} cannot be spoken to over https ({words}); if it is a registry of "
                    f"your own without https, allow that with --insecure (in the API, insecure=true)"
                )
            case httpx.ConnectError() | httpx.ConnectTimeout():
                why = f"{host!r} cannot be reached ({words}); check the name, the network and the proxy"
            case _:
                why = f"the connection to {host!r} broke ({words})"
        return RegistryError(f"{call.what}: {why}", transient=True)


def _http(options: TransferOptions) -> httpx.AsyncClient:
    try:
        return httpx.AsyncClient(
            timeout=httpx.Timeout(options.stall_seconds, pool=None),
            verify=certificates(),
            headers={"User-Agent": f"agentkit/{version('agentkit')}", "Accept-Encoding": "identity"},
            event_hooks={"request": [_close_a_broken_handshake]},
        )
    except OSError as error:
        raise RegistryError(
            f"the certificates cannot be read: {error}; check SSL_CERT_FILE and SSL_CERT_DIR"
        ) from error
    except (httpx.InvalidURL, ValueError, ImportError) as error:
        raise RegistryError(
            f"the proxy of the settings cannot be used ({error}); give an http:// or https:// URL in "
            f"HTTPS_PROXY, HTTP_PROXY and ALL_PROXY, and hosts in NO_PROXY"
        ) from error


async def _close_a_broken_handshake(request: httpx.Request) -> None:
    """See to it that a connection whose TLS handshake is cancelled is closed: httpx forgets it."""
    opened: Any = None

    async def trace(event: str, info: Mapping[str, Any]) -> None:
        nonlocal opened
        if event == "connection.connect_tcp.complete":
            opened = info["return_value"]
        elif event == "connection.start_tls.failed":
            with CancelScope(shield=True):
                await opened.aclose()

    request.extensions["trace"] = trace


@cache
def certificates() -> ssl.SSLContext:
    """Which certificates count; reading them takes a while."""
    return httpx.create_ssl_context()


async def retried(attempt: Callable[[], Awaitable[T]], patience: Patience) -> T:
    """What `attempt` returns; a RegistryError that is transient makes another one, after a pause."""
    for number in range(1, patience.tries):
        try:
            return await attempt()
        except RegistryError as error:
            if not error.transient:
                raise
            await patience.sleep(patience.pause(number, error.retry_after))
    return await attempt()
