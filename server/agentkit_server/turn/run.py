"""Carrying out a turn: resolve the model, lease a runner, write the prompt, stream what comes back.

Everything that can be wrong with a request is raised before Started; from then on an error ends the
stream. Closing the stream early cancels the request in the engine.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator
from contextlib import aclosing

from agentkit_server.engine.types import Delta, Finished, Generate
from agentkit_server.errors import AgentkitError, MissingCapability, NotBuiltYet, RequestCancelled
from agentkit_server.residency.types import LoadOptions
from agentkit_server.turn.backend import Backend, resolve
from agentkit_server.turn.embed import Embeddings, EmbedRequest, embed
from agentkit_server.turn.events import Event, Finish, Started, TextDelta
from agentkit_server.turn.options import Limits, limits, merge_load, read_options
from agentkit_server.turn.prompt import Encoder, with_model_messages
from agentkit_server.turn.truncate import Fitted, Space, fit
from agentkit_server.turn.types import Chat, Turn

__all__ = ["Backend", "EmbedRequest", "Embeddings", "embed", "load", "resolve", "run_turn", "unload"]


async def run_turn(backend: Backend, turn: Turn) -> AsyncGenerator[Event]:
    """The events of `turn`: Started, then for each completion its deltas and one Finish.

    Raises before Started: ModelNotFound, MissingCapability, BadRequest, PromptTooLong, ServerBusy,
    LoadFailed. After it: RunnerDied, RequestCancelled, AgentkitError when the sequence failed.
    """
    model = await resolve(backend, turn.model)
    if "completion" not in model.capabilities:
        raise MissingCapability(f'"{turn.model}" does not support {turn.verb}', param="model")
    if model.adapters:
        raise NotBuiltYet(f"{turn.model!r} has a LoRA adapter, which this version does not apply")
    own = read_options(model.parameters)
    wanted = limits(turn.defaults, own.runtime, read_options(turn.options).runtime, turn.logit_bias)
    load = merge_load(turn.load, own.load)
    async with backend.residency.lease(model, load, turn.keep_alive) as lease:
        space = Space(lease.context_length, wanted.num_predict, wanted.num_keep)
        prompt = with_model_messages(turn.prompt, model) if isinstance(turn.prompt, Chat) else turn.prompt
        fitted = await fit(Encoder(model, lease.runner), prompt, space, truncate=turn.truncate)
        yield Started(
            prompt_tokens=len(fitted.tokens),
            load_ns=lease.load_ns,
            truncated_tokens=fitted.cut_tokens,
            truncated_messages=fitted.cut_messages,
            prompt=tuple(fitted.tokens),
        )
        request = _request(turn, wanted, fitted, lease.context_length)
        async with aclosing(lease.runner.generate(request)) as replies:
            async for reply in replies:
                yield _event(reply, lease.load_ns)


async def load(
    backend: Backend, name: str, options: LoadOptions, keep_alive: str | float | None = None
) -> int:
    """Make sure that the model is loaded, and start its keep-alive timer. Returns nanoseconds waited.

    Raises as `run_turn` does before Started.
    """
    model = await resolve(backend, name)
    wanted = merge_load(options, read_options(model.parameters).load)
    async with backend.residency.lease(model, wanted, keep_alive) as lease:
        return lease.load_ns


async def unload(backend: Backend, name: str) -> bool:
    """Unload the model once it is idle. False when it was not loaded. Raises ModelNotFound."""
    return await backend.residency.unload(await resolve(backend, name))


def _request(turn: Turn, wanted: Limits, fitted: Fitted, context_length: int) -> Generate:
    prompt_tokens = len(fitted.tokens)
    return Generate(
        id=0,
        prompt=fitted.tokens,
        sampling=wanted.sampling,
        max_tokens=wanted.max_tokens(prompt_tokens, context_length, shift=turn.shift),
        stop=wanted.stop,
        n=turn.n,
        logprobs=turn.logprobs,
        shift=turn.shift,
        keep=prompt_tokens if wanted.num_keep < 0 else wanted.num_keep,
    )


def _event(reply: Delta | Finished, load_ns: int) -> Event:
    if isinstance(reply, Delta):
        return TextDelta(reply.index, reply.text, tuple(reply.tokens), tuple(reply.logprobs or ()))
    if reply.reason == "error":
        raise AgentkitError(reply.error or "the model failed while it was answering; send the request again")
    if reply.reason == "cancelled":
        raise RequestCancelled("request canceled")
    return Finish(
        index=reply.index,
        reason=reply.reason,
        usage=reply.usage,
        timings=reply.timings,
        load_ns=load_ns,
        stop_string=reply.stop_string,
        shifted=reply.shifted,
    )
