"""What registries answer with, read within bounds, and their refusals as errors that say what to do."""

from __future__ import annotations

import math
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from typing import Any, cast

import httpx
import msgspec

from agentkit_server.errors import RegistryError

MAX_REFUSAL_BYTES = 8 << 10
_LONGEST_WORDS = 400
LONGEST_WAIT = 300.0
"""Seconds that a registry may ask us to wait; more is an error at once."""
_HINTS = {
    401: "it needs a login: set AGENTKIT_REGISTRY_AUTH=HOST=TOKEN or HOST=USER:PASSWORD (HF_TOKEN for "
    "hf.co), or check the one that is set",
    403: "the login that was used, if any, is not allowed to do this",
    404: "check the name and the tag",
    407: "the proxy wants a login: write it into HTTPS_PROXY",
    412: "the registry serves this to newer programs only",
    429: "too many requests; try again later",
}


async def read_bounded(response: httpx.Response, limit: int, what: str) -> bytes:
    """The whole body. Raises RegistryError when it is longer than `limit`."""
    content = bytearray()
    async for chunk in response.aiter_raw():
        content += chunk
        if len(content) > limit:
            raise RegistryError(f"{what} is longer than the {limit} bytes that are allowed; nothing was kept")
    return bytes(content)


async def refusal(response: httpx.Response, what: str) -> RegistryError:
    """The error for an answer that is no success: `what` was tried."""
    status = response.status_code
    words = await _words(response)
    hint = _HINTS.get(status, "try again later" if status >= 500 else "")
    parts = [f"{what}: the registry {response.url.host!r} answered {status}", words, hint]
    wait = retry_after(response)
    transient = status in (408, 425, 429) or status >= 500
    if wait is not None and wait > LONGEST_WAIT:
        parts.append(f"it asks to wait {wait:.0f} seconds")
        transient = False
    return RegistryError(
        "; ".join(part for part in parts if part), answered=status, retry_after=wait, transient=transient
    )


def retry_after(response: httpx.Response) -> float | None:
    """Seconds that `Retry-After` asks for, None when it is absent or makes no sense."""
    text = response.headers.get("retry-after", "").strip()
    try:
        seconds = float(text)
    except ValueError:
        try:
            seconds = (parsedate_to_datetime(text) - datetime.now(UTC)).total_seconds()
        except (ValueError, TypeError, OverflowError):
            return None
    return max(seconds, 0.0) if math.isfinite(seconds) else None


async def _words(response: httpx.Response) -> str:
    """What the registry says about it, on one line."""
    try:
        content = await read_bounded(response, MAX_REFUSAL_BYTES, "an error message")
    except (RegistryError, httpx.HTTPError):
        return ""
    if "html" in response.headers.get("content-type", ""):
        return ""
    text = _message(content) or content.decode("utf-8", errors="replace")
    return " ".join("".join(c if c.isprintable() else " " for c in text).split())[:_LONGEST_WORDS]


def _message(content: bytes) -> str:
    """The text in docker's, or anybody's, JSON error."""
    try:
        body = msgspec.json.decode(content)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return ""
    if not isinstance(body, dict):
        return ""
    fields = cast("dict[str, Any]", body)
    errors = fields.get("errors")
    if isinstance(errors, list):
        rows = cast("list[Any]", errors)
        texts = [cast("dict[str, Any]", row).get("message") for row in rows if isinstance(row, dict)]
        return ", ".join(text for text in texts if isinstance(text, str))
    text = fields.get("error") or fields.get("message") or fields.get("details")
    return text if isinstance(text, str) else ""
