"""From a row of logits to a token that the constraint allows, and the log-probabilities that go with it.

Costs on smollm2 (49k tokens), which decide the order below: checking one token 1 to 25 µs, a mask 20 to
150 µs, a chain over the whole vocabulary 100 to 600 µs, over a few hundred ids 10 µs.
"""

from __future__ import annotations

import math

import numpy as np

from agentkit_server.engine.constraint import Constraint, ConstraintBroken
from agentkit_server.engine.llama import Context, Floats, Vocabulary
from agentkit_server.engine.sequence import Sequence
from agentkit_server.engine.types import TokenLogprob, TopLogprob

NEVER = np.finfo(np.float32).min
"""Added to the logit of what must not be chosen."""


class NoNumbers(Exception):
    """The logits are not numbers: broken weights, or an overflow in the model."""


class NothingAllowed(Exception):
    """No token is left: the grammar ends here, or the logit biases forbid all it allows."""


def next_tokens(context: Context, sequence: Sequence, row: int) -> list[int]:
    """The next token of `sequence` from output row `row`, and all that its constraint forces after it. The
    constraint has moved on, the log-probability is noted.

    Raises NoNumbers, NothingAllowed, ConstraintBroken.
    """
    constraint, alternatives = sequence.constraint, sequence.request.logprobs
    if alternatives is not None:
        # A mask may be written into the row. And what is forced has no row: here every token is sampled.
        logits = context.logits(row).copy()
        token = _choose(context, sequence, row)
        sequence.unsaid.logprobs.append(log_probability(context.vocabulary, logits, token, alternatives))
        return [token]
    if constraint is None:
        return [_choose(context, sequence, row)]
    if not sequence.generated and (forced := _forced(sequence, constraint)):
        return forced
    token = _choose(context, sequence, row)
    return [token] if constraint.ends(token) else [token, *_forced(sequence, constraint)]


def _forced(sequence: Sequence, constraint: Constraint) -> list[int]:
    tokens = constraint.forced()
    if sequence.remembers:
        for token in tokens:
            sequence.chain.accept(token)
    return tokens


def _choose(context: Context, sequence: Sequence, row: int) -> int:
    constraint = sequence.constraint
    if constraint is None:
        return _free(context, sequence, row)
    if sequence.tries_first:
        # What is refused is sampled again among the allowed, which leaves each with the share that it would
        # have had if the others had never been there.
        token = _free(context, sequence, row)
        if constraint.take(token):
            return token
    while True:
        token = _among_allowed(context, sequence, constraint, row)
        if constraint.take(token):
            return token
        if not constraint.excludes(token):
            raise ConstraintBroken(f"token {token} is in its mask and is refused")


def _free(context: Context, sequence: Sequence, row: int) -> int:
    """Greedy without biases or penalties is an argmax over the row: 0.02 ms at 49k tokens where filling
    llama.cpp's candidate array for its own greedy sampler takes 0.15 ms."""
    logits = context.logits(row)
    token = int(logits.argmax()) if sequence.greedy else sequence.chain.sample(context, row)
    if math.isnan(logits[token]):
        raise NoNumbers
    return token


def _among_allowed(context: Context, sequence: Sequence, constraint: Constraint, row: int) -> int:
    logits = context.logits(row)
    ids = constraint.few()
    if ids is None:
        return _masked(context, sequence, constraint, row)
    if sequence.banned:
        ids = ids[~np.isin(ids, sequence.banned)]
    if not len(ids):
        raise NothingAllowed
    values = logits[ids]
    if np.isnan(values).any():
        raise NoNumbers
    if sequence.greedy:
        return int(ids[values.argmax()])
    return sequence.chain.sample_among(context.candidates, ids, values)


def _masked(context: Context, sequence: Sequence, constraint: Constraint, row: int) -> int:
    logits, mask = context.logits(row), constraint.mask()
    if sequence.banned:
        mask[list(sequence.banned)] = False
        if not mask.any():
            raise NothingAllowed
    # Arithmetic over the whole row takes 16 µs whatever the mask; a masked copy of -inf takes 100 where
    # allowed and forbidden ids alternate.
    penalty = (~mask).astype(np.float32)
    penalty *= NEVER
    with np.errstate(over="ignore"):
        # A row that is masked again, for a token that was refused since: beyond NEVER there is -inf.
        np.add(logits, penalty, out=logits)
    return _free(context, sequence, row)


def log_probability(vocabulary: Vocabulary, logits: Floats, token: int, top: int) -> TokenLogprob:
    """`token` and the `top` likeliest tokens, of the model's own distribution (before temperature)."""
    peak = logits.max()
    norm = float(peak + np.log(np.exp(logits - peak).sum()))
    best: list[int] = []
    top = min(top, len(logits) - 1)
    if top:
        likely = np.argpartition(-logits, top)[:top]
        best = [int(t) for t in likely[np.argsort(-logits[likely], kind="stable")]]
    chosen = _alternative(vocabulary, token, float(logits[token]) - norm)
    return TokenLogprob(
        chosen.token,
        token,
        chosen.logprob,
        chosen.bytes,
        [_alternative(vocabulary, t, float(logits[t]) - norm) for t in best],
    )


def _alternative(vocabulary: Vocabulary, token: int, logprob: float) -> TopLogprob:
    raw = vocabulary.piece(token, special=True)
    return TopLogprob(raw.decode("utf-8", "replace"), token, logprob, list(raw))
