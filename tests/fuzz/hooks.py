"""What schemathesis cannot know: which models there are, and what each line of a stream has to be."""

from __future__ import annotations

from typing import Any
from urllib.parse import unquote, urlsplit
from zlib import crc32

import schemathesis
from schemathesis.core.failures import Failure
from support.openapi_truth import NDJSON, Truth

EMBEDDER, RERANKER, WRITER = "all-minilm", "reranker", "smollm2"
KEPT = frozenset(
    {
        *("model", "name", "source", "destination", "messages", "prompt", "input", "query", "documents"),
        *("text", "tokens", "max_tokens", "stream", "from"),
    }
)
"""Fields of a body that are always sent."""
OWN_NAMES = {"/api/create": ("from",), "/api/push": ()}
"""Fields of a route in which known models are put, where they are others. What is known is not pushed: it
would be sent to Ollama's registry."""
_truths: dict[int, Truth] = {}


@schemathesis.hook
def before_call(context: Any, case: Any, kwargs: Any) -> None:
    """Three of four requests that name some model name one that is there and suits the route. Of a valid body
    some fields are left out: of all of them together some pair would always contradict each other."""
    body = case.body
    if not isinstance(body, dict) or case.operation.method.upper() == "DELETE":
        return
    suits = {"embed": EMBEDDER, "rerank": RERANKER}
    known = next((model for word, model in suits.items() if word in case.operation.path), WRITER)
    # What the others ask must not be made into something else.
    names = OWN_NAMES.get(case.operation.path, ("model", "source"))
    given = {name: body.get(name) for name in names}
    body = {**body, **{name: known for name, value in given.items() if _made_up(value)}}
    if case.meta is not None and case.meta.generation.mode.is_positive:
        salt = repr(sorted(body, key=str))
        body = {name: value for name, value in body.items() if name in KEPT or _number(name + salt) % 4 == 0}
    case.body = body


def _made_up(name: Any) -> bool:
    return isinstance(name, str) and bool(name) and _number(name) % 4 > 0


def _number(text: str) -> int:
    return crc32(text.encode(errors="replace"))


@schemathesis.check
def stream_conformance(ctx: Any, response: Any, case: Any) -> None:
    """Each line of a stream of lines is one that the document has."""
    media = ", ".join(response.headers.get("content-type", []))
    if not media.startswith(NDJSON):
        return
    document = case.operation.schema.raw_schema
    truth = _truths.setdefault(id(document), Truth(document))
    path = unquote(urlsplit(response.request.url).path)
    if lies := truth.lies(response.request.method, path, response.status_code, media, response.content):
        raise Failure(
            operation=case.operation.label, title="Line violates schema", message="\n".join(lies[:3])
        )
