"""What the matcher says in its different ways is the same."""

from __future__ import annotations

import random

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from agentkit_server.engine.ahead import Ahead
from agentkit_server.engine.constraint import Constraint, compile_grammar
from agentkit_server.runner.byte_tokens import byte_tokenizer

CONTROL, END = 3, 258
SIZE = 256 + CONTROL
GRAMMARS = [
    'start: %json {"type": "object", "properties": {"a": {"type": "integer"}, "b": {"enum": ["x", "yz"]}}}',
    'start: ("get" | "get_all" | /[0-9]{2,4}/) (<[256]> "!" | <[257]>)?',
    'start: TEXT <[257]> "done"\nTEXT: /(?s:.{0,5})/',
]


def constraint(grammar: str, ends: frozenset[int] = frozenset({END})) -> Constraint:
    return Constraint(compile_grammar(byte_tokenizer(CONTROL, (END,)), grammar), ends, SIZE)


@given(st.sampled_from(GRAMMARS), st.randoms(use_true_random=False))
def test_the_mask_holds_exactly_the_tokens_that_can_be_taken(grammar: str, chance: random.Random) -> None:
    walker = constraint(grammar)
    for _ in range(12):
        ids = np.flatnonzero(walker.mask()).tolist()
        assert ids == [token for token in range(SIZE) if walker.copy().take(token)]
        few = walker.few()
        assert few is None or few.tolist() == ids
        assert (END in ids) == walker.accepting
        token = chance.choice(ids)
        assert walker.take(token)
        if token == END or walker.complete:
            break


@given(st.sampled_from(GRAMMARS), st.randoms(use_true_random=False))
def test_forced_tokens_are_the_only_ones_that_could_be_taken(grammar: str, chance: random.Random) -> None:
    walker = constraint(grammar)
    for _ in range(8):
        before = walker.copy()
        for token in walker.forced():
            assert np.flatnonzero(before.mask()).tolist() == [token]
            assert before.take(token)
        if walker.complete:
            break
        token = chance.choice(np.flatnonzero(walker.mask()).tolist())
        walker.take(token)
        if token == END:
            break


def test_a_token_that_is_refused_changes_nothing() -> None:
    walker = constraint('start: "ab"')
    assert not walker.take(ord("x"))
    assert not walker.take(END)
    assert walker.forced() == [ord("a"), ord("b")]
    assert walker.complete


def test_where_ends_are_ignored_they_are_tokens_like_others() -> None:
    walker = constraint("start: /a*/").copy(ignore_ends=True)
    assert not walker.ends(END)
    assert constraint("start: /a*/").ends(END)


def test_masks_computed_ahead_are_there_and_errors_come_back() -> None:
    ahead = Ahead()
    walkers = [constraint(grammar) for grammar in GRAMMARS]
    ahead.begin(walkers)
    ahead.finish()
    assert [walker.mask().any() for walker in walkers] == [True, True, True]
    ahead.finish()

    class Broken(Constraint):
        def prepare(self) -> None:
            raise OSError("no memory")

    ahead.begin([Broken(compile_grammar(byte_tokenizer(CONTROL, (END,)), GRAMMARS[0]), frozenset(), SIZE)])
    with pytest.raises(OSError, match="no memory"):
        ahead.finish()
    ahead.close()
