"""One completion in the making: its tokens, the cells they hold, and what ends it."""

from __future__ import annotations

import random
import time
from dataclasses import dataclass, field

import msgspec
import numpy as np
import numpy.typing as npt

from agentkit_server.engine.constraint import Constraint
from agentkit_server.engine.distinct import Guard
from agentkit_server.engine.llama import Chain, Context, is_greedy, remembered, truncates
from agentkit_server.engine.text import TextStream
from agentkit_server.engine.types import Delta, Generate, Timings, TokenLogprob, Usage

Ints = npt.NDArray[np.int32]

MOST_TOGETHER = 32
"""Tokens that a decoding sequence computes at once. After more forced ones than this it prefills, so that
others are not held up."""


class IntRow:
    """A growing array of int32; `view` costs nothing."""

    def __init__(self, values: Ints | list[int] | None = None) -> None:
        start = np.asarray([] if values is None else values, np.int32)
        self._data = np.empty(max(64, len(start) + 256), np.int32)
        self._data[: len(start)] = start
        self._size = len(start)

    def __len__(self) -> int:
        return self._size

    @property
    def view(self) -> Ints:
        return self._data[: self._size]

    def extend(self, values: Ints | list[int]) -> None:
        end = self._size + len(values)
        if end > len(self._data):
            bigger = np.empty(max(end, 2 * len(self._data)), np.int32)
            bigger[: self._size] = self.view
            self._data = bigger
        self._data[self._size : end] = values
        self._size = end

    def cut(self, size: int) -> Ints:
        """Shorten to `size`; returns what was cut."""
        tail = self._data[size : self._size].copy()
        self._size = min(size, self._size)
        return tail


@dataclass
class Unsaid:
    """What the next Delta of a sequence will carry."""

    text: str = ""
    tokens: list[int] = field(default_factory=list[int])
    ends: list[int] = field(default_factory=list[int])
    logprobs: list[TokenLogprob] = field(default_factory=list[TokenLogprob])
    marks: list[tuple[int, int]] = field(default_factory=list[tuple[int, int]])

    def delta(self, request: Generate, index: int, cached_tokens: int) -> Delta:
        return Delta(
            id=request.id,
            index=index,
            text=self.text,
            tokens=self.tokens,
            logprobs=None if request.logprobs is None else self.logprobs,
            ends=self.ends if len(self.tokens) > 1 else [],
            marks=self.marks,
            cached_tokens=cached_tokens,
        )


@dataclass(eq=False)
class Sequence:
    """State of completion `index` of `request`.

    `tokens` are prompt and generated tokens; the first `computed` of them have cells. With no more than
    `due` left to compute the sequence decodes: the row of the last gives the next one. With more it
    prefills. `due` is one, but for the step after forced tokens. The last token of a prompt is thus always
    computed on its own, whether the rest came from the cache or not, and a repeated request gives the same
    tokens.
    """

    request: Generate
    index: int
    chain: Chain
    greedy: bool
    """The next token is the likeliest, whatever came before."""
    remembers: bool
    """The samplers look at earlier tokens."""
    tokens: IntRow
    text: TextStream
    arrived_ns: int
    constraint: Constraint | None = None
    tries_first: bool = False
    """Sampling first and computing a mask only for a token that is refused is exact."""
    banned: tuple[int, ...] = ()
    """Ids that the logit biases forbid."""
    cells: IntRow = field(default_factory=IntRow)
    adapters: int = 0
    """The set of adapters that it is computed with."""
    seq_id: int = -1
    due: int = 1
    generated: int = 0
    cached_tokens: int = 0
    shifted: int = 0
    admitted_ns: int = 0
    first_token_ns: int = 0
    said_ns: int = 0
    """When the last Delta went out."""
    unsaid: Unsaid = field(default_factory=Unsaid)
    pin: str = ""
    """Of the request, until it is let go of."""
    carried: dict[str, float] = field(default_factory=dict[str, float])
    """The pins of the prefix that this continues in place, as `Cached.pins`."""

    @property
    def computed(self) -> int:
        return len(self.cells)

    @property
    def remaining(self) -> int:
        return len(self.tokens) - len(self.cells)

    @property
    def decoding(self) -> bool:
        return self.remaining <= self.due

    def unpin(self, pin: str) -> None:
        """Leave nothing pinned as `pin`."""
        self.pin = "" if self.pin == pin else self.pin
        self.carried.pop(pin, None)

    def usage(self) -> Usage:
        return Usage(len(self.request.prompt), self.cached_tokens, self.generated)

    def timings(self) -> Timings:
        now = time.monotonic_ns()
        admitted = self.admitted_ns or now
        first = self.first_token_ns or now
        return Timings(admitted - self.arrived_ns, first - admitted, now - first)

    def shift(self) -> int:
        """Forget the older half after `keep` tokens; returns the length of the cells that stay right.

        The rest is computed again at its new positions rather than moved: moving changes the positions
        inside cells that other sequences may share, and not every model can. It costs one prefill of
        half a context each time half a context has been generated.
        """
        keep = min(max(self.request.keep, 0), len(self.tokens) // 2)
        drop = max(1, (len(self.tokens) - keep) // 2)
        tail = self.tokens.view[keep + drop :].copy()
        self.tokens.cut(keep)
        self.tokens.extend(tail)
        self.shifted += drop
        self.due = 1
        return keep


def start_sequences(
    context: Context, request: Generate, arrived_ns: int, constraint: Constraint | None = None
) -> list[Sequence]:
    """The `n` sequences of a request, each with its own sampler and its own copy of `constraint`."""
    if constraint is not None and request.distinct is not None:
        vocabulary = context.vocabulary
        guard = Guard(request.distinct, lambda token: vocabulary.piece(token, special=False))
        constraint = constraint.copy(guard=guard)
    base = request.sampling.seed if request.sampling.seed >= 0 else random.getrandbits(31)
    return [
        _start(context, request, i, (base + i) & 0x7FFFFFFF, arrived_ns, constraint) for i in range(request.n)
    ]


def _start(
    context: Context,
    request: Generate,
    index: int,
    seed: int,
    arrived_ns: int,
    constraint: Constraint | None,
) -> Sequence:
    sampling = request.sampling
    if request.ignore_eos:
        bias = {**sampling.logit_bias, **dict.fromkeys(context.vocabulary.eog, float("-inf"))}
        sampling = msgspec.structs.replace(sampling, logit_bias=bias)
    chain = context.chain(sampling, seed)
    looks_back = remembered(sampling, context.spec.n_ctx)
    if looks_back:
        for token in request.prompt[-looks_back:]:
            chain.accept(token)
    return Sequence(
        request=request,
        index=index,
        chain=chain,
        greedy=is_greedy(sampling) and not looks_back and not sampling.logit_bias,
        remembers=looks_back > 0,
        tokens=IntRow(request.prompt),
        text=TextStream(request.stop),
        arrived_ns=arrived_ns,
        pin=request.pin,
        adapters=request.adapters,
        constraint=constraint and constraint.copy(ignore_ends=request.ignore_eos),
        tries_first=not looks_back and not truncates(sampling),
        banned=tuple(token for token, bias in sampling.logit_bias.items() if bias == float("-inf")),
    )
