"""POST /v1/completions: prompts as text or token ids -> Turns, Events -> text_completion or its chunks.
Several prompts run at the same time; choice index = prompt * n + completion."""

from __future__ import annotations

from collections.abc import AsyncGenerator, AsyncIterator, Iterable
from contextlib import aclosing
from typing import Annotated, Any

import msgspec
from fastapi import APIRouter, Request
from msgspec import Meta
from starlette.responses import Response

from agentkit_server.dialects._described import described
from agentkit_server.dialects._shared import read_json
from agentkit_server.dialects.openai_answer import answer
from agentkit_server.dialects.openai_described import COMPLETIONS
from agentkit_server.dialects.openai_formats import read_format
from agentkit_server.dialects.openai_parameters import (
    DEFAULTS,
    SamplingBody,
    load_options,
    logit_bias,
    parse,
    sampling_options,
    texts_or_tokens,
)
from agentkit_server.dialects.openai_wire import Choice, Chunks, Envelope, Tally, collect, ending, notices
from agentkit_server.engine.types import TokenLogprob
from agentkit_server.errors import BadRequest, NotBuiltYet
from agentkit_server.turn.events import Event, Finish, Started, TextDelta
from agentkit_server.turn.types import Infill, Prompt, Text, Tokens, Turn

DEFAULT_MAX_TOKENS = 16
MAX_CHOICES = 2048

router = APIRouter()


class CompletionBody(SamplingBody, kw_only=True):
    """The parameters that completions honours."""

    prompt: str | list[Any] = msgspec.field(default_factory=list[Any])
    suffix: str | None = None
    best_of: Annotated[int, Meta(ge=1, le=128)] | None = None
    echo: bool | None = None
    logprobs: Annotated[int, Meta(ge=0, le=5)] | None = None


@router.post("/v1/completions")
@described(COMPLETIONS, CompletionBody)
async def completions(request: Request) -> Response:
    """`n` continuations of each prompt."""
    body = parse(await read_json(request), CompletionBody)
    prompts = texts_or_tokens(body.prompt, "prompt")
    turns = completion_turns(body, prompts)
    return await answer(request, turns, CompletionAnswer(body, prompts), stream=bool(body.stream))


def completion_turns(body: CompletionBody, prompts: list[str | list[int]]) -> list[Turn]:
    """One turn for each prompt. Raises BadRequest or NotBuiltYet for what cannot be combined."""
    _check(body, prompts)
    max_tokens = DEFAULT_MAX_TOKENS if body.max_tokens is None else body.max_tokens
    options, bias = sampling_options(body, max_tokens), logit_bias(body)
    demand = read_format(body)
    return [
        Turn(
            model=body.model,
            prompt=_prompt(prompt, body.suffix),
            options=options,
            load=load_options(body),
            logit_bias=bias,
            n=body.n or 1,
            logprobs=body.logprobs,
            response_format=demand and demand.format,
            keep_alive=body.keep_alive,
            max_seconds=body.max_seconds,
            run_id=body.pin,
            truncate=bool(body.truncate),
            verb="generate",
            defaults=DEFAULTS,
        )
        for prompt in prompts
    ]


