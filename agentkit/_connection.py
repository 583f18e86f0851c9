"""What the two clients share: the settings of their HTTP connection."""

from __future__ import annotations

import platform
import ssl
from collections.abc import Generator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from threading import Lock
from typing import Any, TypedDict

import httpx

from agentkit._errors import AgentkitError
from agentkit._host import is_loopback, parse_host, setting

# A model may think for minutes before its first token, so only connecting has a limit.
DEFAULT_TIMEOUT = httpx.Timeout(None, connect=10.0)


Headers = Mapping[str, str | None]
"""Of every request; one that is None counts as left out."""


class HttpArguments(TypedDict, total=False):
    """Further arguments of a client, as `httpx.Client` and `httpx.AsyncClient` take them."""

    follow_redirects: bool
    """Unlike in httpx, the default is True."""
    verify: ssl.SSLContext | str | bool
    trust_env: bool
    proxy: httpx.Proxy | str | None
    mounts: Any
    auth: Any
    cookies: Any
    params: Any
    limits: httpx.Limits
    max_redirects: int
    event_hooks: Any
    http1: bool
    http2: bool
    default_encoding: Any


class _Requests:
    """How many `forbid_requests` are on; in all threads."""

    lock = Lock()
    forbidden = 0


@contextmanager
def forbid_requests() -> Generator[None]:
    """While it is on, no client and no backend of the SDK opens a connection, in no thread: each raises
    AgentkitError instead. For tests, as a fixture or in a `with`."""
    with _Requests.lock:
        _Requests.forbidden += 1
    try:
        yield
    finally:
        with _Requests.lock:
            _Requests.forbidden -= 1


def check_requests_allowed(who: str) -> None:
    """Raises AgentkitError inside of `forbid_requests`; `who` wanted to connect."""
    if _Requests.forbidden:
        raise AgentkitError(
            f"{who} wants to connect while requests are forbidden",
            hint="give the agent backend=ScriptedModel(…) or a Recorder, or leave forbid_requests",
        )


@dataclass(frozen=True)
class Connection:
    """How to reach the server. Host and key left out are read from the environment on first use."""

    host: str | None
    api_key: str | None
    headers: Headers
    timeout: httpx.Timeout | float | None
    http: HttpArguments

    def base_url(self) -> str:
        """URL that the routes are relative to."""
        return parse_host(self.host or setting("HOST"))

    def arguments(self) -> dict[str, Any]:
        """Keyword arguments for `httpx.Client` and `httpx.AsyncClient`."""
        base_url = self.base_url()
        arguments: dict[str, Any] = {
            "base_url": base_url,
            "timeout": self.timeout,
            "headers": self.http_headers(),
            "follow_redirects": True,
        }
        if is_loopback(base_url):
            # A proxy cannot reach this machine's own loopback.
            arguments["trust_env"] = False
            if base_url.startswith("http:"):
                # Reading the certificate bundle takes 0.1 s that plain HTTP does not need. The empty context
                # trusts nobody, so a redirect to https fails instead of going unverified.
                arguments["verify"] = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        return {**arguments, **self.http}

    def http_headers(self) -> dict[str, str]:
        """What every request carries, the key included; names in lower case. Raises AgentkitError inside of
        `forbid_requests`."""
        check_requests_allowed(f"a client of {self.base_url()}")
        # Reading the installed version costs a tenth of what importing the package does.
        from agentkit._version import __version__

        headers = {
            "accept": "application/json",
            "user-agent": f"agentkit/{__version__} Python/{platform.python_version()}",
        }
        key = self.api_key or setting("API_KEY")
        if key:
            headers["authorization"] = f"Bearer {key}"
        given = {name.lower(): value for name, value in self.headers.items() if value is not None}
        return headers | given
