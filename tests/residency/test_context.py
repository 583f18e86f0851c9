"""How context, cells, sequences and batch are chosen."""

from __future__ import annotations

from typing import Any

import pytest
from support.residency import make_gguf, make_model

from agentkit_server.errors import BadRequest
from agentkit_server.machine import Memory
from agentkit_server.models.model import Model
from agentkit_server.residency.context import Plan, is_recurrent, plan, suits
from agentkit_server.residency.memory import GIB
from agentkit_server.residency.types import LoadOptions
from agentkit_server.settings import Settings


def planned(model: Model, *, vram: int = 0, settings: Settings | None = None, **options: Any) -> Plan:
    memory = Memory(available=512 * GIB, capacity=512 * GIB, vram_total=vram)
    return plan(model, LoadOptions(**options), settings or Settings(), memory, memory.available)


LONG = make_model(context_length=1 << 20)


@pytest.mark.parametrize(
    ("vram", "n_ctx"),
    [(0, 4096), (22 * GIB, 4096), (23 * GIB, 32768), (47 * GIB, 262144), (80 * GIB, 262144)],
)
def test_the_default_context_follows_the_tiers_of_gpu_memory(vram: int, n_ctx: int) -> None:
    assert planned(LONG, vram=vram).spec.n_ctx == n_ctx


def test_the_default_context_is_capped_at_the_trained_length() -> None:
    assert planned(make_model(context_length=1024)).spec.n_ctx == 1024


def test_a_model_that_does_not_say_its_trained_length_is_not_capped() -> None:
    assert planned(make_model(context_length=0)).spec.n_ctx == 4096
    assert planned(make_model(context_length=0), num_ctx=100_000).spec.n_ctx == 100_000


def test_the_default_context_is_a_setting_that_a_request_overrides() -> None:
    settings = Settings(context_length=16384)  # pyright: ignore[reportCallIssue]
    assert planned(LONG, settings=settings).spec.n_ctx == 16384
    assert planned(LONG, settings=settings, num_ctx=512).spec.n_ctx == 512


def test_what_was_asked_for_is_what_is_loaded() -> None:
    spec = planned(LONG, num_ctx=4, num_batch=128, num_gpu=7, main_gpu=1, use_mmap=False, num_thread=3).spec
    assert (spec.n_ctx, spec.n_batch, spec.n_gpu_layers, spec.main_gpu) == (4, 4, 7, 1)
    assert (spec.use_mmap, spec.n_threads, spec.path) == (False, 3, "a.gguf")


@pytest.mark.parametrize("options", [{"num_ctx": 16}, {"num_batch": 1}, {"num_ctx": 4}])
def test_a_batch_always_holds_a_token_of_every_sequence(options: dict[str, int]) -> None:
    spec = planned(LONG, **options).spec
    assert 1 <= spec.n_seq_max <= spec.n_batch


def test_settings_reach_the_spec() -> None:
    settings = Settings(kv_cache_type="q8_0", flash_attention="on", num_threads=5)  # pyright: ignore[reportCallIssue]
    spec = planned(LONG, settings=settings).spec
    assert (spec.cache_type, spec.flash_attention, spec.n_threads) == ("q8_0", "on", 5)


@pytest.mark.parametrize("num_ctx", [3, 0, -5, 81921, 10**12])
def test_an_absurd_num_ctx_is_refused_by_value(num_ctx: int) -> None:
    with pytest.raises(BadRequest, match=str(num_ctx)):
        planned(make_model(), num_ctx=num_ctx)


@pytest.mark.parametrize(
    "options", [{"num_batch": 1 << 20}, {"num_gpu": -2}, {"main_gpu": -1}, {"num_thread": 100_000}]
)
def test_other_absurd_options_are_refused_by_name(options: dict[str, int]) -> None:
    with pytest.raises(BadRequest) as caught:
        planned(make_model(), **options)
    assert caught.value.param in options


def test_an_embedding_model_takes_a_whole_input_in_one_batch() -> None:
    spec = planned(make_model(pooling="mean", context_length=512)).spec
    assert spec.embedding
    assert spec.n_ctx == spec.n_cells == spec.n_batch == 512


def test_there_are_cells_for_four_sequences_where_memory_allows() -> None:
    spec = planned(make_model()).spec
    assert (spec.n_cells, spec.n_seq_max) == (4 * spec.n_ctx, 64)


def test_as_many_sequences_as_are_to_run_in_parallel_can() -> None:
    settings = Settings(num_parallel=100)  # pyright: ignore[reportCallIssue]
    assert planned(make_model(), settings=settings).spec.n_seq_max == 100


@pytest.mark.parametrize(
    "gguf",
    [
        {"architecture": "rwkv7"},
        {"architecture": "lfm2"},
        {"architecture": "new", "metadata": {"new.ssm.state_size": 16}},
    ],
)
def test_a_recurrent_model_holds_few_sequences(gguf: dict[str, Any]) -> None:
    assert is_recurrent(make_gguf(**gguf))
    assert planned(make_model(**gguf)).spec.n_seq_max == 8
    assert not is_recurrent(make_gguf())


@pytest.mark.parametrize(
    "options",
    [
        {},
        {"num_ctx": 100},
        {"num_ctx": 50_000},
        {"num_ctx": 100, "num_batch": 1000},
        {"num_batch": 100},
        {"num_gpu": -1},
        {"num_gpu": 3, "main_gpu": 1},
        {"use_mmap": False},
        {"use_mmap": True},
        {"num_thread": 0},
        {"num_thread": 9},
    ],
)
@pytest.mark.parametrize("pooling", [None, "mean"])
def test_a_model_loaded_for_some_options_suits_them(options: dict[str, Any], pooling: str | None) -> None:
    model = make_model(pooling=pooling)
    settings = Settings(num_threads=2)  # pyright: ignore[reportCallIssue]
    spec = planned(model, settings=settings, **options).spec
    assert suits(spec, model, LoadOptions(**options))
    assert suits(spec, model, LoadOptions())
    assert not suits(spec, model, LoadOptions(num_ctx=77))
