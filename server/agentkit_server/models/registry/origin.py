"""Where a registry is: scheme, host and port, read from a reference or a setting.

Plain http is spoken only where a person asked for it.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

import httpx

from agentkit_server.errors import BadRequest, RegistryError
from agentkit_server.models.names import ModelName

_SCHEME = re.compile(r"([A-Za-z][A-Za-z0-9+.-]*)://", re.ASCII)
_PORTS = {"http": 80, "https": 443}


@dataclass(frozen=True)
class Origin:
    """The root of a registry. `host` is as in model names: with the port, where there is one."""

    scheme: str
    host: str
    path: str = ""
    """Of a mirror that is not at the root of its host; no slash at the end."""

    @classmethod
    def of(cls, reference: str, *, insecure: bool) -> Origin:
        """Where the model of `reference` is. `insecure` means http unless the reference says https.

        Raises InvalidModelName, BadRequest for another protocol and for what is no host, and RegistryError
        for http that nobody allowed.
        """
        host = ModelName.parse(reference).host
        stated = _SCHEME.match(reference)
        scheme = stated[1].lower() if stated else ("http" if insecure else "https")
        if scheme not in _PORTS:
            raise BadRequest(
                f"{reference!r} names the protocol {scheme!r}; registries speak https, or http", param="model"
            )
        if scheme == "http" and not insecure:
            raise RegistryError(
                f"insecure protocol http: {host!r} would be spoken to without encryption; "
                f"leave out http://, or allow it with --insecure (in the API, insecure=true)"
            )
        origin = cls(scheme, host)
        try:
            read_url(origin.url)
        except httpx.InvalidURL as error:
            raise BadRequest(
                f"{host!r} is no host that can be reached ({error}); give HOST or HOST:PORT", param="model"
            ) from None
        return origin

    @classmethod
    def parse(cls, url: str, setting: str) -> Origin:
        """Read a setting. Raises BadRequest for what is no http(s) URL."""
        try:
            parsed = read_url(url)
        except httpx.InvalidURL:
            parsed = httpx.URL()
        if parsed.scheme not in _PORTS or not parsed.host or parsed.userinfo:
            raise BadRequest(f"{setting} is {url!r}; it must be a URL such as https://hub.example.org")
        return cls(parsed.scheme, parsed.netloc.decode("ascii"), parsed.path.rstrip("/"))

    @property
    def url(self) -> str:
        return f"{self.scheme}://{self.host}{self.path}"

    @property
    def credentials_key(self) -> str:
        """What credentials in the settings are found by: `host`, and `http://host` for plain http, so that
        no caller sends them unencrypted where their owner did not say so."""
        return self.host.lower() if self.scheme == "https" else f"http://{self.host.lower()}"

    def owns(self, url: httpx.URL) -> bool:
        """Whether `url` is of the same scheme, host and port."""
        return same_origin(httpx.URL(self.url), url)


def read_url(text: str) -> httpx.URL:
    """`text` as a URL. Raises httpx.InvalidURL, also for hosts and ports that httpx stumbles over later."""
    url = httpx.URL(text)
    try:
        known = url.host, url.port
    except UnicodeError as error:
        raise httpx.InvalidURL(f"Invalid host: {error}") from None
    if known[1] is not None and not 0 < known[1] < 1 << 16:
        raise httpx.InvalidURL(f"Invalid port: {known[1]}")
    return url


def same_origin(one: httpx.URL, other: httpx.URL) -> bool:
    return (one.scheme, one.host, _port(one)) == (other.scheme, other.host, _port(other))


def _port(url: httpx.URL) -> int | None:
    return url.port or _PORTS.get(url.scheme)
