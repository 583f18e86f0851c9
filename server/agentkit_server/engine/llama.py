"""llama.cpp, as much of it as the engine needs: a model, a context, a batch, a sampler chain.

The only file that touches ctypes, with quantize.py. Everything here belongs to one thread, except
`Vocabulary`, whose calls only read.
"""

# llama_cpp ships no type stubs: its ctypes signatures are unknown to the checker, here and nowhere else.
# pyright: reportUnknownMemberType=false, reportUnknownVariableType=false, reportUnknownArgumentType=false
# pyright: reportUnknownParameterType=false, reportArgumentType=false, reportAttributeAccessIssue=false
# pyright: reportAssignmentType=false

from __future__ import annotations

import ctypes
import logging
import mmap
import os
from collections import deque
from collections.abc import Callable
from typing import Any

import numpy as np
import numpy.typing as npt
from llama_cpp import llama_cpp as lib

from agentkit_server.engine.types import LoadSpec, ModelFacts, Pooling, Sampling
from agentkit_server.machine import cores

log = logging.getLogger("agentkit.llama")

Ints = npt.NDArray[np.int32]
Ints64 = npt.NDArray[np.int64]
Floats = npt.NDArray[np.float32]
Bytes = npt.NDArray[np.uint8]

POOLINGS: dict[int, Pooling] = {0: "none", 1: "mean", 2: "cls", 3: "last", 4: "rank"}
FLASH = {"auto": -1, "off": 0, "on": 1}
# ggml_type ids of the KV cache types that settings name.
CACHE_TYPES = {"f16": 1, "q4_0": 2, "q8_0": 8}
DRY_BREAKERS = (b"\n", b":", b'"', b"*")
NO_SLOT = 1
# Below this the logits overflow when they are divided by the temperature.
COLDEST = 1e-6


class LlamaError(Exception):
    """llama.cpp refused to load; the message carries its own last words."""


_last_words: deque[str] = deque(maxlen=12)
_LEVELS = {1: logging.DEBUG, 2: logging.DEBUG, 3: logging.WARNING, 4: logging.ERROR}


@lib.llama_log_callback
def _on_log(level: int, text: bytes, _: Any) -> None:
    line = text.decode("utf-8", "replace").rstrip()
    if level in (3, 4) and line:
        _last_words.append(line)
    if line:
        log.log(_LEVELS.get(level, logging.DEBUG), "%s", line)


