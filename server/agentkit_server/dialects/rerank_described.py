"""What rerank takes and gives, for /openapi.json."""

from __future__ import annotations

from typing import Annotated, Any, Literal

import msgspec
from msgspec import UNSET, Meta, UnsetType

from agentkit_server.dialects._described import LOADS, Description, Gives, Takes
from agentkit_server.dialects._shapes import KEEP_ALIVE
from agentkit_server.dialects.openai_described import OPENAI, EmbeddingUsage, Truncated
from agentkit_server.dialects.openai_parameters import IGNORED
from agentkit_server.errors import DeadlinePassed, PromptTooLong, UnsupportedParameter
from agentkit_server.turn.rerank import MAX_DOCUMENTS


class TextObject(msgspec.Struct, kw_only=True, forbid_unknown_fields=True):
    text: str


class Ranked(msgspec.Struct, kw_only=True, forbid_unknown_fields=True):
    """`index` is that of the request's document."""

    index: int
    relevance_score: float
    document: TextObject | UnsetType = UNSET


class RankedDocuments(msgspec.Struct, kw_only=True, forbid_unknown_fields=True):
    """The most relevant first."""

    id: str
    object: Literal["list"]
    model: str
    results: list[Ranked]
    usage: EmbeddingUsage
    truncated: Truncated | UnsetType = UNSET


_REFINED: dict[str, Any] = {
    "model": {"type": "string", "minLength": 1},
    "query": (Annotated[str, Meta(min_length=1)], TextObject),
    "documents": Annotated[list[str | TextObject], Meta(min_length=1, max_length=MAX_DOCUMENTS)],
    "keep_alive": KEEP_ALIVE,
}
RERANK = Description(
    dialect=OPENAI,
    takes=Takes(
        refined=_REFINED,
        extra={name: {"description": "Accepted without effect."} for name in sorted(IGNORED)},
        required=(["model"], ["query"], ["documents"]),
        examples={
            "rank": {
                "model": "reranker",
                "query": "Where do pandas live?",
                "documents": ["In China.", "In the sea."],
                "top_n": 1,
            }
        },
    ),
    gives=[Gives(RankedDocuments)],
    raises=(*LOADS, UnsupportedParameter, PromptTooLong, DeadlinePassed),
)
