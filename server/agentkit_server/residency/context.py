"""How a model is loaded: context length, cells, sequences and batch, from what was asked for, what the
model was trained for and what memory allows. Makes the LoadSpec; loads nothing."""

from __future__ import annotations

from dataclasses import dataclass

import msgspec

from agentkit_server.engine.types import LoadSpec
from agentkit_server.errors import BadRequest
from agentkit_server.machine import Memory
from agentkit_server.models.model import GGUFInfo, Model
from agentkit_server.residency.memory import GIB, Estimate, estimate
from agentkit_server.residency.types import LoadOptions
from agentkit_server.settings import Settings

SHORTEST = 4
ABSURD_FACTOR = 10
# Where the file does not say what the model was trained for.
ABSURD_UNTRAINED = 1 << 24
TIERS = ((47 * GIB, 262144), (23 * GIB, 32768))
LOWEST_TIER = 4096
SHRUNK_LEAST = 2048
SEQUENCES = 64
SEQUENCES_MOST = 256
# Each sequence of a recurrent model holds a whole state, cached or not.
SEQUENCES_RECURRENT = 8
PARALLEL_AUTO = 4
BATCH = 512
BATCH_MOST = 1 << 16
THREADS_MOST = 1024
# What is chosen for the caller leaves the machine some room.
COMFORT = 0.8

RECURRENT_KEYS = (".ssm.", ".wkv.", ".shortconv.", ".kda.", ".rwkv")
RECURRENT = frozenset(
    {"mamba", "mamba2", "jamba", "bamba", "falcon-h1", "granitehybrid", "nemotron_h", "nemotron_h_moe"}
    | {"plamo2", "plamo3", "lfm2", "lfm2moe", "rwkv6", "rwkv6qwen2", "rwkv7", "arwkv7"}
    | {"qwen3next", "qwen35", "qwen35moe", "kimi-linear"}
)


@dataclass(frozen=True)
class Plan:
    """A way to load a model, and what it would take."""

    spec: LoadSpec
    estimate: Estimate


def validate(model: Model, options: LoadOptions) -> None:
    """Raises BadRequest for load options that no machine could honour."""
    effective_num_ctx(model.gguf, options.num_ctx)
    _bounded("num_batch", options.num_batch, 1, BATCH_MOST)
    _bounded("num_thread", options.num_thread, 0, THREADS_MOST)
    _bounded("num_gpu", options.num_gpu, -1, 1 << 16)
    _bounded("main_gpu", options.main_gpu, 0, 255)


def effective_num_ctx(gguf: GGUFInfo, num_ctx: int | None) -> int | None:
    """`num_ctx` as asked for, capped at the trained length; None when not asked for.

    Raises BadRequest below 4 and above ten times the trained length.
    """
    if num_ctx is None:
        return None
    trained = gguf.context_length
    most = trained * ABSURD_FACTOR or ABSURD_UNTRAINED
    if num_ctx < SHORTEST:
        raise BadRequest(f"num_ctx {num_ctx!r} is too small; ask for at least {SHORTEST}", param="num_ctx")
    if num_ctx > most:
        limit = f"the model was trained for {trained}" if trained else f"the limit is {most}"
        raise BadRequest(f"num_ctx {num_ctx!r} is absurd: {limit} tokens; ask for less", param="num_ctx")
    return min(num_ctx, trained) if trained else num_ctx


def suits(spec: LoadSpec, model: Model, options: LoadOptions) -> bool:
    """Whether a model loaded with `spec` has what `options` ask for. None asks for nothing."""
    n_batch = None if spec.embedding or options.num_batch is None else min(options.num_batch, spec.n_ctx)
    wanted: dict[str, object] = {
        "n_ctx": effective_num_ctx(model.gguf, options.num_ctx),
        "n_batch": n_batch,
        "n_gpu_layers": options.num_gpu,
        "main_gpu": options.main_gpu,
        "use_mmap": options.use_mmap,
        "n_threads": options.num_thread,
    }
    return all(value is None or getattr(spec, name) == value for name, value in wanted.items())


def is_recurrent(gguf: GGUFInfo) -> bool:
    """Whether blocks of the model keep a state for each sequence instead of cells."""
    return gguf.architecture in RECURRENT or any(
        mark in key for key in gguf.metadata for mark in RECURRENT_KEYS
    )


