"""Reads OpenAI request bodies. A parameter is honoured (a field of the endpoint's struct), accepted because
it cannot change the output, or refused by name; nothing is dropped silently. docs/reference/openai.md lists
all of them, and a test keeps that page equal to the constants here."""

from __future__ import annotations

import math
import re
from typing import Annotated, Any, TypeVar, cast

import msgspec
from msgspec import Meta

from agentkit_server.dialects._control import LONGEST_RUN_ID, MOST_SECONDS
from agentkit_server.dialects._invalid import not_built, problem_of, unknown
from agentkit_server.dialects._shared import shown
from agentkit_server.dialects.openai_formats import FormatBody
from agentkit_server.engine.types import Sampling
from agentkit_server.errors import BadRequest, NotBuiltYet, UnsupportedParameter
from agentkit_server.residency.types import LoadOptions
from agentkit_server.turn.options import MAX_STOP_LENGTH, MAX_STOPS

IGNORED = frozenset(
    {
        "guided_decoding_backend",
        "metadata",
        "prediction",
        "prompt_cache_options",
        "prompt_cache_retention",
        "safety_identifier",
        "user",
    }
)
"""Accepted with any value: they are for bookkeeping, abuse checks or speed, never for the text."""

NEUTRAL: dict[str, tuple[Any, ...]] = {
    "modalities": (["text"],),
    "store": (False,),
    "verbosity": ("medium",),
}
"""Accepted with these values, which ask for what happens anyway; any other value is refused."""

REFUSED: dict[str, str] = {
    "moderation": "there is no moderation here",
    "store": "chat completions are not stored; those of /v1/responses are",
    "verbosity": "models have no such setting; ask in a message for a short or a long answer",
}
"""Refused with 400, and why. Those of `NEUTRAL` only with another value."""

NOT_BUILT = frozenset(
    {
        "audio",
        "modalities",
        "structural_tag",
        "web_search_options",
    }
)
"""Refused with 501: known, and not in this version."""

DEFAULTS = Sampling(temperature=1.0, top_p=1.0, top_k=0)
"""Sampling of a request that says nothing and a model that says nothing: the model's own distribution."""

FORBIDDEN_BIAS = -100.0
"""OpenAI's value for a token that must not appear."""

StopString = Annotated[str, Meta(min_length=1, max_length=MAX_STOP_LENGTH)]
Penalty = Annotated[float, Meta(ge=-2, le=2)]
Probability = Annotated[float, Meta(ge=0, le=1)]
Count = Annotated[int, Meta(ge=1, le=2**31 - 1)]
Seconds = Annotated[float, Meta(gt=0, le=MOST_SECONDS)]
RunId = Annotated[str, Meta(max_length=LONGEST_RUN_ID)]
TokenId = Annotated[int, Meta(ge=0, le=2**31 - 1)]


class StreamOptions(msgspec.Struct, kw_only=True, forbid_unknown_fields=True):
    include_usage: bool | None = None
    include_obfuscation: bool | None = None


class SamplingBody(FormatBody, kw_only=True):
    """What chat/completions and completions have in common. None = not given (null counts as such)."""

    model: str = ""
    stream: bool | None = None
    stream_options: StreamOptions | None = None
    n: Annotated[int, Meta(ge=1, le=128)] | None = None
    seed: Annotated[int, Meta(ge=-(2**63), le=2**63 - 1)] | None = None
    stop: StopString | Annotated[list[StopString], Meta(max_length=MAX_STOPS)] | None = None
    temperature: Annotated[float, Meta(ge=0, le=2)] | None = None
    top_p: Probability | None = None
    frequency_penalty: Penalty | None = None
    presence_penalty: Penalty | None = None
    logit_bias: dict[TokenId, Annotated[float, Meta(ge=-100, le=100)]] | None = None
    max_tokens: Count | None = None
    # Extensions, under their native names.
    top_k: Annotated[int, Meta(ge=-1, le=2**31 - 1)] | None = None
    min_p: Probability | None = None
    typical_p: Probability | None = None
    repeat_penalty: Annotated[float, Meta(gt=0, le=100)] | None = None
    repeat_last_n: Annotated[int, Meta(ge=-1, le=2**31 - 1)] | None = None
    num_ctx: Count | None = None
    keep_alive: str | float | None = None
    truncate: bool | None = None
    max_seconds: Seconds | None = None
    run_id: RunId | None = None
    prompt_cache_key: RunId | None = None

    @property
    def include_usage(self) -> bool:
        return bool(self.stream_options and self.stream_options.include_usage)

    @property
    def obfuscates(self) -> bool:
        return bool(self.stream_options and self.stream_options.include_obfuscation)

    @property
    def pin(self) -> str:
        """The name that the prefix of this request is pinned under, "" for none."""
        return self.run_id or self.prompt_cache_key or ""


