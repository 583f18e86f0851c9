"""Fetches a page from this machine, and only from addresses that a page or a model may make it connect to.

A host name is resolved once. Every address that it has is checked, and the connection goes to a checked
address: there is no second lookup that could answer otherwise. Each redirect starts over. Proxies of the
environment are not used, because a proxy would resolve the name again.
"""

from __future__ import annotations

import asyncio
import socket
import ssl
from collections.abc import AsyncGenerator, Awaitable, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from functools import cached_property
from ipaddress import ip_address

import httpx

from agentkit._errors import FetchRefused, WebError
from agentkit._version import __version__
from agentkit.web._addresses import Address
from agentkit.web._body import Body, read_body
from agentkit.web._extract import check_installed, page
from agentkit.web._page import Page
from agentkit.web._policy import FetchPolicy, check_addresses, check_url, host_of, port_of

Resolver = Callable[[str, int], Awaitable[Sequence[str]]]
"""From a host name and a port to its IP addresses, in the order to try them; raises OSError."""

_MAX_REDIRECTS = 10
_REDIRECTS = frozenset({301, 302, 303, 307, 308})
_CONNECT_S = 10.0
_ASKED = {
    "accept": "text/markdown, text/html;q=0.9, application/xhtml+xml;q=0.9, text/plain;q=0.8, "
    "application/json;q=0.7, application/xml;q=0.7",
    "accept-encoding": "gzip, identity",
    "user-agent": f"agentkit/{__version__}",
}


async def system_resolver(host: str, port: int) -> Sequence[str]:
    """The addresses that this machine finds for `host`."""
    found = await asyncio.get_running_loop().getaddrinfo(host, port, type=socket.SOCK_STREAM)
    return [str(address[0]) for *_, address in found]


class Fetcher:
    """Reads pages by a policy. Holds no connection and no cookie between two pages."""

    def __init__(
        self,
        policy: FetchPolicy | None = None,
        *,
        resolver: Resolver = system_resolver,
        ssl_context: ssl.SSLContext | None = None,
    ) -> None:
        """`ssl_context` says whom to trust; left out, it is who httpx trusts. Raises `DefinitionError`
        where the libraries of the extra `web` are missing."""
        check_installed()
        self._policy = policy or FetchPolicy()
        self._resolver = resolver
        self._given_ssl = ssl_context

    async def fetch(self, url: str, *, headers: Mapping[str, str] | None = None) -> Page:
        """The whole page at `url` as Markdown.

        `headers` may hold credentials: they are for the origin of `url`; a redirect takes them nowhere else.

        Raises:
            FetchRefused: the policy does not allow the URL, or one that it redirects to.
            WebError: there is no page, it is not text, too large, or takes longer than the deadline.
        """
        try:
            async with asyncio.timeout(self._policy.deadline):
                found, body = await self._follow(url, headers or {})
                return await asyncio.to_thread(page, str(found), body)
        except TimeoutError as error:
            raise WebError(f"{url!r} took longer than {self._policy.deadline:g} s") from error
        except httpx.HTTPError as error:
            raise WebError(f"{url!r} cannot be read: {str(error) or type(error).__name__}") from error

    async def _follow(self, text: str, headers: Mapping[str, str]) -> tuple[httpx.URL, Body]:
        url = check_url(text, self._policy)
        for _ in range(_MAX_REDIRECTS + 1):
            async with self._answer(url, headers) as answer:
                if answer.status_code not in _REDIRECTS:
                    if not answer.is_success:
                        raise WebError(f"{str(url)!r} answered with status {answer.status_code}")
                    return url, await read_body(answer, self._policy.max_bytes)
            following = self._redirected(url, answer)
            headers = headers if _origin(following) == _origin(url) else {}
            url = following
        raise WebError(f"{text!r} redirects more than {_MAX_REDIRECTS} times")

    def _redirected(self, url: httpx.URL, answer: httpx.Response) -> httpx.URL:
        location = answer.headers.get("location", "")
        try:
            if not location:
                raise ValueError("no location")
            following = str(url.join(location))
        except (httpx.InvalidURL, ValueError) as error:
            raise FetchRefused(f"{str(url)!r} redirects to {location!r}, which is no URL") from error
        return check_url(following, self._policy)

    @asynccontextmanager
    async def _answer(
        self, url: httpx.URL, headers: Mapping[str, str]
    ) -> AsyncGenerator[httpx.Response, None]:
        """The streaming answer of the first address that takes a connection."""
        addresses = await self._addresses(url)
        # One for each hop: a pool would hand the connection of one host to another at the same address. Used
        # without a client, which would keep cookies, follow redirects and decompress without a limit.
        context = self._ssl_context if url.scheme == "https" else ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        async with httpx.AsyncHTTPTransport(verify=context, trust_env=False) as transport:
            answer = await _first(transport, [_request(url, address, headers) for address in addresses])
            try:
                yield answer
            finally:
                await answer.aclose()

    async def _addresses(self, url: httpx.URL) -> list[Address]:
        host = host_of(url)
        try:
            addresses: list[Address] = [ip_address(host)]
        except ValueError:
            try:
                addresses = [ip_address(each) for each in await self._resolver(host, port_of(url))]
            except (OSError, ValueError) as error:
                raise WebError(f"the host {host!r} cannot be found: {error}") from error
        check_addresses(url, addresses, self._policy)
        return addresses

    @cached_property
    def _ssl_context(self) -> ssl.SSLContext:
        return self._given_ssl or httpx.create_ssl_context()


async def _first(transport: httpx.AsyncHTTPTransport, requests: Sequence[httpx.Request]) -> httpx.Response:
    for request in requests[:-1]:
        try:
            return await transport.handle_async_request(request)
        except (httpx.ConnectError, httpx.ConnectTimeout):
            continue
    return await transport.handle_async_request(requests[-1])


def _request(url: httpx.URL, address: Address, headers: Mapping[str, str]) -> httpx.Request:
    """Goes to `address`, and speaks to the host of `url` in its Host header and its TLS handshake."""
    sent = httpx.Headers(_ASKED)
    sent.update(headers)
    sent.update({"host": url.netloc.decode(), "accept-encoding": _ASKED["accept-encoding"]})
    extensions = {"sni_hostname": host_of(url), "timeout": {"connect": _CONNECT_S}}
    return httpx.Request("GET", url.copy_with(host=str(address)), headers=sent, extensions=extensions)


def _origin(url: httpx.URL) -> tuple[str, str, int]:
    return url.scheme, host_of(url), port_of(url)
