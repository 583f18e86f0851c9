"""What can be done with a stored response: retrieve it, pick its stream up again, list its input, cancel it,
delete it."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Mapping
from typing import Any

import msgspec
from fastapi import APIRouter, Request
from starlette.responses import Response

from agentkit_server.dialects._described import described
from agentkit_server.dialects._shared import Stream
from agentkit_server.dialects.openai_wire import json_response
from agentkit_server.dialects.responses import responses_of
from agentkit_server.dialects.responses_answer import sse
from agentkit_server.dialects.responses_body import ItemPage, Retrieval
from agentkit_server.dialects.responses_described import CANCEL, DELETE, INPUT_ITEMS, RETRIEVE
from agentkit_server.dialects.responses_history import input_of, response_of
from agentkit_server.errors import BadRequest, NotFound, UnsupportedParameter
from agentkit_server.responses.background import Run
from agentkit_server.responses.store import Kept

router = APIRouter()

_END = b"\n\n"


@router.get("/v1/responses/{id}")
@described(RETRIEVE)
async def retrieve(request: Request, id: str) -> Response:
    """The response as it stands, or the events of one that was made in the background."""
    asked = _read_query(request, Retrieval)
    kept, run = await _stored(request, id)
    if asked.stream:
        events = _events(kept, run, -1 if asked.starting_after is None else asked.starting_after)
        return Stream(request, events, "text/event-stream", lambda error: b"")
    if asked.starting_after is not None:
        raise BadRequest("starting_after needs stream=true", param="starting_after")
    return json_response(response_of(kept))


@router.delete("/v1/responses/{id}")
@described(DELETE)
async def delete(request: Request, id: str) -> Response:
    """Remove a response, in the midst of it too. What continues it cannot be continued any more."""
    _, run = await _stored(request, id, wanted="deleted")
    if run is not None:
        await run.cancel()
    await responses_of(request).delete(id)
    return json_response({"id": id, "object": "response", "deleted": True})


@router.post("/v1/responses/{id}/cancel")
@described(CANCEL)
async def cancel(request: Request, id: str) -> Response:
    """Stop a response that is made in the background; one that has ended stays as it is."""
    kept, run = await _stored(request, id, wanted="cancelled")
    if not response_of(kept)["background"]:
        raise BadRequest(
            f"the response {id!r} was not made in the background, and only those can be cancelled; to stop "
            f"another, close its connection"
        )
    if run is not None:
        await run.cancel()
        kept, _ = await _stored(request, id)
    return json_response(response_of(kept))


@router.get("/v1/responses/{id}/input_items")
@described(INPUT_ITEMS)
async def input_items(request: Request, id: str) -> Response:
    """What the model was given, the items of earlier responses among it, a page at a time."""
    page = _read_query(request, ItemPage)
    chain = await responses_of(request).chain(id, use=False)
    if not chain:
        raise _unknown(id)
    items = input_of(chain)
    if page.order == "desc":
        items.reverse()
    first = 0
    if page.after is not None:
        ids = [item["id"] for item in items]
        if page.after not in ids:
            raise BadRequest(f"after is {page.after!r}, which is no item of {id!r}", param="after")
        first = ids.index(page.after) + 1
    shown = items[first : first + page.limit]
    told: dict[str, Any] = {
        "object": "list",
        "data": shown,
        "first_id": shown[0]["id"] if shown else None,
        "last_id": shown[-1]["id"] if shown else None,
        "has_more": first + page.limit < len(items),
    }
    if gone := chain[0].previous:
        told["notes"] = [f"the items of {gone!r} and before it are not stored any more"]
    return json_response(told)


async def _stored(request: Request, id: str, wanted: str = "") -> tuple[Kept, Run | None]:
    """The response `id`, and what makes it here. Raises NotFound, and BadRequest where it is to be
    `wanted` and another server makes it."""
    responses = responses_of(request)
    # Looked up first: what ends while the file is read would pass for another server's.
    run = responses.background.get(id)
    kept = await responses.get(id)
    if kept is None:
        raise _unknown(id)
    if wanted and kept.running and run is None:
        raise BadRequest(
            f"the response {id!r} is being made by another server; only that one can have it {wanted}"
        )
    return kept, run


def _unknown(id: str) -> NotFound:
    return NotFound(f"there is no response {id!r} here, or not any more; create it with store=true")


def _events(kept: Kept, run: Run | None, after: int) -> AsyncGenerator[bytes]:
    """The events of `kept` behind number `after`, of a running one as they come."""
    response = response_of(kept)
    if not response["background"]:
        raise BadRequest(
            f"the response {kept.id!r} was not made in the background, and only the streams of those can be "
            f"picked up again; retrieve it without stream",
            param="stream",
        )
    if run is not None:
        return run.follow(after)
    if kept.running:
        raise BadRequest(
            f"the response {kept.id!r} is being made by another server; ask that one", param="stream"
        )
    return _told_again(kept, response, after)


async def _told_again(kept: Kept, response: dict[str, Any], after: int) -> AsyncGenerator[bytes]:
    if kept.lost:
        # Its events were lost with its server.
        yield sse({"type": "response.failed", "response": response, "sequence_number": after + 1})
        return
    for event in kept.events.split(_END)[after + 1 : -1]:
        yield event + _END


def _read_query(request: Request, shape: type[Any]) -> Any:
    """The query of `request`. Lists come as `include` or `include[]`. Raises BadRequest."""
    given: dict[str, Any] = {}
    for name, value in request.query_params.multi_items():
        bare = name.partition("[")[0]
        if bare not in shape.__struct_fields__:
            raise UnsupportedParameter(
                f"unknown parameter {name!r}; there are {', '.join(shape.__struct_fields__)}", param=bare
            )
        if bare == "include":
            given.setdefault(bare, []).append(value)
        else:
            given[bare] = value.lower() if bare in ("stream", "include_obfuscation") else value
    return _converted(given, shape)


def _converted(given: Mapping[str, Any], shape: type[Any]) -> Any:
    try:
        return msgspec.convert(given, shape, strict=False)
    except msgspec.ValidationError as error:
        raise BadRequest(f"the query is invalid: {error}") from None
