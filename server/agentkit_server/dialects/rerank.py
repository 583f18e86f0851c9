"""POST /v1/rerank, as Jina and Cohere have it: documents in the order in which they answer a query. The paths
are those of llama-server and vLLM, so that their clients find it."""

from __future__ import annotations

import secrets
from typing import Any

import msgspec
from fastapi import APIRouter, Request
from starlette.responses import Response

from agentkit_server.dialects._described import described
from agentkit_server.dialects._shared import backend_of, read_json, shown, unless_gone
from agentkit_server.dialects.openai_parameters import Count, RunId, Seconds, parse
from agentkit_server.dialects.openai_wire import json_response
from agentkit_server.dialects.rerank_described import RERANK
from agentkit_server.errors import BadRequest
from agentkit_server.residency.types import LoadOptions
from agentkit_server.turn.rerank import Ranking, RerankRequest, rerank

router = APIRouter()


class RerankBody(msgspec.Struct, kw_only=True):
    """The parameters that rerank honours. None = not given."""

    model: str = ""
    query: str | dict[str, Any] = ""
    documents: list[str | dict[str, Any]] = msgspec.field(default_factory=list[str | dict[str, Any]])
    top_n: Count | None = None
    return_documents: bool | None = None
    max_tokens_per_doc: Count | None = None
    raw_scores: bool | None = None
    # Extensions, under their native names.
    num_ctx: Count | None = None
    keep_alive: str | float | None = None
    truncate: bool | None = None
    max_seconds: Seconds | None = None
    run_id: RunId | None = None
    """Accepted: a document leaves no prefix that could be pinned."""


@router.post("/v1/rerank")
@router.post("/v1/reranking")
@router.post("/v2/rerank")
@router.post("/rerank")
@described(RERANK, RerankBody)
async def rerank_documents(request: Request) -> Response:
    """The documents with their scores, the most relevant first. One that does not fit is an error unless
    `truncate`."""
    body = parse(await read_json(request), RerankBody)
    documents = tuple(_text(document, f"documents[{at}]") for at, document in enumerate(body.documents))
    wanted = RerankRequest(
        model=body.model,
        query=_text(body.query, "query"),
        documents=documents,
        truncate=bool(body.truncate),
        max_tokens_per_doc=body.max_tokens_per_doc,
        load=LoadOptions(num_ctx=body.num_ctx),
        keep_alive=body.keep_alive,
        max_seconds=body.max_seconds,
    )
    ranking = await unless_gone(request, rerank(backend_of(request), wanted))
    return json_response(_answer(body, documents, ranking))


def _text(given: str | dict[str, Any], where: str) -> str:
    """A text, or an object with one, as Jina's clients send it. Raises BadRequest."""
    match given:
        case str():
            return given
        case {"text": str(text)} if len(given) == 1:
            return text
        case _:
            raise BadRequest(
                f"{where} is {shown(given)}; it must be a text or {{'text': '...'}}: pictures and other "
                f"fields are not ranked here",
                param=where,
            )


def _answer(body: RerankBody, documents: tuple[str, ...], ranking: Ranking) -> dict[str, Any]:
    best = sorted(range(len(documents)), key=lambda at: ranking.scores[at].raw, reverse=True)
    results = [_result(body, at, documents[at], ranking) for at in best[: body.top_n]]
    usage = {"prompt_tokens": ranking.prompt_tokens, "total_tokens": ranking.prompt_tokens}
    cut = {"truncated": {"tokens": ranking.truncated_tokens}} if ranking.truncated_tokens else {}
    answer: dict[str, Any] = {
        "id": f"rerank-{secrets.token_hex(12)}",
        "object": "list",
        "model": body.model,
        "results": results,
        "usage": usage,
    }
    return answer | cut


def _result(body: RerankBody, at: int, document: str, ranking: Ranking) -> dict[str, Any]:
    score = ranking.scores[at]
    told = {"index": at, "relevance_score": score.raw if body.raw_scores else score.relevance}
    return told | ({"document": {"text": document}} if body.return_documents else {})
