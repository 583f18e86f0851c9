"""Every error that the server reports, in one tree.

    AgentkitError                       500 internal_error
    ├── BadRequest                      400 invalid_request
    │   ├── UnsupportedParameter        400 unsupported_parameter
    │   ├── InvalidModelName            400 invalid_model_name
    │   ├── InvalidGGUF                 400 invalid_gguf
    │   ├── ConversionError             400 conversion_failed
    │   ├── InvalidDigest               400 invalid_digest
    │   ├── MissingCapability           400 missing_capability
    │   ├── InvalidGrammar              400 invalid_grammar
    │   ├── ModelfileError              400 invalid_modelfile (carries line and column)
    │   ├── GoTemplateError             400 invalid_template  (carries line and column)
    │   ├── PreviousResponseNotFound    400 previous_response_not_found
    │   ├── SchemaRefused               400 schema_refused   (carries problems)
    │   └── PromptTooLong               400 context_length_exceeded
    ├── Unauthorized                    401 invalid_api_key
    ├── Forbidden                       403 forbidden
    ├── NotFound                        404 not_found
    │   └── ModelNotFound               404 model_not_found
    ├── MethodNotAllowed                405 method_not_allowed
    ├── BodyTooLarge                    413 body_too_large
    ├── UnsupportedEncoding             415 unsupported_encoding
    ├── DeadlinePassed                  408 deadline_passed
    ├── RequestCancelled                499 request_cancelled
    ├── LoadFailed                      500 load_failed
    │   ├── InsufficientMemory          500 insufficient_memory
    │   └── RunnerCrashed               500 runner_crashed   (carries signal)
    ├── RunnerDied                      500 runner_died
    ├── StoreError                      500 store_error
    │   ├── PullFailed                  500 pull_failed
    │   └── RegistryError               500 registry_error   (carries answered, retry_after, transient)
    ├── ConstraintFailed                500 constraint_failed
    ├── SearchFailed                    500 search_failed
    ├── QuantizeFailed                  500 quantize_failed
    ├── NotBuiltYet                     501 not_implemented
    ├── BindRefused                     500 bind_refused   (at start only)
    └── ServerBusy                      503 server_busy   (carries retry_after)

A dialect turns these into its own wire shape in one place; nothing else does. The message says what
happened, the value by `!r`, and what to do about it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar


class AgentkitError(Exception):
    """Base of the tree. `param` names the request field at fault, where there is one."""

    status: ClassVar[int] = 500
    code: ClassVar[str] = "internal_error"

    def __init__(self, message: str, *, param: str | None = None) -> None:
        super().__init__(message)
        self.message = message
        self.param = param


class BadRequest(AgentkitError):
    """The request cannot be carried out as it stands."""

    status = 400
    code = "invalid_request"


class UnsupportedParameter(BadRequest):
    """A parameter that this server does not know, or knows and cannot honour."""

    code = "unsupported_parameter"


class InvalidModelName(BadRequest):
    """A model name outside the grammar of `models/names.py`."""

    code = "invalid_model_name"


class InvalidGGUF(BadRequest):
    """A file that is not a GGUF, is cut short, or states absurd sizes."""

    code = "invalid_gguf"


class ConversionError(BadRequest):
    """Safetensors that cannot become a GGUF: damaged, of an unknown architecture, or with unknown parts."""

    code = "conversion_failed"


class InvalidDigest(BadRequest):
    """A blob digest that is malformed or does not match its content."""

    code = "invalid_digest"


class MissingCapability(BadRequest):
    """The model cannot do what was asked, for example chat on an embedding model."""

    code = "missing_capability"


class InvalidGrammar(BadRequest):
    """A grammar or regex that cannot be compiled, or not within the bounds set for it."""

    code = "invalid_grammar"


class ModelfileError(BadRequest):
    """A Modelfile that cannot be read, at `line` and `column`, both counted from 1."""

    code = "invalid_modelfile"

    def __init__(self, message: str, *, line: int, column: int) -> None:
        super().__init__(f"(line {line}, column {column}): {message}")
        self.line = line
        self.column = column


class GoTemplateError(BadRequest):
    """A Go template that cannot be read or carried out, at `line` and `column`, both counted from 1.

    `reason` is the message without the place; what is longer than 500 characters is cut.
    """

    code = "invalid_template"

    def __init__(self, message: str, line: int, column: int) -> None:
        self.reason = message if len(message) <= 500 else f"{message[:500]}…"
        super().__init__(f"template:{line}:{column}: {self.reason}")
        self.line = line
        self.column = column


@dataclass(frozen=True)
class SchemaProblem:
    """One place of a JSON Schema that cannot be enforced as it stands."""

    pointer: str
    """JSON pointer into the schema, "" = its root."""
    keyword: str
    reason: str
    rewrite: str
    """What to write in its place; "" when nothing equivalent exists."""

    def __str__(self) -> str:
        hint = f"; {self.rewrite}" if self.rewrite else ""
        return f"{self.pointer or '/'}: {self.keyword}: {self.reason}{hint}"


class SchemaRefused(BadRequest):
    """A JSON Schema that cannot be enforced; the message lists every problem."""

    code = "schema_refused"

    def __init__(self, problems: Sequence[SchemaProblem], *, param: str | None = None) -> None:
        listed = "\n".join(f"- {problem}" for problem in problems)
        super().__init__(f"the JSON schema cannot be enforced:\n{listed}", param=param)
        self.problems = tuple(problems)


class PromptTooLong(BadRequest):
    """The prompt has more tokens than the context; both lengths are in the message and attributes."""

    code = "context_length_exceeded"

    def __init__(
        self, prompt_tokens: int, context_length: int, *, message: str = "", param: str = "prompt"
    ) -> None:
        super().__init__(
            message
            or f"the prompt is longer than the context length currently available to the model: "
            f"{prompt_tokens} tokens against {context_length}; shorten it, raise num_ctx, "
            f"or ask for truncation with truncate=true",
            param=param,
        )
        self.prompt_tokens = prompt_tokens
        self.context_length = context_length


class PreviousResponseNotFound(BadRequest):
    """A response that is to be continued and is not stored, or not any more."""

    code = "previous_response_not_found"


class Unauthorized(AgentkitError):
    """No API key, or one that is not known."""

    status = 401
    code = "invalid_api_key"


class Forbidden(AgentkitError):
    """A Host or Origin that this server does not serve."""

    status = 403
    code = "forbidden"


class NotFound(AgentkitError):
    """Something named by the request does not exist."""

    status = 404
    code = "not_found"


class ModelNotFound(NotFound):
    """No model of that name in the store."""

    code = "model_not_found"


class MethodNotAllowed(AgentkitError):
    """The path is known, and not for this HTTP method."""

    status = 405
    code = "method_not_allowed"


class BodyTooLarge(AgentkitError):
    """The request body exceeds the limit of its route."""

    status = 413
    code = "body_too_large"


class UnsupportedEncoding(AgentkitError):
    """A request body that is compressed in a way which is not read here."""

    status = 415
    code = "unsupported_encoding"


class DeadlinePassed(AgentkitError):
    """The seconds that the caller allowed were over before the answer began."""

    status = 408
    code = "deadline_passed"


class RequestCancelled(AgentkitError):
    """The client went away, or the request was cancelled, before it finished."""

    status = 499
    code = "request_cancelled"


class LoadFailed(AgentkitError):
    """The model could not be loaded; the message carries the runner's last words."""

    code = "load_failed"


