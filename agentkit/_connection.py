"""What the two clients share: the settings of their HTTP connection."""

from __future__ import annotations

import platform
import ssl
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import httpx

from agentkit._host import is_loopback, parse_host, setting
from agentkit._version import __version__

# A model may think for minutes before its first token, so only connecting has a limit.
DEFAULT_TIMEOUT = httpx.Timeout(None, connect=10.0)


@dataclass(frozen=True)
class Connection:
    """How to reach the server. Host and key left out are read from the environment on first use."""

    host: str | None
    api_key: str | None
    headers: Mapping[str, str]
    timeout: httpx.Timeout | float | None

    def base_url(self) -> str:
        """URL that the routes are relative to."""
        return parse_host(self.host or setting("HOST"))

    def arguments(self) -> dict[str, Any]:
        """Keyword arguments for `httpx.Client` and `httpx.AsyncClient`."""
        base_url = self.base_url()
        arguments: dict[str, Any] = {
            "base_url": base_url,
            "timeout": self.timeout,
            "headers": self._headers(),
            "follow_redirects": True,
        }
        if is_loopback(base_url):
            # A proxy cannot reach this machine's own loopback.
            arguments["trust_env"] = False
            if base_url.startswith("http:"):
                # Reading the certificate bundle takes 0.1 s that plain HTTP does not need. The empty context
                # trusts nobody, so a redirect to https fails instead of going unverified.
                arguments["verify"] = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        return arguments

    def _headers(self) -> dict[str, str]:
        headers = {
            "accept": "application/json",
            "user-agent": f"agentkit/{__version__} Python/{platform.python_version()}",
        }
        key = self.api_key or setting("API_KEY")
        if key:
            headers["authorization"] = f"Bearer {key}"
        return headers | {name.lower(): value for name, value in self.headers.items()}