class CompletionAnswer:
    """Turns the events of all prompts into OpenAI's objects."""

    kind = "cmpl"

    def __init__(self, body: CompletionBody, prompts: list[str | list[int]]) -> None:
        self._include_usage = body.include_usage
        self._obfuscates = body.obfuscates
        self._demand = read_format(body)
        self._logprobs = body.logprobs
        self._n = body.n or 1
        echoed = [prompt if body.echo and isinstance(prompt, str) else "" for prompt in prompts]
        self._echoes = [echo for echo in echoed for _ in range(self._n)]

    def param(self, name: str) -> str:
        """What the caller calls the parameter that a turn's errors call `name`."""
        return self._demand.param if name == "response_format" and self._demand else name

    async def stream(
        self, started: Started, events: AsyncGenerator[Event], envelope: Envelope
    ) -> AsyncGenerator[bytes]:
        """Server-sent events up to and with `[DONE]`. Closes `events`."""
        chunks = Chunks(
            {**envelope.fields, "object": "text_completion"},
            include_usage=self._include_usage,
            obfuscates=self._obfuscates,
        )
        tally, said = Tally(self._n), notices(started)
        offsets = [0] * len(self._echoes)
        async with aclosing(events):
            for index, echo in enumerate(self._echoes):
                if echo or said:
                    yield chunks.started(self._choice(index, echo, None), said)
            async for event in events:
                match event:
                    case TextDelta(index, text, _, logprobs) if text or logprobs:
                        table = self._table(logprobs, offsets[index])
                        offsets[index] += sum(map(_characters, logprobs))
                        yield chunks.choice(self._choice(index, text, table))
                    case Finish(index):
                        tally.add(event)
                        yield chunks.choice(self._choice(index, "", None, event))
                    case _:
                        pass
        yield chunks.end(tally.usage())

    async def collect(
        self, started: Started, events: AsyncIterator[Event], envelope: Envelope
    ) -> dict[str, Any]:
        """The whole answer as one object."""
        collected = await collect(events, self._n, len(self._echoes) // self._n)
        choices = [self._whole_choice(index, choice) for index, choice in enumerate(collected.choices)]
        fields = {"object": "text_completion", "choices": choices, "usage": collected.usage}
        return {**envelope.fields, **fields, **notices(started)}

    def _whole_choice(self, index: int, choice: Choice) -> dict[str, Any]:
        text = self._echoes[index] + "".join(choice.texts)
        return self._choice(index, text, self._table(choice.logprobs, 0), choice.finish)

    def _choice(
        self, index: int, text: str, logprobs: dict[str, Any] | None, finish: Finish | None = None
    ) -> dict[str, Any]:
        return {"index": index, "text": text, "logprobs": logprobs, **ending(finish)}

    def _table(self, logprobs: Iterable[TokenLogprob], offset: int) -> dict[str, Any] | None:
        return None if self._logprobs is None else logprob_table(logprobs, offset)


def logprob_table(logprobs: Iterable[TokenLogprob], offset: int) -> dict[str, Any]:
    """The legacy `logprobs` object. `offset` is where the first token starts, in characters of the
    returned text; a token that begins inside a character counts as starting there."""
    tokens = list(logprobs)
    offsets: list[int] = []
    for item in tokens:
        offsets.append(offset - 1 if item.bytes and _continues(item.bytes[0]) else offset)
        offset += _characters(item)
    return {
        "tokens": [item.token for item in tokens],
        "token_logprobs": [item.logprob for item in tokens],
        "top_logprobs": [
            {item.token: item.logprob, **{top.token: top.logprob for top in item.top}} for item in tokens
        ],
        "text_offset": offsets,
    }


def _continues(byte: int) -> bool:
    return byte & 0xC0 == 0x80


def _characters(item: TokenLogprob) -> int:
    return sum(not _continues(byte) for byte in item.bytes)


def _prompt(prompt: str | list[int], suffix: str | None) -> Prompt:
    if not isinstance(prompt, str):
        return Tokens(tuple(prompt))
    return Infill(prompt, suffix) if suffix else Text(prompt)


def _check(body: CompletionBody, prompts: list[str | list[int]]) -> None:
    n = body.n or 1
    tokens = not all(isinstance(prompt, str) for prompt in prompts)
    if n * len(prompts) > MAX_CHOICES:
        raise BadRequest(
            f"{len(prompts)} prompts with n = {n} make more than {MAX_CHOICES} choices; send fewer at a time",
            param="prompt",
        )
    if body.best_of is not None and body.best_of != n:
        raise NotBuiltYet(f"best_of = {body.best_of} other than n = {n} is not built yet", param="best_of")
    if body.echo and body.logprobs is not None:
        raise NotBuiltYet("log-probabilities of an echoed prompt are not built yet", param="echo")
    if body.echo and tokens:
        raise NotBuiltYet("echo of a prompt of token ids is not built yet; send its text", param="echo")
    if body.suffix and (tokens or body.echo):
        what = "echo" if body.echo else "a prompt of token ids"
        raise BadRequest(f"suffix does not go with {what}; send the prompt as text", param="suffix")
