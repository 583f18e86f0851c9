"""Where the server is: turns what a person writes into `AGENTKIT_HOST` into a base URL.

Accepted: `host`, `host:port`, `:port`, `http(s)://host[:port]`, bare or bracketed IPv6, each with an optional
path. Without a scheme the port is 11434; `http://` alone means 80 and `https://` alone means 443.
"""

from __future__ import annotations

import ipaddress
import os
from urllib.parse import urlsplit

from agentkit._errors import RequestError

DEFAULT_PORT = 11434
_SCHEME_PORTS = {"http": 80, "https": 443}


def setting(name: str) -> str | None:
    """`AGENTKIT_<name>` of the environment, else `OLLAMA_<name>`, trimmed; None when empty."""
    for variable in (f"AGENTKIT_{name}", f"OLLAMA_{name}"):
        if value := os.environ.get(variable, "").strip().strip("\"'"):
            return value
    return None


def parse_host(host: str | None) -> str:
    """The base URL for `host`, without a trailing slash; None or empty means this machine.

    Raises:
        RequestError: `host` has another scheme than http or https, or a port that is not a number to 65535.
    """
    text = (host or "").strip().strip("\"'")
    scheme, separator, rest = text.partition("://")
    if not separator:
        scheme, rest = "http", text
    if scheme not in _SCHEME_PORTS:
        raise RequestError(f"the host {host!r} has the scheme {scheme!r}; use http or https")
    address, _, path = rest.partition("/")
    name, port = _split_address(address, host)
    if port is None:
        port = _SCHEME_PORTS[scheme] if separator else DEFAULT_PORT
    path = path.strip("/")
    return f"{scheme}://{name}:{port}" + (f"/{path}" if path else "")


def is_loopback(base_url: str) -> bool:
    """Whether `base_url` can only mean this machine."""
    name = urlsplit(base_url).hostname or ""
    if name == "localhost" or name.endswith(".localhost"):
        return True
    try:
        return ipaddress.ip_address(name).is_loopback
    except ValueError:
        return False


def _split_address(address: str, host: str | None) -> tuple[str, int | None]:
    if _is_ipv6(address):
        return _connectable(address), None
    try:
        split = urlsplit(f"//{address}")
        name, port = split.hostname, split.port
    except ValueError as error:
        raise RequestError(f"the host {host!r} is not host:port: {str(error).lower()}") from error
    return _connectable(name or "127.0.0.1"), port


def _connectable(name: str) -> str:
    # The unspecified address is one to listen on; a person who exports it for the server means this machine.
    if name == "0.0.0.0":
        return "127.0.0.1"
    if name == "::":
        return "[::1]"
    return f"[{name}]" if _is_ipv6(name) else name


def _is_ipv6(text: str) -> bool:
    try:
        return ipaddress.ip_address(text).version == 6
    except ValueError:
        return False
