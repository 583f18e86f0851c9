"""Errors of the command line, and how every error is shown: `Error:` and `hint:` lines on stderr."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator

    from pydantic import ValidationError

    from agentkit import ResponseError


class CommandError(Exception):
    """A command cannot go on. `hint` says what to do next."""

    def __init__(self, message: str, *, hint: str = "") -> None:
        super().__init__(message)
        self.message = message
        self.hint = hint


def bad_setting(error: ValidationError) -> CommandError:
    """The error for a setting of the server that cannot be read."""
    first = error.errors()[0]
    name = first["loc"][0] if first["loc"] else "a setting"
    return CommandError(f"{name} cannot be {first['input']!r}: {first['msg'].lower()}")


def show_error(error: Exception) -> None:
    """Writes `error`, and what to do next where that is known, to stderr."""
    for line in error_lines(error):
        print(line, file=sys.stderr)


def is_expected(error: Exception) -> bool:
    """Whether `error` is one that the person can act on, and not a defect of the program."""
    if isinstance(error, CommandError):
        return True
    # Imported here because `--help` must not pay for the HTTP client.
    from agentkit import AgentkitError

    return isinstance(error, AgentkitError)


def error_lines(error: Exception) -> Iterator[str]:
    """The lines that tell about `error`."""
    from agentkit import ResponseError

    message = getattr(error, "error", None) or getattr(error, "message", None) or str(error)
    yield f"Error: {str(message).rstrip('.')}"
    hint = getattr(error, "hint", "")
    if isinstance(error, ResponseError):
        hint = _response_hint(error)
    if hint:
        yield f"hint: {hint}"


def _response_hint(error: ResponseError) -> str:
    if error.status_code == 401:
        return "set AGENTKIT_API_KEY to a key that the server accepts"
    if error.status_code == 404 and "model" in error.error:
        return "see the models you have with `agentkit list`, and get one with `agentkit pull MODEL`"
    if error.status_code == 503:
        return "wait a moment and try again"
    return ""
