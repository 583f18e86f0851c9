"""A model whose state is one value, not a row per token: a prefix is reused whole or not at all."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from support.tiny_mamba import write_tiny_mamba

from agentkit_server.engine.llama import Context
from agentkit_server.engine.types import LoadSpec

from .conftest import Engine

PROMPT = list(range(5, 45))


@pytest.fixture
def mamba(tmp_path: Path) -> Iterator[Engine]:
    path = write_tiny_mamba(tmp_path / "mamba.gguf")
    spec = LoadSpec(path=str(path), n_ctx=128, n_cells=512, n_seq_max=4, n_threads=1)
    engine = Engine(Context(spec, lambda _: None))
    engine.start()
    yield engine
    engine.stop()
    engine.context.free()


def test_a_state_that_was_reused_gives_the_tokens_of_one_computed_afresh(mamba: Engine) -> None:
    assert mamba.context.whole_only
    first = mamba.run(PROMPT, max_tokens=10, ignore_eos=True)
    longer = PROMPT + first.tokens + [7, 8]
    warm = mamba.run(longer, max_tokens=10, ignore_eos=True)
    assert warm.end.usage.cached_tokens == len(PROMPT) + 9
    mamba.drop_cache()
    cold = mamba.run(longer, max_tokens=10, ignore_eos=True)
    assert cold.end.usage.cached_tokens == 0
    assert warm.tokens == cold.tokens


def test_a_state_can_be_gone_on_from_more_than_once(mamba: Engine) -> None:
    first = mamba.run(PROMPT, max_tokens=4, ignore_eos=True)
    stem = PROMPT + first.tokens[:-1]
    for ending in ([7, 8], [9, 10]):
        assert mamba.run(stem + ending, max_tokens=3, ignore_eos=True).end.usage.cached_tokens == len(stem)


def test_a_prompt_that_differs_earlier_is_computed_afresh(mamba: Engine) -> None:
    mamba.run(PROMPT, max_tokens=4, ignore_eos=True)
    other = [*PROMPT[:20], 60, *PROMPT[21:]]
    assert mamba.run(other, max_tokens=2, ignore_eos=True).end.usage.cached_tokens == 0


def test_a_parked_state_gives_the_tokens_of_one_computed_afresh(mamba: Engine) -> None:
    first = mamba.run(PROMPT, max_tokens=10, ignore_eos=True)
    for i in range(5):
        mamba.run([50 + i] * 120, max_tokens=1, ignore_eos=True)
    assert mamba.stats().parked_bytes > 0
    longer = PROMPT + first.tokens + [7, 8]
    warm = mamba.run(longer, max_tokens=10, ignore_eos=True)
    assert warm.end.usage.cached_tokens == len(PROMPT) + 9
    mamba.drop_cache()
    assert mamba.run(longer, max_tokens=10, ignore_eos=True).tokens == warm.tokens


def test_completions_of_one_prompt_share_its_state(mamba: Engine) -> None:
    request = mamba.submit(PROMPT, n=3, max_tokens=5, ignore_eos=True)
    answers = [mamba.collect(request, i) for i in range(3)]
    assert answers[0].tokens == answers[1].tokens == answers[2].tokens
    assert mamba.stats().tokens_computed <= len(PROMPT) - 1 + 3 * 5


def test_a_vocabulary_that_cannot_spell_every_byte_refuses_grammars(mamba: Engine) -> None:
    failed = mamba.failure(mamba.submit(PROMPT, grammar='start: "a"'))
    assert failed.code == "invalid_grammar"
    assert "no token for some bytes" in failed.message
    assert len(mamba.run(PROMPT, max_tokens=3, ignore_eos=True).tokens) == 3


def test_more_requests_than_states_all_finish(mamba: Engine) -> None:
    requests = [mamba.submit([5 + i, *PROMPT], max_tokens=6, ignore_eos=True) for i in range(10)]
    assert all(len(mamba.collect(r).tokens) == 6 for r in requests)
    assert mamba.drop_cache().cells_used == 0