class Vocabulary:
    """Text to tokens and back. Safe to use from any thread: llama.cpp only reads here."""

    def __init__(self, model: Any) -> None:
        self._vocab = lib.llama_model_get_vocab(model)
        self.size: int = lib.llama_vocab_n_tokens(self._vocab)
        self.eog = frozenset(t for t in range(self.size) if lib.llama_vocab_is_eog(self._vocab, t))
        self.add_bos: bool = lib.llama_vocab_get_add_bos(self._vocab)
        self._control = [
            t
            for t in range(self.size)
            if t in self.eog or lib.llama_vocab_get_attr(self._vocab, t) & lib.LLAMA_TOKEN_ATTR_CONTROL
        ]
        self._pieces: dict[int, bytes] = {}
        self._special_pieces: dict[int, bytes] = {}

    @property
    def pointer(self) -> Any:
        return self._vocab

    @property
    def takes_any_text(self) -> bool:
        """False where llama_tokenize ends the process on some bytes: there is no tokenizer, or one of
        sentencepiece's kind without a token for each byte."""
        kind: int = lib.llama_vocab_type(self._vocab)
        if kind != lib.LLAMA_VOCAB_TYPE_SPM:
            return kind != lib.LLAMA_VOCAB_TYPE_NONE
        is_byte = lib.LLAMA_TOKEN_ATTR_BYTE
        return sum(bool(lib.llama_vocab_get_attr(self._vocab, t) & is_byte) for t in range(self.size)) >= 256

    @property
    def tokenize_address(self) -> int:
        """Of the C function llama_tokenize, for libraries that call it themselves."""
        address = ctypes.cast(lib.llama_tokenize, ctypes.c_void_p).value
        assert address is not None
        return address

    @property
    def control(self) -> dict[str, int]:
        """Text -> id of the control tokens that have a text; the first of those that share one."""
        named: dict[str, int] = {}
        for token in self._control:
            named.setdefault(self.name(token), token)
        named.pop("", None)
        return named

    def written(self) -> list[bytes | None]:
        """What each token adds to the text, None for control tokens. Takes 0.1 s at 49k tokens and 0.6 s at
        262k, and fills no cache."""
        pieces: list[bytes | None] = [self._read_piece(token, False) for token in range(self.size)]
        for token in self._control:
            pieces[token] = None
        return pieces

    def tokenize(self, text: str, *, add_special: bool, parse_special: bool) -> list[int]:
        raw = text.encode("utf-8", "surrogatepass")
        room = len(raw) + 8
        buffer = (lib.llama_token * room)()
        count = lib.llama_tokenize(self._vocab, raw, len(raw), buffer, room, add_special, parse_special)
        if count < 0:
            buffer = (lib.llama_token * -count)()
            count = lib.llama_tokenize(self._vocab, raw, len(raw), buffer, -count, add_special, parse_special)
        return list(buffer[:count])

    def piece(self, token: int, *, special: bool) -> bytes:
        """Bytes of one token; control tokens are empty unless `special`."""
        pieces = self._special_pieces if special else self._pieces
        known = pieces.get(token)
        if known is None:
            known = pieces[token] = self._read_piece(token, special)
        return known

    def _read_piece(self, token: int, special: bool) -> bytes:
        buffer = ctypes.create_string_buffer(64)
        count = lib.llama_token_to_piece(self._vocab, token, buffer, 64, 0, special)
        if count < 0:
            buffer = ctypes.create_string_buffer(-count)
            count = lib.llama_token_to_piece(self._vocab, token, buffer, -count, 0, special)
        return buffer.raw[:count]

    def text(self, tokens: list[int], *, special: bool) -> str:
        return b"".join(self.piece(t, special=special) for t in tokens).decode("utf-8", "replace")

    def name(self, token: int) -> str:
        """Text of a special token as templates write it, "" for no token (-1)."""
        return "" if token < 0 else self.text([token], special=True)

    @property
    def bos(self) -> str:
        return self.name(lib.llama_vocab_bos(self._vocab))

    @property
    def eos(self) -> str:
        return self.name(lib.llama_vocab_eos(self._vocab))

    @property
    def pair(self) -> list[list[int]]:
        """What stands before, between and behind two texts that are judged together."""
        add_eos: bool = lib.llama_vocab_get_add_eos(self._vocab)
        add_sep: bool = lib.llama_vocab_get_add_sep(self._vocab)
        begin: list[int] = [lib.llama_vocab_bos(self._vocab)] if self.add_bos else []
        eos: list[int] = [lib.llama_vocab_eos(self._vocab)] if add_eos else []
        sep: list[int] = [lib.llama_vocab_sep(self._vocab)] if add_sep else []
        marks = (begin, eos + sep, eos or sep)
        return [[token for token in part if token >= 0] for part in marks]

    @property
    def fim(self) -> tuple[int, int, int] | None:
        prefix: int = lib.llama_vocab_fim_pre(self._vocab)
        suffix: int = lib.llama_vocab_fim_suf(self._vocab)
        middle: int = lib.llama_vocab_fim_mid(self._vocab)
        return None if min(prefix, suffix, middle) < 0 else (prefix, suffix, middle)