Body = TypeVar("Body", bound=msgspec.Struct)
_SAME_NAME = (
    "seed",
    "temperature",
    "top_p",
    "frequency_penalty",
    "presence_penalty",
    "top_k",
    "min_p",
    "typical_p",
    "repeat_penalty",
    "repeat_last_n",
)


def parse(body: dict[str, Any], shape: type[Body]) -> Body:
    """Read `body` as `shape`.

    Raises UnsupportedParameter for an unknown parameter, NotBuiltYet for one that this version lacks,
    BadRequest for a wrong type or range; each names the parameter.
    """
    fields = shape.__struct_fields__
    given: dict[str, Any] = {}
    for name, value in body.items():
        if value is None or (name in IGNORED and name not in fields):
            continue
        if name in fields:
            given[name] = value
        elif value not in NEUTRAL.get(name, ()):
            raise _refusal(name, value, fields)
    try:
        parsed = msgspec.convert(given, shape, str_keys=True)
    except msgspec.ValidationError as error:
        raise _invalid(error, given) from None
    if not getattr(parsed, "model", ""):
        raise BadRequest("model is required; name one that `agentkit list` shows", param="model")
    return parsed


def sampling_options(body: SamplingBody, max_tokens: int | None) -> dict[str, Any]:
    """The native options that `body` gives, under their native names."""
    options = {name: getattr(body, name) for name in _SAME_NAME if getattr(body, name) is not None}
    if max_tokens is not None:
        options["num_predict"] = max_tokens
    if body.stop is not None:
        options["stop"] = [body.stop] if isinstance(body.stop, str) else body.stop
    return options


def logit_bias(body: SamplingBody) -> dict[int, float]:
    """Token id -> bias, with OpenAI's -100 as the ban that it means."""
    given = (body.logit_bias or {}).items()
    return {token: -math.inf if bias <= FORBIDDEN_BIAS else bias for token, bias in given}


def load_options(body: SamplingBody) -> LoadOptions:
    """The load-time part of `body`."""
    return LoadOptions(num_ctx=body.num_ctx)


def texts_or_tokens(value: str | list[Any], param: str) -> list[str | list[int]]:
    """The prompts or inputs in `value`: a string, strings, token ids, or lists of token ids.

    Raises BadRequest for an empty list and for mixed or wrong types.
    """
    if isinstance(value, str):
        return [value]
    for kind in (list[str], list[TokenId], list[Annotated[list[TokenId], Meta(min_length=1)]]):
        try:
            items = cast(list[Any], msgspec.convert(value, kind))
        except msgspec.ValidationError:
            continue
        if items:
            return [items] if isinstance(items[0], int) else items
    raise BadRequest(
        f"{param} must be a string, a list of strings, a list of token ids, or a list of lists of token ids, "
        f"and not empty; got {shown(value)}",
        param=param,
    )


def _refusal(name: str, value: Any, known: tuple[str, ...]) -> UnsupportedParameter | NotBuiltYet:
    if name in NOT_BUILT:
        return not_built(name, value)
    if name in REFUSED:
        served = "".join(f"use {neutral!r}, or " for neutral in NEUTRAL.get(name, ()))
        return UnsupportedParameter(
            f"{name!r} = {shown(value)} is not served: {REFUSED[name]}; {served}leave it out", param=name
        )
    return unknown(name, (*known, *IGNORED, *NEUTRAL, *REFUSED, *NOT_BUILT))


def _invalid(error: msgspec.ValidationError, given: dict[str, Any]) -> BadRequest:
    what, path = problem_of(error)
    if not path:
        return BadRequest(f"the request body is invalid: {error}")
    top = re.split(r"[.\[]", path, maxsplit=1)[0]
    return BadRequest(f"{path!r} is invalid: {what}; {top} was {shown(given.get(top))}", param=path)
