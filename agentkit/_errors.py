"""Every error that the SDK raises, in one tree.

    AgentkitError
    ├── RequestError       the request cannot be built from these arguments
    ├── ResponseError      the server answered with an error; carries `error` and `status_code`
    ├── ConnectionError    no server, or the connection broke in the middle of an answer
    ├── TimeoutError       the timeout given to the client passed
    ├── ToolError          what a tool raises to tell the model something; it becomes the tool's result
    │   ├── ToolArgumentsError  the model's arguments do not fit the function
    │   └── ToolTimeout         the tool took longer than it may
    ├── DefinitionError    a function cannot be a tool, or a type cannot be an output
    ├── WebError           a page or a search that cannot be had
    │   └── FetchRefused        an address that must not be fetched
    └── RunError           an agent's run ended without an answer; carries `run`
        ├── LimitReached        turns, tool calls, tokens or seconds are used up
        ├── OutputInvalid       no attempt gave an output that the type accepts
        └── ToolFailed          a tool raised what it declared as the caller's business

`ConnectionError` and `TimeoutError` are also the builtin exceptions of these names.
"""

from __future__ import annotations

import builtins
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from agentkit._run import Run


class AgentkitError(Exception):
    """Base of the tree. `hint` says what to do next, where the message alone does not."""

    def __init__(self, message: str, *, hint: str = "") -> None:
        super().__init__(f"{message}; {hint}" if hint else message)
        self.message = message
        self.hint = hint


class RequestError(AgentkitError):
    """The request cannot be built; nothing was sent."""

    def __init__(self, error: str, *, hint: str = "") -> None:
        super().__init__(error, hint=hint)
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


class ToolError(AgentkitError):
    """Raised by a tool: its message is the result that the model reads."""


class ToolArgumentsError(ToolError):
    """The arguments do not fit the function's parameters; the message says which and why, for the model."""


class ToolTimeout(ToolError):
    """The tool did not end in time. A synchronous one goes on in its thread, and its result is dropped."""


class DefinitionError(AgentkitError):
    """A function that cannot be a tool, or a type that cannot be an output, with the reason."""


class WebError(AgentkitError):
    """A search or a fetch that failed."""


class FetchRefused(WebError):
    """An address that may not be fetched: another scheme, a private network, a denied domain."""


class RunError(AgentkitError):
    """A run ended without an output. `run` is its state so far, to look at or to go on with."""

    def __init__(self, message: str, run: Run, *, hint: str = "") -> None:
        super().__init__(message, hint=hint)
        self.run = run


class LimitReached(RunError):
    """What the run may use is used up; `limit` names the field of Limits."""

    def __init__(self, message: str, run: Run, limit: str) -> None:
        super().__init__(message, run, hint=f"allow more in Limits({limit}=…), or set wrap_up=True")
        self.limit = limit


class OutputInvalid(RunError):
    """No attempt gave an output that the type accepts, or the last one was cut off."""


class ToolFailed(RunError):
    """A tool raised an error that it lists in `raises`; that error is the cause."""
