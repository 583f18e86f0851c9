"""Single requests on the real model: sampling, stops, limits, errors."""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np
import pytest

from agentkit_server.engine import stepper
from agentkit_server.engine.llama import Batch
from agentkit_server.engine.types import Embed, Sampling

from .conftest import Engine

CHAT = "<|im_start|>user\n{}<|im_end|>\n<|im_start|>assistant\n"
SKY = CHAT.format("Why is the sky blue?")


def bare_greedy(engine: Engine, prompt: list[int], count: int) -> list[int]:
    """The plainest loop over llama_decode: whole prompt but the last token, then one by one."""
    context, batch = engine.context, Batch(512)
    batch.add(prompt[:-1], 0, 63, output=False)
    assert context.decode(batch) == 0
    out: list[int] = []
    token, position = prompt[-1], len(prompt) - 1
    for _ in range(count):
        batch.clear()
        batch.add([token], position, 63, output=True)
        assert context.decode(batch) == 0
        token, position = int(context.logits(0).argmax()), position + 1
        out.append(token)
    context.drop_cells(63)
    return out


def test_greedy_gives_the_tokens_of_a_bare_decode_loop(engine: Engine) -> None:
    prompt = engine.tokens(SKY)
    expected = bare_greedy(engine, prompt, 24)
    assert engine.run(prompt, max_tokens=24).tokens == expected


def test_text_and_tokens_of_an_answer_say_the_same(engine: Engine) -> None:
    answer = engine.run(SKY, max_tokens=30)
    assert answer.text == engine.context.vocabulary.text(answer.tokens, special=False)
    assert "sky" in answer.text
    assert answer.end.usage.completion_tokens == 30
    assert answer.end.reason == "length"


def test_a_finished_answer_stops_at_the_end_of_generation_token(engine: Engine) -> None:
    answer = engine.run(CHAT.format("Say only the word yes."), max_tokens=200)
    assert answer.end.reason == "stop"
    assert not set(answer.tokens) & engine.context.vocabulary.eog
    assert "<|im_end|>" not in answer.text


def test_ignore_eos_goes_on_to_the_token_limit(engine: Engine) -> None:
    answer = engine.run(CHAT.format("Say only the word yes."), max_tokens=120, ignore_eos=True)
    assert answer.end.reason == "length"
    assert len(answer.tokens) == 120


@pytest.mark.parametrize(
    "sampling", [Sampling(seed=7), Sampling(seed=7, top_k=0, top_p=1.0, temperature=1.2)]
)
def test_the_same_seed_gives_the_same_tokens_whether_or_not_the_prompt_is_cached(
    engine: Engine, sampling: Sampling
) -> None:
    first = engine.run(SKY, sampling=sampling, max_tokens=40)
    again = [engine.run(SKY, sampling=sampling, max_tokens=40) for _ in range(3)]
    assert first.end.usage.cached_tokens == 0
    assert all(a.end.usage.cached_tokens == len(engine.tokens(SKY)) - 1 for a in again)
    assert [a.tokens for a in again] == [first.tokens] * 3
    engine.drop_cache()
    assert engine.run(SKY, sampling=sampling, max_tokens=40).tokens == first.tokens


def test_other_seeds_and_no_seed_give_other_tokens(engine: Engine) -> None:
    seeds = [Sampling(seed=1), Sampling(seed=2), Sampling(), Sampling()]
    answers = {tuple(engine.run(SKY, sampling=s, max_tokens=40).tokens) for s in seeds}
    assert len(answers) == 4


@pytest.mark.parametrize(
    "sampling",
    [
        Sampling(top_k=1, seed=3),
        Sampling(min_p=1.0, top_k=0, seed=3),
        Sampling(top_p=0.0, top_k=0, seed=3),
        Sampling(temperature=0, seed=3),
    ],
    ids=["top_k=1", "min_p=1", "top_p=0", "temperature=0"],
)
def test_samplers_that_leave_only_the_likeliest_token_are_greedy(engine: Engine, sampling: Sampling) -> None:
    assert engine.run(SKY, sampling=sampling, max_tokens=16).tokens == engine.run(SKY, max_tokens=16).tokens


