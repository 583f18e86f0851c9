"""What POST /api/verify takes and gives, for /openapi.json."""

from __future__ import annotations

import msgspec
from msgspec import UNSET, UnsetType

from agentkit_server.dialects._described import NDJSON, RESOLVES, Description, Gives, Takes
from agentkit_server.dialects.native_described import NATIVE, NativeError
from agentkit_server.errors import RequestCancelled


class FoundProblem(msgspec.Struct, kw_only=True, forbid_unknown_fields=True):
    """A damaged file, and what can be done."""

    path: str
    models: list[str]
    problem: str
    remedy: str


class VerifyLine(msgspec.Struct, kw_only=True, forbid_unknown_fields=True):
    """How far it is, in bytes; the last line, which is `done`, says what was found."""

    status: str
    total: int
    completed: int
    done: bool | UnsetType = UNSET
    models: int | UnsetType = UNSET
    files: int | UnsetType = UNSET
    problems: list[FoundProblem] | UnsetType = UNSET


VERIFY = Description(
    dialect=NATIVE,
    takes=Takes(
        unknown=True, examples={"all": {}, "one": {"models": ["smollm2"]}, "whole": {"stream": False}}
    ),
    gives=[
        Gives(VerifyLine, what="One object, or a stream of lines."),
        Gives((VerifyLine, NativeError), media=NDJSON),
    ],
    raises=(*RESOLVES, RequestCancelled),
)
