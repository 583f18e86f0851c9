"""Every error that the SDK raises, in one tree.

    AgentkitError
    ├── RequestError       the request cannot be built from these arguments
    ├── ResponseError      the server answered with an error; carries `error` and `status_code`
    ├── ConnectionError    no server, or the connection broke in the middle of an answer
    └── TimeoutError       the timeout given to the client passed

`ConnectionError` and `TimeoutError` are also the builtin exceptions of these names.
"""

from __future__ import annotations

import builtins
from collections.abc import Mapping, Sequence


class AgentkitError(Exception):
    """Base of the tree. `hint` says what to do next, where the message alone does not."""

    def __init__(self, message: str, *, hint: str = "") -> None:
        super().__init__(f"{message}; {hint}" if hint else message)
        self.message = message
        self.hint = hint


class RequestError(AgentkitError):
    """The request cannot be built; nothing was sent."""

    def __init__(self, error: str) -> None:
        super().__init__(error)
        self.error = error


class ResponseError(AgentkitError):
    """The server reported an error.

    `status_code` is the HTTP status, or -1 for an error line in the middle of a stream (the status was
    already 200 when it happened). `problems` are the places of a JSON Schema that the server refused, each
    with `pointer`, `keyword`, `reason` and `rewrite`.
    """

    def __init__(
        self, error: str, status_code: int = -1, *, problems: Sequence[Mapping[str, str]] = ()
    ) -> None:
        super().__init__(error)
        self.error = error
        self.status_code = status_code
        self.problems = tuple(problems)

    def __str__(self) -> str:
        return self.error if self.status_code == -1 else f"{self.error} (status code: {self.status_code})"


class ConnectionError(AgentkitError, builtins.ConnectionError):
    """No server answers, or the connection was lost before the answer was complete."""


class TimeoutError(AgentkitError, builtins.TimeoutError):
    """The server took longer than the client's timeout."""