class InsufficientMemory(LoadFailed):
    """The model does not fit into the memory that is free, even after evicting idle models."""

    code = "insufficient_memory"


class RunnerCrashed(LoadFailed):
    """The runner was ended by `signal` while it loaded or warmed up."""

    code = "runner_crashed"

    def __init__(self, message: str, *, signal: int) -> None:
        super().__init__(message)
        self.signal = signal


class RunnerDied(AgentkitError):
    """The model's child process ended while it was serving; the next request loads it again."""

    code = "runner_died"


class StoreError(AgentkitError):
    """The model store cannot be read or written."""

    code = "store_error"


class PullFailed(StoreError):
    """A model could not be fetched from its source."""

    code = "pull_failed"


class RegistryError(StoreError):
    """A model registry cannot be reached, refuses, or does not answer as it should.

    `answered` is its HTTP status, where it gave one. `transient` errors are worth another try, after
    `retry_after` seconds where the registry says so.
    """

    code = "registry_error"

    def __init__(
        self,
        message: str,
        *,
        answered: int | None = None,
        retry_after: float | None = None,
        transient: bool = False,
    ) -> None:
        super().__init__(message)
        self.answered = answered
        self.retry_after = retry_after
        self.transient = transient


class ConstraintFailed(AgentkitError):
    """The model's answer was not valid for what was asked, however often it was tried again."""

    code = "constraint_failed"


class SearchFailed(AgentkitError):
    """A search engine does not answer, or not as it should."""

    code = "search_failed"


class QuantizeFailed(AgentkitError):
    """llama.cpp could not write a model in other types; the message carries its last words."""

    code = "quantize_failed"


class NotBuiltYet(AgentkitError):
    """A documented feature that this version does not have. Said, never silently ignored."""

    status = 501
    code = "not_implemented"


class BindRefused(AgentkitError, ValueError):
    """A bind address that cannot be read, or that would leave the server open to a network."""

    code = "bind_refused"


class ServerBusy(AgentkitError):
    """The queue is full; try again after `retry_after` seconds."""

    status = 503
    code = "server_busy"

    def __init__(self, message: str, *, retry_after: int = 1) -> None:
        super().__init__(message)
        self.retry_after = retry_after
