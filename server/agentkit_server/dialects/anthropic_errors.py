"""Errors in Anthropic's shape: the one place where the error tree meets that wire format, and which requests
are answered in it."""

from __future__ import annotations

import secrets
from typing import Any

import msgspec
from starlette.requests import Request
from starlette.responses import Response

from agentkit_server.errors import AgentkitError, NotBuiltYet, PromptTooLong, SchemaRefused, ServerBusy

ROUTE = "/v1/messages"
VERSION_HEADER = "anthropic-version"
"""Every client of Anthropic's sends it, and nobody else does."""
THREAD = "thread"
"""The parameter by which a client asks that its conversation be kept here."""
STATUSES = {408: 504, 503: 529}
"""Where Anthropic has a status of its own: a deadline that passed, a server that is busy."""
_TYPES = {
    401: "authentication_error",
    403: "permission_error",
    404: "not_found_error",
    413: "request_too_large",
    504: "timeout_error",
    529: "overloaded_error",
}


def speaks(request: Request) -> bool:
    """Is `request` one that Anthropic's dialect answers? Under /v1 that is everything that a client of
    Anthropic's asks for."""
    path = request.url.path
    if path == ROUTE or path.startswith(f"{ROUTE}/"):
        return True
    return path.startswith("/v1/") and VERSION_HEADER in request.headers


def status_of(error: AgentkitError) -> int:
    """The status that `error` has in this dialect."""
    return STATUSES.get(error.status, error.status)


def error_body(error: AgentkitError, request_id: str) -> dict[str, Any]:
    """`{"type": "error", "error": {type, message}, "request_id"}`, as a response body or as the last event of
    a stream. The error adds `code`, and where there are some `param`, `details` and `problems`."""
    status = status_of(error)
    kind = _TYPES.get(status, "api_error" if status >= 500 else "invalid_request_error")
    told: dict[str, Any] = {"type": kind, "message": _message(error), "code": error.code}
    if error.param is not None:
        told["param"] = error.param
    if error.param == THREAD:
        # What clients of Anthropic's look for: they go on without threads.
        told["details"] = {"error_code": "thread_unsupported_request", "unsupported": [THREAD]}
    if isinstance(error, SchemaRefused):
        told["problems"] = error.problems
    return {"type": "error", "error": told, "request_id": request_id}


def error_response(error: AgentkitError) -> Response:
    """The whole response for an error before the first byte, with Retry-After where the tree has one."""
    request_id = new_request_id()
    headers = {"request-id": request_id}
    if isinstance(error, ServerBusy):
        headers["retry-after"] = str(error.retry_after)
    if isinstance(error, NotBuiltYet):
        # Anthropic's clients try again after any 5xx unless they are told that it is of no use.
        headers["x-should-retry"] = "false"
    body = msgspec.json.encode(error_body(error, request_id))
    return Response(body, status_of(error), headers, media_type="application/json")


def new_request_id() -> str:
    """For the header `request-id`, by which clients name a request."""
    return f"req_{secrets.token_hex(12)}"


def _message(error: AgentkitError) -> str:
    if isinstance(error, PromptTooLong):
        # Coding agents look for these words, and make the conversation shorter.
        lengths = f"{error.prompt_tokens} tokens > {error.context_length} maximum"
        return f"prompt is too long: {lengths}; {error.message}"
    return error.message
