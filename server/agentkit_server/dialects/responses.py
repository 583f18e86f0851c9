"""OpenAI's Responses: creating them, in the foreground and in the background, and what can be done with
those that are stored."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Sequence
from contextlib import aclosing
from dataclasses import dataclass
from typing import cast

from anyio import to_thread
from fastapi import APIRouter, Request
from starlette.responses import Response

from agentkit_server.dialects._described import described
from agentkit_server.dialects._shared import (
    OpenRequests,
    Stream,
    backend_of,
    constraint_header,
    read_json,
    unless_gone,
)
from agentkit_server.dialects.openai_formats import read_format
from agentkit_server.dialects.openai_wire import encode, json_response
from agentkit_server.dialects.responses_answer import ResponseAnswer
from agentkit_server.dialects.responses_body import NAMES, Asked, read_body
from agentkit_server.dialects.responses_described import (
    COMPACT,
    CREATE,
    INPUT_TOKENS,
    WHOLE_BODY,
)
from agentkit_server.dialects.responses_history import history, resolved
from agentkit_server.dialects.responses_items import Item, read_items
from agentkit_server.dialects.responses_output import WireEvent
from agentkit_server.dialects.responses_telling import Telling
from agentkit_server.dialects.responses_tools import Offered, read_offer
from agentkit_server.dialects.responses_turn import response_turn
from agentkit_server.errors import BadRequest, InvalidGrammar, NotBuiltYet, SchemaRefused
from agentkit_server.responses.background import Run
from agentkit_server.responses.responses import Responses
from agentkit_server.responses.searching import Told, run_searching
from agentkit_server.responses.store import Kept
from agentkit_server.turn.constraint import demands
from agentkit_server.turn.events import Started
from agentkit_server.turn.run import resolve, run_turn
from agentkit_server.turn.tokens import write_prompt
from agentkit_server.turn.types import Chat, Turn

router = APIRouter()


@dataclass(frozen=True)
class Making:
    """A response that is about to be made."""

    answer: ResponseAnswer
    turn: Turn
    offered: Offered
    items: Sequence[Item]
    """What came with this request."""


@router.post("/v1/responses")
@described(CREATE, WHOLE_BODY)
async def create(request: Request) -> Response:
    """One response, at once, as a stream, or in the background."""
    asked = read_body(await read_json(request))
    making = await _prepared(request, asked)
    try:
        if asked.own.background:
            return await _in_background(request, making, stream=bool(asked.own.stream))
        events = _told(request, making)
        if not asked.own.stream:
            return await unless_gone(request, _whole(request, making, events))
        started = await unless_gone(request, anext(events))
    except BadRequest as error:
        raise _in_own_words(error, asked, making.offered) from None
    assert isinstance(started, Started)
    telling = _telling(request, making)
    chunks = telling.chunks(events, started)
    return Stream(request, chunks, "text/event-stream", telling.failure, constraint_header(started))


@router.post("/v1/responses/input_tokens")
@described(INPUT_TOKENS, WHOLE_BODY)
async def input_tokens(request: Request) -> Response:
    """How many tokens the prompt of such a response would have."""
    asked = read_body(await read_json(request))
    turn, _, _ = await _turn(request, asked)
    assert isinstance(turn.prompt, Chat)
    written = await unless_gone(request, write_prompt(backend_of(request), turn, turn.prompt))
    return json_response({"object": "response.input_tokens", "input_tokens": len(written.tokens)})


@router.post("/v1/responses/compact")
@described(COMPACT)
async def compact(request: Request) -> Response:
    """Compaction makes an item that only the model which wrote it can read."""
    raise NotBuiltYet(
        "compaction is not built yet in this version; ask a model for a summary and go on from that"
    )


def responses_of(request: Request) -> Responses:
    """The responses that the app keeps."""
    return cast(Responses, request.app.state.responses)


async def _prepared(request: Request, asked: Asked) -> Making:
    responses = responses_of(request)
    store = _stores(asked, responses)
    if store:
        # What cannot be kept is told before it is made.
        await responses.open()
    turn, offered, items = await _turn(request, asked)
    return Making(ResponseAnswer(asked, offered, store=store), turn, offered, items)


async def _turn(request: Request, asked: Asked) -> tuple[Turn, Offered, list[Item]]:
    own, responses = asked.own, responses_of(request)
    earlier = await history(responses, own.previous_response_id)
    items = await resolved(responses, read_items(own.input), earlier)
    offered = read_offer(own.tools or (), request.app.state.search, own.max_tool_calls)
    return response_turn(asked, [*earlier, *items], offered, earlier=len(earlier)), offered, items


def _stores(asked: Asked, responses: Responses) -> bool:
    own = asked.own
    if own.store and not responses.keeps:
        raise BadRequest(
            "store is true, and this server keeps no responses (AGENTKIT_RESPONSES_KEEP is 0); "
            "send store=false",
            param="store",
        )
    store = responses.keeps if own.store is None else own.store
    if own.background and not store:
        raise BadRequest(
            "background needs the response to be stored, so that it can be retrieved; leave store out",
            param="background",
        )
    return store


async def _whole(request: Request, making: Making, events: AsyncGenerator[Told]) -> Response:
    headers: dict[str, str] = {}
    answer = making.answer
    async with aclosing(events):
        async for event in events:
            if isinstance(event, Started):
                answer.start(event)
                headers = constraint_header(event)
            else:
                answer.take(event)
    answer.end()
    await _keep(request, making)
    return json_response(answer.response, headers)


async def _in_background(request: Request, making: Making, *, stream: bool) -> Response:
    backend, background = backend_of(request), responses_of(request).background
    with background.room():
        # While there is a status to tell it by.
        await resolve(backend, making.turn.model)
        await to_thread.run_sync(demands, making.turn)
        await _keep(request, making, running=True)
        run = Run()
        telling = _telling(request, making, run)
        events = telling.chunks(_told(request, making))
        created = dict(making.answer.response)
        background.start(making.answer.id, run, events, telling.rest)
    if not stream:
        return json_response(created)
    return Stream(request, run.follow(), "text/event-stream", lambda error: b"")


def _telling(request: Request, making: Making, run: Run | None = None) -> Telling:
    async def keep(untold: Sequence[WireEvent]) -> None:
        ended = making.answer.ended
        events = b"" if run is None or not ended else b"".join([*run.events, *making.answer.written(untold)])
        await _keep(request, making, running=not ended, events=events)

    open_requests = cast(OpenRequests, request.app.state.open_requests)
    background = responses_of(request).background
    return Telling(making.answer, keep, lambda: open_requests.stopping or background.closing)


async def _keep(request: Request, making: Making, *, running: bool = False, events: bytes = b"") -> None:
    response = making.answer.response
    if not response["store"]:
        return
    kept = Kept(
        id=response["id"],
        previous=response["previous_response_id"],
        input=encode(making.items),
        response=encode(response),
        events=events,
        running=running,
        items=tuple(item["id"] for item in response["output"]),
    )
    await responses_of(request).put(kept)


def _told(request: Request, making: Making) -> AsyncGenerator[Told]:
    backend, searches = backend_of(request), making.offered.searches
    if searches is None:
        return run_turn(backend, making.turn)
    return run_searching(backend, making.turn, searches)


def _in_own_words(error: BadRequest, asked: Asked, offered: Offered) -> BadRequest:
    """`error` of a turn, with its parameter as this route calls it."""
    if error.param is None and isinstance(error, (SchemaRefused, InvalidGrammar)):
        error.param = "response_format"
    if error.param == "response_format" and (demand := read_format(asked.extended)):
        error.param = demand.param
    if error.param is not None:
        error.param = NAMES.get(error.param, offered.param(error.param))
    return error