def plan(model: Model, options: LoadOptions, settings: Settings, memory: Memory, free: int) -> Plan:
    """The best way to load `model` that `free` bytes allow, or the least if they allow none.

    Sequences in parallel are given up first. The context is never made shorter here: `shrunk` does
    that. Raises BadRequest for absurd options.
    """
    validate(model, options)
    n_ctx = expected_context(model, options, settings, memory.vram_total)
    for parallel in range(_parallel(model.gguf, settings), 0, -1):
        chosen = _planned(model, options, settings, n_ctx, parallel)
        if settings.num_parallel or chosen.estimate.total <= free * COMFORT:
            return chosen
    return _planned(model, options, settings, n_ctx, 1)


def shrunk(model: Model, options: LoadOptions, settings: Settings, chosen: Plan, free: int) -> Plan:
    """`chosen` with the longest context that `free` bytes allow, where the caller named none; the
    plan as it stands where they did, or where even the shortest would not fit."""
    if options.num_ctx is not None or settings.context_length:
        return chosen
    n_ctx = chosen.spec.n_ctx
    while n_ctx > SHRUNK_LEAST:
        n_ctx = max(n_ctx // 2, SHRUNK_LEAST)
        smaller = _planned(model, options, settings, n_ctx, 1)
        if smaller.estimate.total <= free:
            return smaller
    return chosen


def fits_without_context(model: Model, options: LoadOptions, settings: Settings, free: int) -> bool:
    """Whether the model would fit with the shortest context: then it is the context that is absurd."""
    return _planned(model, options, settings, SHORTEST, 1).estimate.total <= free


def unexpected(model: Model, options: LoadOptions, settings: Settings, chosen: Plan) -> str:
    """What about the context of `chosen` the caller may not expect; "" = nothing."""
    n_ctx = chosen.spec.n_ctx
    if options.num_ctx is not None and options.num_ctx > n_ctx:
        return f"num_ctx {options.num_ctx} capped at the model's trained context of {n_ctx} tokens"
    if options.num_ctx is None and not settings.context_length and n_ctx < LOWEST_TIER:
        trained = model.gguf.context_length
        if not trained or n_ctx < trained:
            return f"context shortened to {n_ctx} tokens to fit into memory"
    return ""


def expected_context(model: Model, options: LoadOptions, settings: Settings, vram_total: int) -> int:
    """The context length that a load aims at; memory may make it shorter. Raises BadRequest."""
    gguf = model.gguf
    return effective_num_ctx(gguf, options.num_ctx) or _default_context(gguf, settings, vram_total)


def _default_context(gguf: GGUFInfo, settings: Settings, vram_total: int) -> int:
    tier = next((n for least, n in TIERS if vram_total >= least), LOWEST_TIER)
    wanted = max(settings.context_length, SHORTEST) if settings.context_length else tier
    return min(wanted, gguf.context_length) if gguf.context_length else wanted


def _parallel(gguf: GGUFInfo, settings: Settings) -> int:
    if gguf.pooling is not None:
        return 1
    return settings.num_parallel or PARALLEL_AUTO


def _planned(model: Model, options: LoadOptions, settings: Settings, n_ctx: int, parallel: int) -> Plan:
    spec = LoadSpec(
        path=str(model.path),
        n_ctx=n_ctx,
        n_cells=n_ctx * parallel,
        n_seq_max=_sequences(model.gguf, parallel),
        n_batch=min(options.num_batch or BATCH, n_ctx),
        n_threads=settings.num_threads if options.num_thread is None else options.num_thread,
        n_gpu_layers=-1 if options.num_gpu is None else options.num_gpu,
        main_gpu=options.main_gpu or 0,
        cache_type=settings.kv_cache_type,
        flash_attention=settings.flash_attention,
        use_mmap=options.use_mmap is not False,
    )
    if model.gguf.pooling is not None:
        # Non-causal attention sees an input whole, so it must fit one batch.
        spec = msgspec.structs.replace(spec, embedding=True, n_batch=n_ctx)
    # llama.cpp aborts the process when a batch could not hold one token of every sequence.
    spec = msgspec.structs.replace(spec, n_seq_max=min(spec.n_seq_max, spec.n_batch))
    return Plan(spec, estimate(model, spec))


def _sequences(gguf: GGUFInfo, parallel: int) -> int:
    least = SEQUENCES_RECURRENT if is_recurrent(gguf) else SEQUENCES
    return min(max(least, parallel), SEQUENCES_MOST)


def _bounded(name: str, value: int | None, least: int, most: int) -> None:
    if value is not None and not least <= value <= most:
        raise BadRequest(f"{name} {value!r} is out of range; use {least} to {most}", param=name)
