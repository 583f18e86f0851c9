"""The yardstick: a loop of llama_decode and a greedy sampler over the same library, in a process of its own
with nothing around it. Reads one JSON command a line on stdin and answers with one line on stdout."""

# llama_cpp ships no type stubs.
# pyright: reportUnknownMemberType=false, reportUnknownVariableType=false, reportUnknownArgumentType=false
# pyright: reportUnknownParameterType=false, reportArgumentType=false, reportAttributeAccessIssue=false

from __future__ import annotations

import argparse
import ctypes
import itertools
import json
import os
import sys
import time
from typing import Any

from llama_cpp import llama_cpp as lib


@lib.llama_log_callback
def _quiet(level: int, text: bytes, _: Any) -> None:
    """llama.cpp's log is of no interest here."""


class Vocabulary:
    """Counts tokens without loading weights."""

    def __init__(self, path: str) -> None:
        lib.llama_log_set(_quiet, ctypes.c_void_p(0))
        params = lib.llama_model_default_params()
        params.vocab_only = True
        self.model = lib.llama_model_load_from_file(os.fsencode(path), params)
        if not self.model:
            raise SystemExit(f"bench: {path!r} could not be loaded")

    def count(self, text: str) -> int:
        return len(tokenize(self.model, text))


def tokenize(model: Any, text: str) -> list[int]:
    raw = text.encode()
    buffer = (lib.llama_token * (len(raw) + 8))()
    vocab = lib.llama_model_get_vocab(model)
    return list(buffer[: lib.llama_tokenize(vocab, raw, len(raw), buffer, len(buffer), True, True)])


def common_prefix(a: list[int], b: list[int]) -> int:
    return sum(1 for _ in itertools.takewhile(lambda pair: pair[0] == pair[1], zip(a, b, strict=False)))


class Loop:
    """One context, filled and decoded by hand."""

    def __init__(self, path: str, *, threads: int, cells: int, streams: int, batch: int) -> None:
        lib.llama_log_set(_quiet, ctypes.c_void_p(0))
        lib.llama_backend_init()
        self.model = lib.llama_model_load_from_file(os.fsencode(path), lib.llama_model_default_params())
        params = lib.llama_context_default_params()
        params.n_ctx, params.n_batch, params.n_ubatch = cells, batch, batch
        params.n_seq_max = streams + 1
        params.n_threads = params.n_threads_batch = threads
        params.flash_attn_type = -1
        params.kv_unified = True
        params.no_perf = True
        self.context = lib.llama_init_from_model(self.model, params)
        self.memory = lib.llama_get_memory(self.context)
        self.n_batch = batch
        self.batch = lib.llama_batch_init(batch, 0, 1)
        self.sampler = lib.llama_sampler_chain_init(lib.llama_sampler_chain_default_params())
        lib.llama_sampler_chain_add(self.sampler, lib.llama_sampler_init_greedy())

    def _add(self, token: int, position: int, sequence: int, output: bool) -> None:
        i = self.batch.n_tokens
        self.batch.token[i], self.batch.pos[i] = token, position
        self.batch.n_seq_id[i], self.batch.seq_id[i][0] = 1, sequence
        self.batch.logits[i] = output
        self.batch.n_tokens += 1

    def _decode(self) -> None:
        if lib.llama_decode(self.context, self.batch) != 0:
            raise SystemExit("bench: llama_decode failed in the bare loop")

    def _prefill(self, tokens: list[int], sequence: int, start: int = 0) -> int:
        """Decode a prompt in chunks; returns its first sampled token."""
        for at in range(start, len(tokens), self.n_batch):
            self.batch.n_tokens = 0
            for position in range(at, min(at + self.n_batch, len(tokens))):
                self._add(tokens[position], position, sequence, position == len(tokens) - 1)
            self._decode()
        return lib.llama_sampler_sample(self.sampler, self.context, self.batch.n_tokens - 1)

    def clear(self) -> None:
        lib.llama_memory_clear(self.memory, False)

    def decode(self, prompts: list[str], n_predict: int) -> float:
        """Tokens a second of all streams together, from when each has its first token."""
        self.clear()
        tokens = [tokenize(self.model, prompt) for prompt in prompts]
        last = [self._prefill(ids, sequence) for sequence, ids in enumerate(tokens)]
        start = time.perf_counter()
        for step in range(n_predict - 1):
            self.batch.n_tokens = 0
            for sequence, ids in enumerate(tokens):
                self._add(last[sequence], len(ids) + step, sequence, True)
            self._decode()
            last = [lib.llama_sampler_sample(self.sampler, self.context, row) for row in range(len(tokens))]
        return (n_predict - 1) * len(prompts) / (time.perf_counter() - start)

    def first_tokens(self, prompts: list[str]) -> list[float]:
        """Seconds to the first token of each prompt; all but the first share cells with the first."""
        self.clear()
        held: list[int] = []
        waited: list[float] = []
        for prompt in prompts:
            start = time.perf_counter()
            tokens = tokenize(self.model, prompt)
            shared = common_prefix(held, tokens)
            sequence = 1 if held else 0
            lib.llama_memory_seq_cp(self.memory, 0, sequence, 0, shared)
            self._prefill(tokens, sequence, shared)
            waited.append(time.perf_counter() - start)
            held = held or tokens
            lib.llama_memory_seq_rm(self.memory, 1, -1, -1)
        return waited


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("model")
    for name in ("threads", "cells", "streams", "batch"):
        parser.add_argument(f"--{name}", type=int, required=True)
    options = parser.parse_args()
    loop = Loop(
        options.model,
        threads=options.threads,
        cells=options.cells,
        streams=options.streams,
        batch=options.batch,
    )
    for line in sys.stdin:
        name, *args = json.loads(line)
        methods = {"decode": loop.decode, "first_tokens": loop.first_tokens}
        print(json.dumps(methods[name](*args)), flush=True)


if __name__ == "__main__":
    main()
