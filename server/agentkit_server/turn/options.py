"""The native `options` table: what each option is called, its type and range, and whether it decides how
the model is loaded or how tokens are chosen. Values are checked here once, whichever dialect they came in.

A wrong type or an absurd value is a 400 that names the option (Ollama answers 500 for the former: it
notices only while it schedules). Unknown and retired names are reported back, to be warned about.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, NamedTuple, cast

import msgspec

from agentkit_server.engine.types import Sampling
from agentkit_server.errors import BadRequest
from agentkit_server.residency.types import LoadOptions

INT32_MAX = 2**31 - 1
INT64 = 2**63
MAX_STOPS = 256
MAX_STOP_LENGTH = 4096
PREDICT_CONTEXTS = 10
"""At most this many times the context length is generated, however long the context is shifted."""


class _Int(NamedTuple):
    low: int = -INT32_MAX
    high: int = INT32_MAX


class _Float(NamedTuple):
    low: float
    high: float
    above_low: bool = False


class _Bool(NamedTuple):
    pass


class _Stops(NamedTuple):
    pass


_Kind = _Int | _Float | _Bool | _Stops

_SAMPLING: dict[str, _Kind] = {
    "seed": _Int(-INT64, INT64 * 2 - 1),
    "temperature": _Float(0, 100),
    "top_k": _Int(),
    "top_p": _Float(0, 1),
    "min_p": _Float(0, 1),
    "typical_p": _Float(0, 1),
    "repeat_last_n": _Int(-1),
    "repeat_penalty": _Float(0, 100, above_low=True),
    "presence_penalty": _Float(-100, 100),
    "frequency_penalty": _Float(-100, 100),
    "mirostat": _Int(0, 2),
    "mirostat_tau": _Float(0, 100),
    "mirostat_eta": _Float(0, 1),
    "xtc_probability": _Float(0, 1),
    "xtc_threshold": _Float(0, 1),
    "dry_multiplier": _Float(0, 100),
    "dry_base": _Float(0, 100),
    "dry_allowed_length": _Int(0),
    "dry_penalty_last_n": _Int(-1),
}
_GENERATION: dict[str, _Kind] = {"num_predict": _Int(-2), "num_keep": _Int(-1), "stop": _Stops()}
_LOAD: dict[str, _Kind] = {
    "num_ctx": _Int(),
    "num_batch": _Int(1, 65536),
    "num_gpu": _Int(-1),
    "main_gpu": _Int(0, 255),
    "use_mmap": _Bool(),
    "num_thread": _Int(0, 4096),
}
_RUNTIME = _SAMPLING | _GENERATION
_RETIRED = """
    draft_num_predict f16_kv logits_all low_vram numa penalize_newline tfs_z use_mlock vocab_only
"""
RETIRED = frozenset(_RETIRED.split())
"""Known names without effect here: warned about, never an error. None of them can change which tokens
are likely, except `tfs_z` and `penalize_newline`, which Ollama ignores as well."""

_TYPE_NAMES = {_Int: "integer", _Float: "float32", _Bool: "boolean", _Stops: "array"}


@dataclass(frozen=True)
class Options:
    """An options object, checked and split."""

    runtime: dict[str, Any] = field(default_factory=dict[str, Any])
    """Sampling, `num_predict`, `num_keep` and `stop`: only those given."""
    load: LoadOptions = LoadOptions()
    unknown: tuple[str, ...] = ()
    retired: tuple[str, ...] = ()


@dataclass(frozen=True)
class Limits:
    """How a generation is sampled and where it ends."""

    sampling: Sampling
    num_predict: int
    """As asked for: -1 = until the model stops, -2 = until the context is full."""
    num_keep: int
    stop: list[str]

    def max_tokens(self, prompt_tokens: int, context_length: int, *, shift: bool) -> int:
        """The bound for the engine, which reads -1 as "until the context is full"."""
        if self.num_predict == -2:
            return max(0, context_length - prompt_tokens)
        if self.num_predict == -1:
            return PREDICT_CONTEXTS * context_length if shift else -1
        return min(self.num_predict, PREDICT_CONTEXTS * context_length)


def read_options(given: Mapping[str, Any]) -> Options:
    """Check every value of `given` and split it. None counts as not given.

    Raises BadRequest naming the option for a wrong type or a value out of range.
    """
    runtime: dict[str, Any] = {}
    load: dict[str, Any] = {}
    unknown: list[str] = []
    retired: list[str] = []
    for name, value in given.items():
        if name in _RUNTIME and value is not None:
            runtime[name] = _checked(name, value, _RUNTIME[name])
        elif name in _LOAD and value is not None:
            load[name] = _checked(name, value, _LOAD[name])
        elif name in RETIRED:
            retired.append(name)
        elif name not in _RUNTIME and name not in _LOAD:
            unknown.append(name)
    return Options(runtime, LoadOptions(**load), tuple(unknown), tuple(retired))


def limits(
    defaults: Sampling, model: Mapping[str, Any], caller: Mapping[str, Any], logit_bias: dict[int, float]
) -> Limits:
    """What holds for one turn: the caller's runtime options over the model's over the defaults."""
    given = {**model, **caller}
    sampling = {name: value for name, value in given.items() if name in _SAMPLING}
    if "seed" in sampling:
        sampling["seed"] = _seed(sampling["seed"])
    return Limits(
        sampling=msgspec.structs.replace(defaults, **sampling, logit_bias=logit_bias),
        num_predict=given.get("num_predict", -1),
        num_keep=given.get("num_keep", 4),
        stop=[*given.get("stop", ())],
    )


def option_schemas() -> dict[str, dict[str, Any]]:
    """The JSON Schema of every option's value. null counts as not given."""
    return {name: {"anyOf": [_schema(kind), {"type": "null"}]} for name, kind in (_RUNTIME | _LOAD).items()}


