"""Carrying out a turn: prepare what it demands, lease a runner, write the prompt, stream what comes back.

Everything that can be wrong with a request is raised before Started; from then on an error ends the
stream. Closing the stream early cancels the request in the engine.
"""

from __future__ import annotations

import time
from collections.abc import AsyncGenerator
from contextlib import AsyncExitStack, aclosing

from anyio import to_thread

from agentkit_server.engine.types import Generate
from agentkit_server.errors import MissingCapability
from agentkit_server.models.model import Model
from agentkit_server.residency.types import Lease, LoadOptions
from agentkit_server.turn.answering import Answering, answering
from agentkit_server.turn.backend import Backend, deadline, resolve, within
from agentkit_server.turn.constraint import Demands, constrain, demands
from agentkit_server.turn.embed import Embeddings, EmbedRequest, embed
from agentkit_server.turn.events import Event, Started
from agentkit_server.turn.options import Limits, limits, merge_load, read_options
from agentkit_server.turn.prompt import encoder_for, with_model_messages
from agentkit_server.turn.truncate import Fitted, Space, fit
from agentkit_server.turn.types import Chat, Turn

__all__ = ["Backend", "EmbedRequest", "Embeddings", "embed", "load", "resolve", "run_turn", "unload"]


async def run_turn(backend: Backend, turn: Turn) -> AsyncGenerator[Event]:
    """The events of `turn`: Started, then for each completion its deltas and one Finish.

    Raises before Started: ModelNotFound, MissingCapability, BadRequest (SchemaRefused, InvalidGrammar among
    them), PromptTooLong, ServerBusy, LoadFailed, DeadlinePassed. After it: RunnerDied, RequestCancelled,
    ConstraintFailed, AgentkitError when the sequence failed.
    """
    began = time.monotonic_ns()
    model = await resolve(backend, turn.model)
    if "completion" not in model.capabilities:
        raise MissingCapability(f'"{turn.model}" does not support {turn.verb}', param="model")
    # Before a model is loaded for it: what cannot be enforced is refused at once.
    wanted = await to_thread.run_sync(demands, turn)
    own = read_options(model.parameters)
    bounds = limits(turn.defaults, own.runtime, read_options(turn.options).runtime, turn.logit_bias)
    load = merge_load(turn.load, own.load)
    async with AsyncExitStack() as held:
        deadline_ns = deadline(turn.max_seconds, began)
        with within(turn.max_seconds, began, "the model was not ready"):
            lease = await held.enter_async_context(backend.residency.lease(model, load, turn.keep_alive))
            started, answer = await _prepared(turn, wanted, bounds, lease, model, deadline_ns)
        async with aclosing(answer.events()) as events:
            # A grammar that cannot be compiled is told here, while the status is still open.
            first = await anext(events) if answer.constrained else None
            yield started
            if first is not None:
                yield first
            async for event in events:
                yield event


async def _prepared(
    turn: Turn, wanted: Demands, bounds: Limits, lease: Lease, model: Model, deadline_ns: int
) -> tuple[Started, Answering]:
    prompt = with_model_messages(turn.prompt, model) if isinstance(turn.prompt, Chat) else turn.prompt
    encoder, syntax = await encoder_for(turn, prompt, model, lease.runner)
    constraint = await to_thread.run_sync(constrain, wanted, syntax, lease.runner.facts.control)
    space = Space(lease.context_length, bounds.num_predict, bounds.num_keep)
    fitted = await fit(encoder, prompt, space, truncate=turn.truncate)
    request = _request(turn, bounds, fitted, lease, deadline_ns)
    answer = await answering(turn, request, fitted.thinking, constraint, lease)
    started = Started(
        prompt_tokens=len(answer.prompt),
        load_ns=lease.load_ns,
        truncated_tokens=fitted.cut_tokens,
        truncated_messages=fitted.cut_messages,
        prompt=tuple(answer.prompt),
        constraint=constraint.level,
        notes=constraint.notes,
    )
    return started, answer


async def load(
    backend: Backend,
    name: str,
    options: LoadOptions,
    keep_alive: str | float | None = None,
    *,
    max_seconds: float | None = None,
) -> int:
    """Make sure that the model is loaded, and start its keep-alive timer. Returns nanoseconds waited. A load
    that takes longer than `max_seconds` goes on for whoever asks next.

    Raises as `run_turn` does before Started.
    """
    began = time.monotonic_ns()
    model = await resolve(backend, name)
    wanted = merge_load(options, read_options(model.parameters).load)
    with within(max_seconds, began, "the model was not ready"):
        async with backend.residency.lease(model, wanted, keep_alive) as lease:
            return lease.load_ns


async def unload(backend: Backend, name: str, *, max_seconds: float | None = None) -> bool:
    """Unload the model once it is idle. False when it was not loaded. Raises ModelNotFound, DeadlinePassed;
    the unloading goes on then."""
    began = time.monotonic_ns()
    model = await resolve(backend, name)
    with within(max_seconds, began, "the model was not unloaded"):
        return await backend.residency.unload(model)


def _request(turn: Turn, bounds: Limits, fitted: Fitted, lease: Lease, deadline_ns: int) -> Generate:
    prompt_tokens = len(fitted.tokens)
    return Generate(
        id=0,
        prompt=fitted.tokens,
        sampling=bounds.sampling,
        max_tokens=bounds.max_tokens(prompt_tokens, lease.context_length, shift=turn.shift),
        stop=bounds.stop,
        n=turn.n,
        logprobs=turn.logprobs,
        shift=turn.shift,
        keep=prompt_tokens if bounds.num_keep < 0 else bounds.num_keep,
        pin=turn.run_id,
        deadline_ns=deadline_ns,
        adapters=lease.adapters,
    )
