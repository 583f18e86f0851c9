"""Errors in OpenAI's shape: the one place where the error tree meets that wire format."""

from __future__ import annotations

from typing import Any

from starlette.responses import Response

from agentkit_server.dialects.openai_wire import encode
from agentkit_server.errors import AgentkitError, SchemaRefused, ServerBusy

_TYPES = {
    400: "invalid_request_error",
    401: "authentication_error",
    403: "permission_error",
    404: "not_found_error",
    405: "invalid_request_error",
    413: "invalid_request_error",
    415: "invalid_request_error",
}


def error_body(error: AgentkitError) -> dict[str, Any]:
    """`{"error": {message, type, param, code}}`, as a response body or as the last event of a stream. A
    refused schema adds `problems`, each with pointer, keyword, reason and rewrite."""
    kind = _TYPES.get(error.status, "api_error")
    told: dict[str, Any] = {"message": error.message, "type": kind, "param": error.param, "code": error.code}
    if isinstance(error, SchemaRefused):
        told["problems"] = error.problems
    return {"error": told}


def error_response(error: AgentkitError) -> Response:
    """The whole response for an error before the first byte, with Retry-After where the tree has one."""
    headers = {"retry-after": str(error.retry_after)} if isinstance(error, ServerBusy) else None
    body = encode(error_body(error))
    return Response(body, error.status, headers, media_type="application/json")