def merge_load(caller: LoadOptions, model: LoadOptions) -> LoadOptions:
    """The caller's load options, with the model's own where the caller gave none."""
    return LoadOptions(
        num_ctx=model.num_ctx if caller.num_ctx is None else caller.num_ctx,
        num_batch=model.num_batch if caller.num_batch is None else caller.num_batch,
        num_gpu=model.num_gpu if caller.num_gpu is None else caller.num_gpu,
        main_gpu=model.main_gpu if caller.main_gpu is None else caller.main_gpu,
        use_mmap=model.use_mmap if caller.use_mmap is None else caller.use_mmap,
        num_thread=model.num_thread if caller.num_thread is None else caller.num_thread,
    )


def _schema(kind: _Kind) -> dict[str, Any]:
    match kind:
        case _Int(low, high):
            return {"type": "integer", "minimum": low, "maximum": high}
        case _Float(low, high, above_low):
            return {"type": "number", "exclusiveMinimum" if above_low else "minimum": low, "maximum": high}
        case _Bool():
            return {"type": "boolean"}
        case _Stops():
            stop = {"type": "string", "maxLength": MAX_STOP_LENGTH}
            return {"type": "array", "items": stop, "maxItems": MAX_STOPS}


def _seed(value: int) -> int:
    # Clients send seeds of up to 64 bits; the engine has 31, and adds the completion's index.
    return -1 if value == -1 else value % INT32_MAX


def _checked(name: str, value: Any, kind: _Kind) -> Any:
    match kind:
        case _Int():
            return _integer(name, value, kind)
        case _Float():
            return _number(name, value, kind)
        case _Bool():
            return _boolean(name, value, kind)
        case _Stops():
            return _stops(name, value, kind)


def _integer(name: str, value: Any, kind: _Int) -> int:
    # JSON has one number type: 40.0 is an integer that some client wrote as a float.
    if isinstance(value, float) and value.is_integer():
        value = int(value)
    if isinstance(value, bool) or not isinstance(value, int):
        raise _wrong_type(name, kind)
    if not kind.low <= value <= kind.high:
        raise BadRequest(f'option "{name}" must be from {kind.low} to {kind.high}: {value!r}', param=name)
    return value


def _number(name: str, value: Any, kind: _Float) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise _wrong_type(name, kind)
    inside = kind.low < value <= kind.high if kind.above_low else kind.low <= value <= kind.high
    if not inside or not math.isfinite(value):
        begin = "above" if kind.above_low else "from"
        raise BadRequest(
            f'option "{name}" must be {begin} {kind.low:g} to {kind.high:g}: {value!r}', param=name
        )
    return float(value)


def _boolean(name: str, value: Any, kind: _Bool) -> bool:
    if not isinstance(value, bool):
        raise _wrong_type(name, kind)
    return value


def _stops(name: str, value: Any, kind: _Stops) -> list[str]:
    if not isinstance(value, list | tuple):
        raise _wrong_type(name, kind)
    stops = cast("list[Any]", value)
    if not all(isinstance(stop, str) for stop in stops):
        raise BadRequest(f'option "{name}" must be an array of strings', param=name)
    if len(stops) > MAX_STOPS or any(len(stop) > MAX_STOP_LENGTH for stop in stops):
        raise BadRequest(
            f'option "{name}" has at most {MAX_STOPS} strings of at most {MAX_STOP_LENGTH} characters',
            param=name,
        )
    # An empty stop string would end every answer before its first token; llama.cpp skips them too.
    return [stop for stop in stops if stop]


def _wrong_type(name: str, kind: _Kind) -> BadRequest:
    return BadRequest(f'option "{name}" must be of type {_TYPE_NAMES[type(kind)]}', param=name)