@pytest.mark.parametrize(
    "sampling",
    [
        Sampling(seed=5, typical_p=0.2, top_k=0),
        Sampling(seed=5, mirostat=1),
        Sampling(seed=5, mirostat=2),
        Sampling(seed=5, xtc_probability=1.0, xtc_threshold=0.01, top_k=0),
    ],
    ids=["typical", "mirostat1", "mirostat2", "xtc"],
)
def test_every_other_sampler_changes_what_is_chosen(engine: Engine, sampling: Sampling) -> None:
    plain = engine.run(SKY, sampling=Sampling(seed=5, top_k=0, top_p=1.0), max_tokens=40).tokens
    changed = engine.run(SKY, sampling=sampling, max_tokens=40).tokens
    assert changed != plain
    assert changed == engine.run(SKY, sampling=sampling, max_tokens=40).tokens


def test_penalties_count_the_prompt_and_keep_tokens_from_repeating(engine: Engine) -> None:
    prompt = "one two three one two three one two three one two"
    plain = engine.run(prompt, max_tokens=12)
    for penalty in (
        Sampling(temperature=0, repeat_penalty=1.9),
        Sampling(temperature=0, presence_penalty=20.0),
        Sampling(temperature=0, frequency_penalty=20.0),
        Sampling(temperature=0, dry_multiplier=30.0),
    ):
        answer = engine.run(prompt, sampling=penalty, max_tokens=12)
        assert answer.tokens != plain.tokens
    off = Sampling(temperature=0, repeat_penalty=1.9, repeat_last_n=0)
    assert engine.run(prompt, sampling=off, max_tokens=12).tokens == plain.tokens


def test_a_logit_bias_can_force_and_forbid_a_token(engine: Engine) -> None:
    plain = engine.run(SKY, max_tokens=8).tokens
    forbidden = engine.run(
        SKY, sampling=Sampling(temperature=0, logit_bias={plain[0]: -math.inf}), max_tokens=8
    ).tokens
    assert plain[0] not in forbidden
    forced = engine.run(SKY, sampling=Sampling(temperature=0, logit_bias={345: 100.0}), max_tokens=5).tokens
    assert forced == [345] * 5


def test_logprobs_are_those_of_the_models_own_distribution(engine: Engine) -> None:
    answer = engine.run(SKY, max_tokens=6, logprobs=20)
    logprobs = [entry for d in answer.deltas for entry in d.logprobs or []]
    assert [entry.id for entry in logprobs] == answer.tokens
    for entry in logprobs:
        values = [t.logprob for t in entry.top]
        assert len(values) == 20
        assert values == sorted(values, reverse=True)
        assert entry.logprob == values[0]
        assert 0.1 < sum(map(math.exp, values)) <= 1.0 + 1e-5
        assert bytes(entry.bytes).decode() == entry.token
    hot = engine.run(SKY, sampling=Sampling(temperature=5.0, seed=1, top_k=0), max_tokens=1, logprobs=3)
    first = next(e for d in hot.deltas for e in d.logprobs or [])
    np.testing.assert_allclose(
        [t.logprob for t in first.top], [t.logprob for t in logprobs[0].top[:3]], atol=1e-3
    )


def test_a_stop_string_ends_the_answer_and_is_not_part_of_it(engine: Engine) -> None:
    plain = engine.run(SKY, max_tokens=40).text
    stop = plain[20:27]
    answer = engine.run(SKY, max_tokens=40, stop=["never said", stop])
    assert answer.text == plain[: plain.find(stop)]
    assert (answer.end.reason, answer.end.stop_string) == ("stop", stop)


def test_no_tokens_asked_for_means_none_made_and_the_prompt_cached(engine: Engine) -> None:
    answer = engine.run(SKY, max_tokens=0)
    assert (answer.tokens, answer.end.reason, answer.end.usage.completion_tokens) == ([], "length", 0)
    assert engine.run(SKY, max_tokens=1).end.usage.cached_tokens == len(engine.tokens(SKY)) - 1


def test_a_full_context_ends_the_answer(engine: Engine) -> None:
    limit = engine.context.spec.n_ctx
    prompt = (engine.tokens("word ") * limit)[: limit - 5]
    answer = engine.run(prompt, ignore_eos=True)
    assert answer.end.reason == "length"
    assert len(prompt) + len(answer.tokens) == limit


