"""From a Responses request to a Turn."""

from __future__ import annotations

from collections.abc import Sequence

from agentkit_server.dialects.openai_formats import read_format
from agentkit_server.dialects.openai_parameters import DEFAULTS, load_options, logit_bias, sampling_options
from agentkit_server.dialects.openai_thinking import read_think, template_kwargs
from agentkit_server.dialects.responses_body import Asked
from agentkit_server.dialects.responses_items import Item, conversation
from agentkit_server.dialects.responses_tools import Offered, read_choice
from agentkit_server.errors import BadRequest
from agentkit_server.turn.types import Chat, Turn


def response_turn(asked: Asked, items: Sequence[Item], offered: Offered, *, earlier: int = 0) -> Turn:
    """The turn that answers `items`, the first `earlier` of which came with earlier requests.

    Raises BadRequest for what contradicts itself, NotBuiltYet.
    """
    own, extended = asked.own, asked.extended
    demand = read_format(extended)
    return Turn(
        model=own.model,
        prompt=Chat(
            conversation(items, own.instructions, earlier=earlier),
            template_kwargs=template_kwargs(extended),
        ),
        options=sampling_options(extended, own.max_output_tokens),
        load=load_options(extended),
        logit_bias=logit_bias(extended),
        logprobs=_alternatives(asked),
        tools=offered.tools,
        tool_choice=read_choice(own.tool_choice, offered, own.parallel_tool_calls),
        response_format=demand and demand.format,
        think=read_think(extended),
        thinking_budget=extended.thinking_budget,
        keep_alive=extended.keep_alive,
        max_seconds=extended.max_seconds,
        # The prefix of a cache key is kept like that of a run.
        run_id=extended.run_id or own.prompt_cache_key or "",
        truncate=_truncates(asked),
        defaults=DEFAULTS,
    )


def _alternatives(asked: Asked) -> int | None:
    own = asked.own
    if own.top_logprobs is None and "message.output_text.logprobs" not in own.includes:
        return None
    return own.top_logprobs or 0


def _truncates(asked: Asked) -> bool:
    given, extended = asked.own.truncation, asked.extended.truncate
    if given is None or extended is None or extended is (given == "auto"):
        return given == "auto" if extended is None else extended
    raise BadRequest(
        f"truncation = {given!r} and truncate = {extended!r} contradict each other; send one of them",
        param="truncation",
    )
