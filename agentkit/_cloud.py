"""The cloud that `web_search` and `web_fetch` ask, which is another server than the client's own.

Where it is: `AGENTKIT_CLOUD_BASE_URL`, else `OLLAMA_CLOUD_BASE_URL`, else the hosted service. Both clients
check that there is a key before anything is sent.
"""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import AbstractContextManager
from typing import Any

import httpx

from agentkit._answers import parse_answer, translated
from agentkit._connection import DEFAULT_TIMEOUT, Connection
from agentkit._errors import RequestError, ResponseError
from agentkit._host import is_loopback, setting
from agentkit._requests import R, Request

_HOSTED = "https://ollama.com"
# A search engine behind it may take long, but it streams nothing that would be worth waiting minutes for.
_TIMEOUT = httpx.Timeout(30.0, connect=10.0)
# What else a caller gives is for the client's own server: headers, cookies and login are no business of the
# cloud, and trust in its certificate is no trust in another's.
_TAKEN = ("proxy", "trust_env", "limits")
_SENT = ("accept", "user-agent", "authorization")
_NEXT_STEPS = {
    401: f"make a key at {_HOSTED}/settings/keys and set AGENTKIT_API_KEY or OLLAMA_API_KEY to it",
    403: "this key may not use the web service, or cloud use is switched off; check the account, or search "
    "through agentkit.web.Searxng instead",
    429: "wait a while before the next request, or search through agentkit.web.Searxng instead",
}


def base_url() -> str:
    """URL of the cloud, without a trailing slash."""
    return (setting("CLOUD_BASE_URL") or _HOSTED).rstrip("/")


def arguments(connection: Connection) -> dict[str, Any]:
    """Keyword arguments for the `httpx.Client` or `httpx.AsyncClient` that talks to the cloud."""
    headers = connection.http_headers()
    own = {
        "base_url": base_url(),
        "timeout": _TIMEOUT if connection.timeout is DEFAULT_TIMEOUT else connection.timeout,
        "headers": {name: headers[name] for name in _SENT if name in headers},
        "follow_redirects": True,
        "trust_env": not is_loopback(base_url()),
    }
    return own | {name: value for name, value in connection.http.items() if name in _TAKEN}


def check_key(headers: Mapping[str, str]) -> None:
    """Raises `RequestError` unless `headers` carry a key."""
    if not headers.get("authorization", "").startswith("Bearer "):
        raise RequestError(
            "web_search and web_fetch need a key; set AGENTKIT_API_KEY or OLLAMA_API_KEY, or give the client "
            "api_key=…"
        )


def parse(request: Request[R], answer: httpx.Response) -> R:
    """The cloud's answer; a refusal becomes `ResponseError` with what to do about it."""
    try:
        return parse_answer(request, answer.status_code, answer.content)
    except ResponseError as error:
        if (next_step := _NEXT_STEPS.get(error.status_code)) is None:
            raise
        raise ResponseError(f"{error.error}; {next_step}", error.status_code) from error


def transport_errors() -> AbstractContextManager[None]:
    """Turns httpx's transport errors into the SDK's own."""
    return translated(base_url(), hint="check the network, or set AGENTKIT_CLOUD_BASE_URL")
