"""Host names as the security floor reads them: where the server binds, and which `Host` headers and
browser origins it answers. The lists are those that Ollama clients and browser apps rely on."""

from __future__ import annotations

import ipaddress
import re
import socket
from collections.abc import Sequence
from dataclasses import dataclass

import psutil

from agentkit_server.errors import BindRefused
from agentkit_server.settings import DEFAULT_PORT

LOCAL_SUFFIXES = (".localhost", ".local", ".internal")
LOCAL_ORIGIN_HOSTS = ("localhost", "127.0.0.1", "0.0.0.0", "::1")
APP_SCHEMES = ("app", "file", "tauri", "vscode-webview", "vscode-file")

_HOST = re.compile(r"(\[[0-9a-z:.%_-]+\]|[^\s:\[\]/\\@?#,]+)(?::(\d{0,5}))?")
_SCHEME = re.compile(r"[a-z*][a-z0-9+.*-]*://")
_ORIGIN = re.compile(r"([a-z][a-z0-9+.-]*)://([^\s/\\@?#,]*)")
_SCHEME_PORTS = {"http": 80, "https": 443}


@dataclass(frozen=True)
class Bind:
    """Where the server listens. `host` carries no brackets."""

    host: str
    port: int

    @property
    def loopback(self) -> bool:
        """Only this machine can reach it. A name other than `localhost` is never taken for loopback,
        because what it resolves to is not ours to say."""
        address = _address(self.host)
        return self.host == "localhost" if address is None else address.is_loopback


def parse_bind(text: str) -> Bind:
    """Read `host`, `host:port`, `:port`, an IPv6 literal with or without brackets, or a URL.

    A missing host is 127.0.0.1; a missing port is 11434, or the scheme's own in a URL. Raises
    BindRefused for anything else.
    """
    scheme, separator, rest = text.strip().rpartition("://")
    default = _SCHEME_PORTS.get(scheme.lower(), DEFAULT_PORT) if separator else DEFAULT_PORT
    rest = rest.split("/", 1)[0].lower()
    if _address(rest) is not None:
        return Bind(rest, default)
    match = _HOST.fullmatch(f"127.0.0.1{rest}" if rest.startswith(":") or not rest else rest)
    port = int(match[2]) if match and match[2] else default
    if match is None or port > 65535:
        raise BindRefused(f"the bind address {text!r} is not host:port; write for example 127.0.0.1:11434")
    return Bind(match[1].strip("[]"), port)


def host_allowed(header: str) -> bool:
    """Whether a server bound to loopback answers this `Host` header.

    A page that rebinds its own domain name to 127.0.0.1 still sends that name: only IP literals of this
    machine or a private network, and names that public DNS cannot give out, are served.
    """
    match = _HOST.fullmatch(header.strip().lower())
    if match is None:
        return False
    name = match[1].strip("[]").removesuffix(".")
    address = _address(name)
    if address is None:
        return name in ("localhost", socket.gethostname().lower()) or name.endswith(LOCAL_SUFFIXES)
    return address.is_private or address.is_unspecified or address in _interface_addresses()


class Origins:
    """The browser origins that may call the server."""

    def __init__(self, extra: Sequence[str] = ()) -> None:
        """`extra` holds origins such as `https://chat.example.org`; `*` in one stands for any run of
        characters but `/`, and `*` alone for every origin. Raises BindRefused for an unreadable one."""
        self._extra = [_origin_pattern(origin) for origin in extra]

    def allow(self, origin: str, host: str) -> bool:
        """Whether `origin` may call a server that was addressed as `host` (the Host header).

        Same origin counts only for a host that DNS rebinding cannot forge. `null` is what sandboxed
        frames of any site send, so it has to be listed to be let in.
        """
        origin = origin.strip().lower()
        if any(pattern.fullmatch(origin) for pattern in self._extra):
            return True
        parts = _ORIGIN.fullmatch(origin)
        if parts is None:
            return False
        scheme, authority = parts.groups()
        if scheme in APP_SCHEMES:
            return True
        if scheme not in _SCHEME_PORTS:
            return False
        match = _HOST.fullmatch(authority)
        if match is not None and match[1].strip("[]") in LOCAL_ORIGIN_HOSTS:
            return True
        return authority == host.strip().lower() and host_allowed(host)


def check_bind(host: str, has_keys: bool, insecure: bool) -> str | None:
    """Decide whether the server may listen on `host` (any form that `parse_bind` reads).

    Loopback is free; every other address needs keys or `insecure`. Returns the warning to print
    loudly at start, None when there is none. Raises BindRefused otherwise.
    """
    bind = parse_bind(host)
    if bind.loopback or has_keys:
        return None
    if insecure:
        return (
            f"WARNING: listening on {bind.host!r} WITHOUT API KEYS. Everyone who can reach this address can "
            f"use, download and delete models. Set AGENTKIT_API_KEYS to close it."
        )
    raise BindRefused(
        f"refusing to listen on {bind.host!r} without API keys: set AGENTKIT_API_KEYS, bind to 127.0.0.1, "
        f"or pass --insecure to leave the server open on purpose"
    )


def _address(text: str) -> ipaddress.IPv4Address | ipaddress.IPv6Address | None:
    try:
        address = ipaddress.ip_address(text)
    except ValueError:
        return None
    return getattr(address, "ipv4_mapped", None) or address


def _interface_addresses() -> set[ipaddress.IPv4Address | ipaddress.IPv6Address | None]:
    interfaces = psutil.net_if_addrs().values()
    return {_address(row.address) for rows in interfaces for row in rows}


def _origin_pattern(origin: str) -> re.Pattern[str]:
    origin = origin.strip().lower()
    if origin == "*":
        return re.compile(".*")
    if origin != "null" and not _SCHEME.match(origin):
        raise BindRefused(
            f"the allowed origin {origin!r} has no scheme; write for example https://chat.example.org"
        )
    return re.compile("[^/]*".join(re.escape(part) for part in re.sub(r"(?<!/)/$", "", origin).split("*")))