class Batch:
    """Rows for one llama_decode: (token, position, sequence, wants output), filled by slices.

    The arrays are ours and llama.cpp gets pointers into them, so that filling 512 rows is five numpy
    assignments and no ctypes call.
    """

    def __init__(self, capacity: int) -> None:
        self.capacity = capacity
        self.size = 0
        self.token = np.zeros(capacity, np.int32)
        self.pos = np.zeros(capacity, np.int32)
        self.seq = np.zeros(capacity, np.int32)
        self.output = np.zeros(capacity, np.int8)
        self._n_seq = np.ones(capacity, np.int32)
        base, step = self.seq.ctypes.data, self.seq.itemsize
        self._seq_rows = np.arange(base, base + step * capacity, step, dtype=np.uint64)
        raw = lib.llama_batch()
        raw.token = self.token.ctypes.data_as(ctypes.POINTER(lib.llama_token))
        raw.pos = self.pos.ctypes.data_as(ctypes.POINTER(lib.llama_pos))
        raw.n_seq_id = self._n_seq.ctypes.data_as(ctypes.POINTER(ctypes.c_int32))
        raw.seq_id = self._seq_rows.ctypes.data_as(ctypes.POINTER(ctypes.POINTER(lib.llama_seq_id)))
        raw.logits = self.output.ctypes.data_as(ctypes.POINTER(ctypes.c_int8))
        self._raw = raw

    @property
    def room(self) -> int:
        return self.capacity - self.size

    def clear(self) -> None:
        self.size = 0

    def add(self, tokens: Ints | list[int], start: int, seq: int, *, output: bool) -> int:
        """Append `tokens` at positions start, start+1, …; returns the row of the first."""
        row, end = self.size, self.size + len(tokens)
        self.token[row:end] = tokens
        self.pos[row:end] = np.arange(start, start + len(tokens), dtype=np.int32)
        self.seq[row:end] = seq
        self.output[row:end] = output
        self.size = end
        return row

    def raw(self) -> Any:
        self._raw.n_tokens = self.size
        return self._raw


class Candidates:
    """Room for the tokens that a sampler chain chooses from, used again for each choice."""

    def __init__(self, n_vocab: int) -> None:
        fields = [("id", np.int32), ("logit", np.float32), ("p", np.float32)]
        data: npt.NDArray[np.void] = np.zeros(n_vocab, fields)
        self._id, self._logit = data["id"], data["logit"]
        self._pointer = data.ctypes.data_as(ctypes.POINTER(lib.llama_token_data))
        self._array = lib.llama_token_data_array()

    def fill(self, ids: Ints64, logits: Floats) -> Any:
        """The C array of `ids` with `logits`; valid until the next call."""
        count = len(ids)
        self._id[:count], self._logit[:count] = ids, logits
        array = self._array
        array.data, array.size, array.selected, array.sorted = self._pointer, count, -1, False
        return array


class Chain:
    """A sampler chain in llama.cpp's order; owns its random state and its history of tokens."""

    def __init__(self, vocabulary: Vocabulary, sampling: Sampling, seed: int, n_ctx: int) -> None:
        params = lib.llama_sampler_chain_default_params()
        params.no_perf = True
        self._chain = lib.llama_sampler_chain_init(params)
        for link in _links(vocabulary, sampling, seed, n_ctx):
            lib.llama_sampler_chain_add(self._chain, link)

    def sample(self, context: Context, row: int) -> int:
        """Choose a token from output row `row` and remember it."""
        return lib.llama_sampler_sample(self._chain, context.pointer, row)

    def sample_among(self, candidates: Candidates, ids: Ints64, logits: Floats) -> int:
        """Choose one of `ids`, which have `logits`, and remember it."""
        array = candidates.fill(ids, logits)
        lib.llama_sampler_apply(self._chain, ctypes.byref(array))
        token: int = array.data[array.selected].id
        self.accept(token)
        return token

    def accept(self, token: int) -> None:
        """Remember a token that was not sampled here, for the penalties."""
        lib.llama_sampler_accept(self._chain, token)

    def free(self) -> None:
        if self._chain is not None:
            lib.llama_sampler_free(self._chain)
            self._chain = None