def test_context_shift_goes_on_past_the_context_only_when_asked_for(
    make_engine: Callable[..., Engine],
) -> None:
    engine = make_engine(n_ctx=64, n_cells=64)
    answer = engine.run(SKY, shift=True, keep=4, ignore_eos=True, max_tokens=150)
    assert len(answer.tokens) == 150
    assert answer.end.shifted > 64
    assert engine.stats().cells_used <= 64
    assert engine.run(SKY, ignore_eos=True).end.shifted == 0


@pytest.mark.parametrize(
    ("prompt", "code", "words"),
    [
        ([], "invalid_request", "no tokens"),
        ([1] * 1024, "context_length_exceeded", "1024 tokens and the context holds 1024"),
        ([49152], "invalid_request", "token id 49152 is outside the vocabulary of 49152"),
        ([-1], "invalid_request", "token id -1"),
    ],
    ids=["empty", "too long", "beyond vocabulary", "negative"],
)
def test_a_prompt_that_cannot_be_computed_is_refused(
    engine: Engine, prompt: list[int], code: str, words: str
) -> None:
    failed = engine.failure(engine.submit(prompt))
    assert failed.code == code
    assert words in failed.message
    assert engine.run(SKY, max_tokens=2).end.reason == "length"


@pytest.mark.parametrize(
    "spec", [{"cache_type": "q8_0"}, {"cache_type": "q4_0"}, {"flash_attention": "off"}, {"n_batch": 32}]
)
def test_every_way_to_keep_the_cache_answers_sensibly(
    make_engine: Callable[..., Engine], spec: dict[str, str]
) -> None:
    engine = make_engine(n_ctx=256, n_cells=256, n_seq_max=4, **spec)
    first = engine.run(SKY, max_tokens=24)
    assert "blue" in first.text or "sky" in first.text
    # The second runs in other cells, so the sums are taken in another order: near ties may fall otherwise.
    assert engine.run(SKY, max_tokens=24).tokens[:8] == first.tokens[:8]


def test_a_generative_model_does_not_embed(engine: Engine) -> None:
    assert engine.ask(Embed(id=900, inputs=[[1, 2]])).code == "missing_capability"


@pytest.mark.parametrize(
    "sampling",
    [
        Sampling(temperature=0, repeat_penalty=1.1, repeat_last_n=2**31 - 1),
        Sampling(temperature=0, dry_multiplier=0.5, dry_penalty_last_n=2**31 - 1),
        Sampling(temperature=1e-40, seed=1),
        Sampling(top_k=2**31 - 1, seed=2**31 - 1),
        Sampling(temperature=1e30, seed=1, mirostat=2),
    ],
    ids=["repeat_last_n", "dry_penalty_last_n", "temperature", "top_k", "hot mirostat"],
)
def test_extreme_options_neither_kill_the_engine_nor_make_it_stammer(
    engine: Engine, sampling: Sampling
) -> None:
    answer = engine.run(SKY, sampling=sampling, max_tokens=6)
    assert answer.end.reason in ("stop", "length")
    assert sampling.temperature != 1e-40 or answer.tokens == engine.run(SKY, max_tokens=6).tokens


def test_quick_steps_are_told_together_and_the_first_at_once(
    engine: Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(stepper, "SAY_NS", 10**15)
    together = engine.run("Once upon a time", max_tokens=12, ignore_eos=True)
    assert [len(delta.tokens) for delta in together.deltas] == [1, 11]
    each = engine.run("Once upon a time", max_tokens=12, ignore_eos=True, each_step=True)
    assert [len(delta.tokens) for delta in each.deltas] == [1] * 12
    assert each.text == together.text
    # What was told together can be told apart.
    rest = together.deltas[1]
    begins = [0, *rest.ends[:-1]]
    assert [rest.text[a:b] for a, b in zip(begins, rest.ends, strict=True)] == [
        delta.text for delta in each.deltas[1:]
    ]


def test_each_token_of_an_answer_has_its_logprob_and_its_end_has_none(engine: Engine) -> None:
    answer = engine.run("<|im_start|>user\nSay hi.<|im_end|>\n<|im_start|>assistant\n", logprobs=0)
    assert answer.end.reason == "stop"
    told = [entry.id for delta in answer.deltas for entry in delta.logprobs or []]
    assert told == answer.tokens
