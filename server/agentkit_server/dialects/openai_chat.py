"""POST /v1/chat/completions: body -> Turn, Events -> chat.completion or a stream of chunks."""

from __future__ import annotations

from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import aclosing
from typing import Annotated, Any

import msgspec
from fastapi import APIRouter, Request
from msgspec import Meta
from starlette.responses import Response

from agentkit_server.dialects._shared import read_json
from agentkit_server.dialects.openai_answer import answer
from agentkit_server.dialects.openai_messages import chat_messages
from agentkit_server.dialects.openai_parameters import (
    DEFAULTS,
    Count,
    SamplingBody,
    load_options,
    logit_bias,
    parse,
    sampling_options,
)
from agentkit_server.dialects.openai_wire import (
    Choice,
    Chunks,
    Envelope,
    Tally,
    chat_logprobs,
    collect,
    truncation,
)
from agentkit_server.engine.types import TokenLogprob
from agentkit_server.errors import BadRequest
from agentkit_server.turn.events import Event, Finish, Started, TextDelta, ThinkingDelta
from agentkit_server.turn.types import Chat, Turn

router = APIRouter()


class ChatBody(SamplingBody, kw_only=True):
    """The parameters that chat/completions honours."""

    messages: list[dict[str, Any]] = msgspec.field(default_factory=list[dict[str, Any]])
    max_completion_tokens: Count | None = None
    logprobs: bool | None = None
    top_logprobs: Annotated[int, Meta(ge=0, le=20)] | None = None
    # Extensions.
    continue_final_message: bool | None = None
    add_generation_prompt: bool | None = None


@router.post("/v1/chat/completions")
async def chat_completions(request: Request) -> Response:
    """One answer of `n` choices to a conversation."""
    body = parse(await read_json(request), ChatBody)
    return await answer(request, [chat_turn(body)], ChatAnswer(body), stream=bool(body.stream))


def chat_turn(body: ChatBody) -> Turn:
    """The turn that `body` asks for. Raises BadRequest for parameters that contradict each other."""
    messages = chat_messages(body.messages)
    return Turn(
        model=body.model,
        prompt=Chat(messages, continue_last=_continues(body, messages[-1]["role"])),
        options=sampling_options(body, _max_tokens(body)),
        load=load_options(body),
        logit_bias=logit_bias(body),
        n=body.n or 1,
        logprobs=_alternatives(body),
        keep_alive=body.keep_alive,
        truncate=bool(body.truncate),
        defaults=DEFAULTS,
    )


class ChatAnswer:
    """Turns the events of one turn into OpenAI's objects."""

    kind = "chatcmpl"
    prompt_param = "messages"

    def __init__(self, body: ChatBody) -> None:
        self._include_usage = body.include_usage
        self._logprobs = bool(body.logprobs)
        self._n = body.n or 1

    async def stream(
        self, started: Started, events: AsyncGenerator[Event], envelope: Envelope
    ) -> AsyncGenerator[bytes]:
        """Server-sent events up to and with `[DONE]`. Closes `events`."""
        chunks = Chunks(envelope, "chat.completion.chunk", self._include_usage)
        tally = Tally(self._n)
        async with aclosing(events):
            first: dict[str, Any] = {"role": "assistant", "content": ""}
            for index in range(self._n):
                yield chunks.started(self._choice(index, first), truncation(started))
            async for event in events:
                match event:
                    case TextDelta(index, text, _, logprobs) if text or logprobs:
                        yield chunks.choice(self._choice(index, {"content": text}, logprobs=logprobs))
                    case ThinkingDelta(index, text):
                        yield chunks.choice(self._choice(index, {"reasoning": text}))
                    case Finish(index, reason):
                        tally.add(event)
                        yield chunks.choice(self._choice(index, {}, reason))
                    case _:
                        pass
        yield chunks.end(tally.usage())

    async def collect(self, events: AsyncIterator[Event], envelope: Envelope) -> dict[str, Any]:
        """The whole answer as one object."""
        collected = await collect(events, self._n)
        choices = [self._whole_choice(index, choice) for index, choice in enumerate(collected.choices)]
        fields = {"object": "chat.completion", "choices": choices, "usage": collected.usage}
        return {**envelope.fields, **fields, **collected.truncated}

    def _whole_choice(self, index: int, choice: Choice) -> dict[str, Any]:
        message: dict[str, Any] = {"role": "assistant", "content": "".join(choice.texts), "refusal": None}
        if choice.thoughts:
            message["reasoning"] = "".join(choice.thoughts)
        return {
            "index": index,
            "message": message,
            "logprobs": {"content": chat_logprobs(choice.logprobs)} if self._logprobs else None,
            "finish_reason": choice.reason,
        }

    def _choice(
        self,
        index: int,
        delta: dict[str, Any],
        reason: str | None = None,
        logprobs: tuple[TokenLogprob, ...] = (),
    ) -> dict[str, Any]:
        content = {"content": chat_logprobs(logprobs)} if logprobs else None
        return {"index": index, "delta": delta, "logprobs": content, "finish_reason": reason}


def _max_tokens(body: ChatBody) -> int | None:
    both = {body.max_tokens, body.max_completion_tokens} - {None}
    if len(both) > 1:
        raise BadRequest(
            f"max_tokens = {body.max_tokens} and max_completion_tokens = {body.max_completion_tokens} "
            f"contradict each other; send one of them",
            param="max_tokens",
        )
    return both.pop() if both else None


def _alternatives(body: ChatBody) -> int | None:
    if body.logprobs:
        return body.top_logprobs or 0
    if body.top_logprobs is not None:
        raise BadRequest("top_logprobs needs logprobs to be true", param="top_logprobs")
    return None


def _continues(body: ChatBody, last_role: str) -> bool:
    wanted = bool(body.continue_final_message)
    if body.add_generation_prompt is not None and body.add_generation_prompt == wanted:
        raise BadRequest(
            "add_generation_prompt must be the opposite of continue_final_message; leave it out",
            param="add_generation_prompt",
        )
    if wanted and last_role != "assistant":
        raise BadRequest(
            f"continue_final_message needs a last message of role 'assistant', not {last_role!r}",
            param="continue_final_message",
        )
    return wanted
