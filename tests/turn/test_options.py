"""The options table: types, ranges, what overrides what."""

from __future__ import annotations

import math
from typing import Any

import pytest

from agentkit_server.engine.types import Sampling
from agentkit_server.errors import BadRequest
from agentkit_server.residency.types import LoadOptions
from agentkit_server.turn.options import limits, merge_load, read_options


def test_options_are_split_into_load_time_and_run_time() -> None:
    options = read_options({"num_ctx": 512, "use_mmap": False, "top_k": 3, "num_predict": 9, "stop": ["x"]})
    assert options.load == LoadOptions(num_ctx=512, use_mmap=False)
    assert options.runtime == {"top_k": 3, "num_predict": 9, "stop": ["x"]}


def test_unknown_and_retired_names_are_reported() -> None:
    options = read_options({"temprature": 1, "numa": True, "use_mlock": None})
    assert (options.unknown, options.retired) == (("temprature",), ("numa", "use_mlock"))
    assert options.runtime == {}


def test_none_counts_as_not_given() -> None:
    assert read_options({"temperature": None, "num_ctx": None}) == read_options({})


@pytest.mark.parametrize(
    ("name", "value", "kind"),
    [
        ("seed", "1", "integer"),
        ("top_k", 1.5, "integer"),
        ("num_ctx", True, "integer"),
        ("temperature", "hot", "float32"),
        ("top_p", False, "float32"),
        ("use_mmap", 1, "boolean"),
        ("stop", "x", "array"),
    ],
)
def test_a_wrong_type_is_named_in_ollamas_words(name: str, value: Any, kind: str) -> None:
    with pytest.raises(BadRequest, match=f'^option "{name}" must be of type {kind}$') as refusal:
        read_options({name: value})
    assert refusal.value.param == name


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("temperature", -0.1),
        ("temperature", math.nan),
        ("temperature", math.inf),
        ("top_p", 1.1),
        ("min_p", -1),
        ("repeat_penalty", 0),
        ("repeat_last_n", -2),
        ("num_predict", -3),
        ("num_predict", 2**31),
        ("top_k", 2**31),
        ("num_keep", 2**40),
        ("seed", 2**70),
        ("num_ctx", 2**40),
        ("num_batch", 0),
        ("mirostat", 3),
        ("presence_penalty", -math.inf),
        ("stop", [1]),
        ("stop", ["x"] * 1000),
    ],
)
def test_an_absurd_value_is_refused_by_name(name: str, value: Any) -> None:
    with pytest.raises(BadRequest, match=f'option "{name}"'):
        read_options({name: value})


def test_a_whole_float_is_an_integer_and_an_empty_stop_string_is_none() -> None:
    assert read_options({"top_k": 40.0, "stop": ["", "x"]}).runtime == {"top_k": 40, "stop": ["x"]}


def test_the_caller_overrides_the_model_and_the_model_the_defaults() -> None:
    defaults = Sampling(temperature=1.0, top_p=1.0)
    found = limits(defaults, {"temperature": 0.5, "top_k": 1, "stop": ["a"]}, {"top_k": 2}, {5: -math.inf})
    assert found.sampling == Sampling(temperature=0.5, top_p=1.0, top_k=2, logit_bias={5: -math.inf})
    assert (found.stop, found.num_predict, found.num_keep) == (["a"], -1, 4)
    load = merge_load(LoadOptions(num_ctx=1), LoadOptions(num_ctx=2, num_gpu=3))
    assert load == LoadOptions(num_ctx=1, num_gpu=3)


@pytest.mark.parametrize(
    ("seed", "sent"), [(-1, -1), (7, 7), (2**31 - 1, 0), (2**64 - 1, 3), (-2, 2**31 - 3)]
)
def test_a_seed_of_any_size_fits_the_engine(seed: int, sent: int) -> None:
    assert limits(Sampling(), {}, read_options({"seed": seed}).runtime, {}).sampling.seed == sent


@pytest.mark.parametrize(
    ("num_predict", "shift", "sent"),
    [(-1, False, -1), (-1, True, 1000), (-2, False, 60), (5, False, 5), (5000, True, 1000), (0, False, 0)],
)
def test_what_is_generated_is_bounded(num_predict: int, shift: bool, sent: int) -> None:
    found = limits(Sampling(), {}, {"num_predict": num_predict}, {})
    assert found.max_tokens(40, 100, shift=shift) == sent
