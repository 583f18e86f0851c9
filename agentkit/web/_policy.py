"""What may be fetched: the rules about URLs, and about the addresses that a host name stands for.

Pure, and called again for each redirect: `check_url` before a name is resolved, `check_addresses` after it.
Both raise nothing but `FetchRefused`. The messages name no address, so that a page cannot make a model tell
what a private network looks like.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from ipaddress import IPv6Address

import httpx

from agentkit._errors import DefinitionError, FetchRefused, RequestError
from agentkit._host import DEFAULT_PORT, parse_host, setting
from agentkit.web._addresses import Address, kind

_PORTS = {"http": 80, "https": 443}
_MAX_URL = 4096
_BARE_HOST = re.compile(r"[\w.-]+(:\d+)?([/?#]|$)")
_NAME = re.compile(r"(?=.{1,253}$)[a-z0-9_]([a-z0-9_-]{0,62})(\.[a-z0-9_]([a-z0-9_-]{0,62}))*")


@dataclass(frozen=True, kw_only=True)
class FetchPolicy:
    """What a `Fetcher` may read, and how much of it."""

    allow_local: bool = False
    """Whether loopback, private, carrier-grade NAT and link-local addresses may be fetched."""
    allow_hosts: Collection[str] = ()
    """Hosts (`wiki.internal`, `127.0.0.1:8080`) that may be local though `allow_local` is off."""
    allow_domains: Collection[str] | None = None
    """With these, nothing but these domains and what is below them."""
    deny_domains: Collection[str] = ()
    """Never these domains, nor what is below them; comes before `allow_domains`."""
    max_bytes: int = 5_000_000
    """Of a body, as it comes in and again when it is decompressed."""
    deadline: float = 30.0
    """Seconds for everything together: names, redirects, body and extraction."""

    def __post_init__(self) -> None:
        for hosts in (self.allow_hosts, self.allow_domains, self.deny_domains):
            if isinstance(hosts, str):
                raise DefinitionError(f"a list of hosts is needed, not the text {hosts!r}")


def check_url(url: str, policy: FetchPolicy) -> httpx.URL:
    """`url` in the form that may be requested: with a scheme, without a trailing dot and a fragment.

    Raises:
        FetchRefused: it is no URL of http or https, carries credentials, or its domain or port is denied.
    """
    checked = _parsed(url)
    host = host_of(checked)
    if any(_is_below(host, domain) for domain in policy.deny_domains):
        raise FetchRefused(f"the domain of {url!r} is denied")
    if policy.allow_domains is not None and not any(_is_below(host, each) for each in policy.allow_domains):
        raise FetchRefused(f"the domain of {url!r} is not among those allowed")
    own_host, own_port = _own_server()
    # The port of a server that shares 80 or 443 with the web is denied on this machine alone.
    if port_of(checked) == own_port and (own_port not in _PORTS.values() or host == own_host):
        raise FetchRefused(f"{url!r} is the port of the model server")
    return checked


def check_addresses(url: httpx.URL, addresses: Sequence[Address], policy: FetchPolicy) -> None:
    """Raises `FetchRefused` unless each of the `addresses` that the host of `url` has may be connected to."""
    if not addresses:
        raise FetchRefused(f"the host {host_of(url)!r} has no address")
    local = policy.allow_local or _is_named(url, policy.allow_hosts)
    for found, name in map(kind, addresses):
        if found in ("reserved", "metadata") or (found == "local" and not local):
            raise FetchRefused(f"the host {host_of(url)!r} has a {name} address, which must not be fetched")
        if found == "local" and port_of(url) == _own_server()[1]:
            raise FetchRefused(f"the host {host_of(url)!r} is the model server")


def host_of(url: httpx.URL) -> str:
    """The host as it goes over the wire: lower case, ASCII, an IPv6 address without brackets."""
    return url.raw_host.decode()


def port_of(url: httpx.URL) -> int:
    """The port of an http or https URL, said or not."""
    return _PORTS[url.scheme] if url.port is None else url.port


def _parsed(text: str) -> httpx.URL:
    written = text.strip()
    if len(written) > _MAX_URL:
        raise FetchRefused(f"the URL is {len(written)} characters long; at most {_MAX_URL} are read")
    try:
        url = httpx.URL(f"https://{written}" if _BARE_HOST.match(written) else written)
        if url.scheme not in _PORTS:
            raise FetchRefused(f"{text!r} is not an http or https URL")
        if url.userinfo:
            raise FetchRefused(
                "a URL with credentials in it is not fetched; leave out what is before the `@`"
            )
        if not 1 <= port_of(url) <= 65535:
            raise ValueError(f"there is no port {port_of(url)}")
        return url.copy_with(host=_host(host_of(url)), fragment=None)
    # Of idna and of ipaddress, besides httpx's own.
    except (httpx.InvalidURL, ValueError) as error:
        raise FetchRefused(f"{text!r} is not a URL: {error}") from error


def _host(raw: str) -> str:
    if ":" in raw and "%" not in raw:
        return str(IPv6Address(raw))
    name = raw.lower().rstrip(".")
    if not _NAME.fullmatch(name):
        raise ValueError(f"{raw!r} is no host name")
    return name


def _is_below(host: str, domain: str) -> bool:
    name = httpx.URL(scheme="http", host=domain.strip(".").lower()).raw_host.decode()
    return host == name or host.endswith(f".{name}")


def _is_named(url: httpx.URL, hosts: Collection[str]) -> bool:
    return not {host_of(url), url.netloc.decode(), f"{host_of(url)}:{port_of(url)}"}.isdisjoint(hosts)


def _own_server() -> tuple[str | None, int]:
    try:
        server = httpx.URL(parse_host(setting("HOST")))
    except (RequestError, httpx.InvalidURL):
        return None, DEFAULT_PORT
    return host_of(server), port_of(server)