def _links(vocabulary: Vocabulary, s: Sampling, seed: int, n_ctx: int) -> list[Any]:
    """The samplers that `s` asks for. Those that would do nothing are left out: a full chain over
    49k candidates cost 0.6 ms a token, top-k 40 followed by the rest on 40 candidates 0.15 ms."""
    links: list[Any] = []
    if s.logit_bias:
        biases = (lib.llama_logit_bias * len(s.logit_bias))()
        for slot, (token, bias) in zip(biases, s.logit_bias.items(), strict=True):
            slot.token, slot.bias = token, bias
        links.append(lib.llama_sampler_init_logit_bias(vocabulary.size, len(biases), biases))
    if penalises(s):
        last_n = window(s.repeat_last_n, n_ctx)
        links.append(
            lib.llama_sampler_init_penalties(
                vocabulary.size, last_n, s.repeat_penalty, s.frequency_penalty, s.presence_penalty
            )
        )
    if s.dry_multiplier > 0:
        breakers = (ctypes.c_char_p * len(DRY_BREAKERS))(*DRY_BREAKERS)
        last_n = window(s.dry_penalty_last_n, n_ctx)
        links.append(
            lib.llama_sampler_init_dry(
                vocabulary.pointer,
                s.dry_multiplier,
                s.dry_base,
                s.dry_allowed_length,
                last_n,
                breakers,
                len(breakers),
            )
        )
    if is_greedy(s):
        return [*links, lib.llama_sampler_init_greedy()]
    if s.mirostat:
        return links + _mirostat(vocabulary, s, seed)
    return links + _truncation(s, seed) + [lib.llama_sampler_init_dist(seed)]


def is_greedy(s: Sampling) -> bool:
    return s.temperature < COLDEST


def truncates(s: Sampling) -> bool:
    """Does what may be chosen depend on all candidates together, and not on each by itself?"""
    if is_greedy(s):
        return False
    cuts = s.top_k > 0 or s.top_p < 1 or s.min_p > 0 or s.typical_p < 1 or s.xtc_probability > 0
    return cuts or s.mirostat != 0


def window(last_n: int, n_ctx: int) -> int:
    """Tokens that a penalty looks back on. llama.cpp allocates as many, so never more than there can be."""
    return n_ctx if last_n < 0 else min(last_n, n_ctx)


def remembered(s: Sampling, n_ctx: int) -> int:
    """How many tokens of the prompt the samplers must know."""
    penalties = window(s.repeat_last_n, n_ctx) if penalises(s) else 0
    return max(penalties, window(s.dry_penalty_last_n, n_ctx) if s.dry_multiplier > 0 else 0)


def penalises(s: Sampling) -> bool:
    changes = s.repeat_penalty != 1.0 or s.frequency_penalty != 0.0 or s.presence_penalty != 0.0
    return changes and s.repeat_last_n != 0


def _mirostat(vocabulary: Vocabulary, s: Sampling, seed: int) -> list[Any]:
    temperature = lib.llama_sampler_init_temp(s.temperature)
    if s.mirostat == 1:
        return [
            temperature,
            lib.llama_sampler_init_mirostat(vocabulary.size, seed, s.mirostat_tau, s.mirostat_eta, 100),
        ]
    return [temperature, lib.llama_sampler_init_mirostat_v2(seed, s.mirostat_tau, s.mirostat_eta)]


def _truncation(s: Sampling, seed: int) -> list[Any]:
    links: list[Any] = []
    if s.top_k > 0:
        links.append(lib.llama_sampler_init_top_k(s.top_k))
    if s.typical_p < 1:
        links.append(lib.llama_sampler_init_typical(s.typical_p, 1))
    if s.top_p < 1:
        links.append(lib.llama_sampler_init_top_p(s.top_p, 1))
    if s.min_p > 0:
        links.append(lib.llama_sampler_init_min_p(s.min_p, 1))
    if s.xtc_probability > 0:
        links.append(lib.llama_sampler_init_xtc(s.xtc_probability, s.xtc_threshold, 1, seed))
    if s.temperature != 1:
        links.append(lib.llama_sampler_init_temp(s.temperature))
    return links


