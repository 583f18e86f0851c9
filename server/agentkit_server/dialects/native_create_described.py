"""What POST /api/create takes and gives, for /openapi.json."""

from __future__ import annotations

from typing import Annotated, Any, Literal

import msgspec
from msgspec import Meta

from agentkit_server.create.changes import MAX_LICENSES, MAX_MESSAGES, MAX_TEXT
from agentkit_server.create.request import MAX_FILES, MAX_SCALE
from agentkit_server.dialects._described import RESOLVES, Description, Schema, Takes
from agentkit_server.dialects.native_described import MODEL, NATIVE, PROGRESS
from agentkit_server.engine.quantize_job import ALIASES, FILE_TYPES
from agentkit_server.errors import (
    InvalidDigest,
    NotFound,
    PullFailed,
    QuantizeFailed,
    RequestCancelled,
    UnsupportedParameter,
)
from agentkit_server.models.model import Capability
from agentkit_server.turn.options import option_schemas

Digest = Annotated[str, Meta(pattern="^sha256[:-][0-9a-fA-F]{64}$")]
Files = Annotated[dict[str, Digest], Meta(max_length=MAX_FILES)]
Count = Annotated[int, Meta(ge=0, lt=2**31)]
Text = Annotated[str, Meta(max_length=200)]
LongText = Annotated[str, Meta(max_length=MAX_TEXT)]


class ModelMessage(msgspec.Struct, kw_only=True, forbid_unknown_fields=True):
    role: Literal["system", "user", "assistant"]
    content: str | None = None


class ModelInfo(msgspec.Struct, kw_only=True, forbid_unknown_fields=True):
    """What the config of the model says in place of what its file says."""

    capabilities: list[Capability] | None = None
    model_family: Text | None = None
    base_name: Text | None = None
    quantization_level: Text | None = None
    parameter_size: Text | None = None
    context_length: Count | None = None
    embedding_length: Count | None = None


_TYPE: Schema = {
    "type": "string",
    "description": f"In any case: {', '.join([*FILE_TYPES, *ALIASES])}. F16, BF16 and F32 models only.",
}
_REFINED: dict[str, Any] = {
    "files": Files,
    "draft_files": Files,
    "adapters": Files,
    "adapter_scales": dict[str, Annotated[float, Meta(ge=-MAX_SCALE, le=MAX_SCALE)]],
    "imatrix": Digest,
    "system": LongText,
    "license": LongText | Annotated[list[LongText], Meta(max_length=MAX_LICENSES)],
    "parameters": {
        "type": "object",
        "properties": {**option_schemas(), "stop": {"anyOf": [{"type": "string"}, option_schemas()["stop"]]}},
    },
    "messages": Annotated[list[ModelMessage], Meta(max_length=MAX_MESSAGES)],
    "info": ModelInfo,
    "capabilities": list[Capability],
    "quantize": _TYPE,
    "quantization": _TYPE,
    "draft_quantize": _TYPE,
    "remote_host": {"enum": [""]},
}
CREATE = Description(
    dialect=NATIVE,
    takes=Takes(
        refined=_REFINED,
        required=(MODEL,),
        unknown=True,
        examples={
            "from": {"model": "mario", "from": "smollm2", "system": "You are Mario."},
            "whole": {"model": "cool", "from": "smollm2", "parameters": {"temperature": 0}, "stream": False},
        },
    ),
    gives=PROGRESS,
    raises=(
        *RESOLVES,
        InvalidDigest,
        NotFound,
        UnsupportedParameter,
        PullFailed,
        QuantizeFailed,
        RequestCancelled,
    ),
)
