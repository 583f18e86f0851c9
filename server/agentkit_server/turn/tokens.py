"""Text to tokens, tokens to text, and a conversation as the prompt that the model would read; nothing is
generated. The model is loaded for it, since the tokenizer is in its file."""

from __future__ import annotations

import time
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from dataclasses import dataclass

from agentkit_server.errors import BadRequest, MissingCapability
from agentkit_server.models.model import Model
from agentkit_server.residency.types import Lease, LoadOptions
from agentkit_server.turn.answering import is_quiet
from agentkit_server.turn.backend import Backend, resolve, within
from agentkit_server.turn.options import merge_load, read_options
from agentkit_server.turn.prompt import encoder_for, with_model_messages
from agentkit_server.turn.types import Chat, Turn


@dataclass(frozen=True, kw_only=True)
class Wanted:
    """The model whose tokens are meant, and how it is loaded for it."""

    model: str
    load: LoadOptions = LoadOptions()
    keep_alive: str | float | None = None
    max_seconds: float | None = None


@dataclass(frozen=True)
class Written:
    """A conversation as a prompt."""

    text: str
    tokens: list[int]
    """Those of the text, behind BOS where the model wants it and its template does not write it."""
    context_length: int


async def tokenize(
    backend: Backend, wanted: Wanted, text: str, *, add_special: bool, parse_special: bool
) -> list[int]:
    """The tokens of `text`: with `add_special` between the marks that the model wants round a text, with
    `parse_special` control tokens where their texts are. Raises what a lease raises, and DeadlinePassed."""
    async with _lease(backend, await resolve(backend, wanted.model), wanted) as lease:
        return await lease.runner.tokenize(text, add_special=add_special, parse_special=parse_special)


async def detokenize(backend: Backend, wanted: Wanted, tokens: list[int], *, special: bool) -> str:
    """The text of `tokens`, with `special` that of control tokens too. Raises BadRequest for an id outside
    the vocabulary, and what `tokenize` raises."""
    async with _lease(backend, await resolve(backend, wanted.model), wanted) as lease:
        try:
            return await lease.runner.detokenize(tokens, special=special)
        except BadRequest as error:
            error.param = "tokens"
            raise


async def write_prompt(backend: Backend, turn: Turn, chat: Chat) -> Written:
    """`chat`, the prompt of `turn`, as the model would read it, however long that is.

    Raises what `run_turn` raises before Started, but for what is about the answer.
    """
    model = await resolve(backend, turn.model)
    if "completion" not in model.capabilities:
        raise MissingCapability(f'"{turn.model}" does not support {turn.verb}', param="model")
    wanted = Wanted(
        model=turn.model, load=turn.load, keep_alive=turn.keep_alive, max_seconds=turn.max_seconds
    )
    async with _lease(backend, model, wanted) as lease:
        chat = with_model_messages(chat, model)
        encoder, syntax = await encoder_for(turn, chat, model, lease.runner)
        encoded = await encoder.encode(chat)
        text, tokens = encoded.text, encoded.tokens
        if encoded.thinking == "open" and is_quiet(turn):
            text += syntax.closing
            tokens = [*tokens, *await lease.runner.tokenize(syntax.closing, add_special=False)]
        return Written(text, tokens, lease.context_length)


@asynccontextmanager
async def _lease(backend: Backend, model: Model, wanted: Wanted) -> AsyncGenerator[Lease]:
    own = read_options(model.parameters).load
    with within(wanted.max_seconds, time.monotonic_ns(), "the model was not ready"):
        async with backend.residency.lease(model, merge_load(wanted.load, own), wanted.keep_alive) as lease:
            yield lease