class Context:
    """A loaded model with one unified KV cache.

    Raises LlamaError when the file cannot be loaded or the cache cannot be allocated.
    """

    def __init__(self, spec: LoadSpec, on_progress: Callable[[float], None]) -> None:
        lib.llama_log_set(_on_log, ctypes.c_void_p(0))
        lib.llama_backend_init()
        self.spec = spec
        self.threads = spec.n_threads or cores()
        self._model: Any = self._load_model(spec, on_progress)
        self.vocabulary = Vocabulary(self._model)
        self.candidates = Candidates(self.vocabulary.size)
        # A recurrent state is one value, not a row per token: it can be copied whole or not at all.
        self.whole_only: bool = lib.llama_model_is_recurrent(self._model) or lib.llama_model_is_hybrid(
            self._model
        )
        self.pointer: Any = self._make_context(spec)
        self._memory = lib.llama_get_memory(self.pointer)
        self.n_embd: int = lib.llama_model_n_embd_out(self._model)
        self.pooling: Pooling = POOLINGS.get(lib.llama_pooling_type(self.pointer), "none")
        scores: int = lib.llama_model_n_cls_out(self._model)
        self._n_pooled = scores if self.pooling == "rank" else self.n_embd

    def _load_model(self, spec: LoadSpec, on_progress: Callable[[float], None]) -> Any:
        params = lib.llama_model_default_params()
        params.n_gpu_layers = spec.n_gpu_layers if lib.llama_supports_gpu_offload() else 0
        params.main_gpu = spec.main_gpu
        params.load_mode = lib.LLAMA_LOAD_MODE_MMAP if spec.use_mmap else lib.LLAMA_LOAD_MODE_NONE
        params.use_extra_bufts = spec.use_extra_bufts

        @lib.llama_progress_callback
        def report(fraction: float, _: Any) -> bool:
            on_progress(fraction)
            return True

        params.progress_callback = report
        model = lib.llama_model_load_from_file(os.fsencode(spec.path), params)
        if not model:
            raise LlamaError(_said("the model file could not be loaded"))
        return model

    def _make_context(self, spec: LoadSpec) -> Any:
        params = lib.llama_context_default_params()
        params.n_ctx = spec.n_cells
        params.n_batch = params.n_ubatch = spec.n_batch
        params.n_seq_max = spec.n_seq_max
        # Room for one output row a sequence: the default (n_batch rows) reserves 100 MB at 49k tokens.
        params.n_outputs_max = max(spec.n_batch, spec.n_seq_max) if spec.embedding else spec.n_seq_max
        params.n_threads = params.n_threads_batch = self.threads
        params.type_k = params.type_v = CACHE_TYPES[spec.cache_type]
        params.flash_attn_type = FLASH[spec.flash_attention]
        params.kv_unified = True
        params.swa_full = True
        params.embeddings = spec.embedding
        params.no_perf = True
        context = lib.llama_init_from_model(self._model, params)
        if not context:
            raise LlamaError(_said("the context could not be allocated"))
        return context

    @property
    def gpu_layers(self) -> int:
        """Layers that a GPU computes, the output layer counted."""
        if not lib.llama_supports_gpu_offload():
            return 0
        most: int = lib.llama_model_n_layer(self._model) + 1
        return most if self.spec.n_gpu_layers < 0 else min(self.spec.n_gpu_layers, most)

    def facts(self) -> ModelFacts:
        layers: int = lib.llama_model_n_layer(self._model) + 1
        weights: int = lib.llama_model_size(self._model)
        v = self.vocabulary
        return ModelFacts(
            n_vocab=v.size,
            n_ctx=self.spec.n_ctx,
            n_ctx_train=lib.llama_model_n_ctx_train(self._model),
            n_embd=self.n_embd,
            n_params=lib.llama_model_n_params(self._model),
            weights_bytes=weights,
            pooling=self.pooling,
            bos=v.bos,
            eos=v.eos,
            eog=sorted(v.eog),
            add_bos=v.add_bos,
            fim=v.fim,
            pair=v.pair,
            gpu_layers=self.gpu_layers,
            gpu_bytes=weights * self.gpu_layers // layers,
            system_info=lib.llama_print_system_info().decode(),
            use_extra_bufts=self.spec.use_extra_bufts,
            control=v.control,
        )

    def decode(self, batch: Batch) -> int:
        """Compute the batch. 0 = done, 1 = no free cells (nothing changed), 2 = aborted, < 0 = failed."""
        return lib.llama_decode(self.pointer, batch.raw())

    def load_adapter(self, path: str) -> Any:
        """A LoRA adapter for `use_adapters`. Raises LlamaError when it does not fit the model."""
        _last_words.clear()
        adapter = lib.llama_adapter_lora_init(self._model, os.fsencode(path))
        if not adapter:
            why = _last_words[-1] if _last_words else "llama.cpp does not say why"
            raise LlamaError(why.rpartition("failed to apply lora adapter: ")[2])
        return adapter

    def free_adapter(self, adapter: Any) -> None:
        """`adapter` must not be in use."""
        lib.llama_adapter_lora_free(adapter)

    def use_adapters(self, adapters: list[tuple[Any, float]]) -> None:
        """Add these (no one twice) to the model, each times its number, from the next decode on. That one
        takes some milliseconds longer: llama.cpp plans its work anew."""
        count = len(adapters)
        pointers = (lib.llama_adapter_lora_p_ctypes * count)(*(adapter for adapter, _ in adapters))
        scales = (ctypes.c_float * count)(*(scale for _, scale in adapters))
        lib.llama_set_adapters_lora(self.pointer, pointers, count, scales)

    def set_threads(self, count: int) -> None:
        lib.llama_set_n_threads(self.pointer, count, count)

    def logits(self, row: int) -> Floats:
        """View (n_vocab,) of an output row; valid until the next decode, writes reach the sampler."""
        pointer = lib.llama_get_logits_ith(self.pointer, row)
        return np.ctypeslib.as_array(pointer, shape=(self.vocabulary.size,))

    def token_embedding(self, row: int) -> Floats:
        """Copy (n_embd,) of one token's embedding, for models without pooling."""
        pointer = lib.llama_get_embeddings_ith(self.pointer, row)
        return np.ctypeslib.as_array(pointer, shape=(self.n_embd,)).copy()

    def pooled_embedding(self, seq: int) -> Floats:
        """Copy of a whole sequence, pooled as the model says: (n_embd,), or the scores of a rank head."""
        pointer = lib.llama_get_embeddings_seq(self.pointer, seq)
        return np.ctypeslib.as_array(pointer, shape=(self._n_pooled,)).copy()

    def copy_cells(self, source: int, target: int, length: int) -> None:
        """Let `target` share the first `length` cells of `source`; nothing is computed or moved."""
        lib.llama_memory_seq_cp(self._memory, source, target, 0, -1 if self.whole_only else length)

    def save_state(self, seq: int) -> Bytes:
        """A copy of everything that `seq` holds, shared cells included.

        In pages of its own: malloc would keep the megabytes of a freed copy for itself.
        """
        pages = mmap.mmap(-1, max(1, lib.llama_state_seq_get_size(self.pointer, seq)))
        state = np.frombuffer(pages, np.uint8)
        address = state.ctypes.data_as(ctypes.POINTER(ctypes.c_uint8))
        written = lib.llama_state_seq_get_data(self.pointer, address, state.nbytes, seq)
        return state[:written]

    def restore_state(self, seq: int, state: Bytes) -> bool:
        """Fill `seq`, which holds nothing, with a saved state. False when the cells for it are lacking."""
        address = state.ctypes.data_as(ctypes.POINTER(ctypes.c_uint8))
        return lib.llama_state_seq_set_data(self.pointer, address, state.nbytes, seq) > 0

    def drop_cells(self, seq: int, start: int = 0) -> bool:
        """Take cells from `start` on away from `seq`. False when the model cannot remove a part."""
        if self._memory is None:
            return True
        return lib.llama_memory_seq_rm(self._memory, seq, start, -1)

    def chain(self, sampling: Sampling, seed: int) -> Chain:
        return Chain(self.vocabulary, sampling, seed, self.spec.n_ctx)

    def free(self) -> None:
        if self.pointer is not None:
            lib.llama_free(self.pointer)
            lib.llama_model_free(self._model)
            self.pointer = self._model = None


def _said(what: str) -> str:
    words = "; ".join(_last_words)
    return f"{what}: {words}" if words else what
