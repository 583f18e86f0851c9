"""Several requests at once: batches, the shared prefix, eviction, preemption, cancellation."""

from __future__ import annotations

import random
import time
from collections.abc import Callable

import pytest

from agentkit_server.engine import stepper
from agentkit_server.engine.types import Cancel, Delta, Finished, Generate, Sampling, Unpin

from .conftest import Answer, Engine

LONG = "The history of the river begins in the mountains, where snow melts into small streams. " * 20


def test_a_second_request_computes_only_what_the_first_did_not(engine: Engine) -> None:
    first = engine.run(LONG + "One", max_tokens=4)
    before = engine.stats()
    second = engine.run(LONG + "Two", max_tokens=4)
    after = engine.stats()
    shared = len(engine.tokens(LONG)) - 1
    assert first.end.usage.cached_tokens == 0
    assert second.end.usage.cached_tokens >= shared
    new = len(engine.tokens(LONG + "Two")) - second.end.usage.cached_tokens
    assert after.tokens_computed - before.tokens_computed == new + 3


def test_a_conversation_computes_only_each_new_turn(engine: Engine) -> None:
    tokens = engine.tokens("<|im_start|>user\nHello<|im_end|>\n<|im_start|>assistant\n")
    for question in ("And then?", "Why?", "Who?"):
        answer = engine.run(tokens, max_tokens=12)
        held = len(tokens) + len(answer.tokens) - 1
        tokens = tokens + answer.tokens
        tokens += engine.tokens(
            f"<|im_end|>\n<|im_start|>user\n{question}<|im_end|>\n<|im_start|>assistant\n"
        )
        cached = engine.run(tokens, max_tokens=1).end.usage.cached_tokens
        assert cached >= held


def test_completions_of_one_prompt_share_its_cells(engine: Engine) -> None:
    prompt = engine.tokens(LONG)
    request = engine.submit(prompt, n=6, max_tokens=8, sampling=Sampling(seed=11))
    answers = [engine.collect(request, i) for i in range(6)]
    assert len({a.text for a in answers}) > 1
    stats = engine.stats()
    assert stats.cells_used <= len(prompt) + 6 * 8
    assert stats.tokens_computed <= len(prompt) + 6 * 8


def test_requests_that_arrive_together_wait_for_the_prefix_they_share(engine: Engine) -> None:
    requests = [engine.submit(LONG + f" Part {i}:", max_tokens=3) for i in range(5)]
    for request in requests:
        engine.collect(request)
    whole = len(engine.tokens(LONG))
    assert engine.stats().tokens_computed < whole + 5 * 20


def first_logprobs(answer: Answer) -> dict[int, float]:
    first = next(entry for d in answer.deltas for entry in d.logprobs or [])
    return {t.id: t.logprob for t in first.top}


def test_requests_in_one_batch_do_not_disturb_each_other(engine: Engine) -> None:
    """Batches of another shape round a little differently, so near ties may fall the other way; what a
    model expects next hardly moves."""
    subjects = ("animals", "rivers", "metals", "planets", "composers", "cheeses")
    prompts = [f"<|im_start|>user\nName some {s}.<|im_end|>\n<|im_start|>assistant\n" for s in subjects]
    alone = [first_logprobs(engine.run(p, max_tokens=8, logprobs=4)) for p in prompts]
    engine.drop_cache()
    requests = [engine.submit(p, max_tokens=8, logprobs=4) for p in prompts]
    for request, before in zip(requests, alone, strict=True):
        together = first_logprobs(engine.collect(request))
        best = max(before, key=lambda t: before[t])
        assert abs(together[best] - before[best]) < 0.25


def test_a_long_prompt_does_not_stall_a_running_answer(engine: Engine) -> None:
    talker = engine.submit("Once upon a time", max_tokens=300, ignore_eos=True)
    while not any(isinstance(r, Delta) for r in engine.log):
        engine.next_reply()
    reader = engine.submit((LONG * 3)[:3600], max_tokens=1)
    engine.collect(reader)
    between = [r for r in engine.log if isinstance(r, Delta) and r.id == talker]
    engine.send(Cancel(talker))
    assert engine.collect(talker).end.reason == "cancelled"
    assert len(between) >= 4


def test_a_cancelled_request_ends_within_a_step_and_frees_its_place(engine: Engine) -> None:
    request = engine.submit("Count to a million:", ignore_eos=True)
    while not any(isinstance(r, Delta) for r in engine.log):
        engine.next_reply()
    steps = engine.stats().decode_steps
    engine.send(Cancel(request))
    end = engine.collect(request).end
    stats = engine.stats()
    assert end.reason == "cancelled"
    assert stats.sequences_running == 0
    assert stats.decode_steps - steps <= 2
    assert engine.drop_cache().cells_used == 0


def test_least_recently_used_prefixes_give_way_when_cells_run_out(make_engine: Callable[..., Engine]) -> None:
    engine = make_engine(n_ctx=512, n_cells=512, n_seq_max=8, park_bytes=0)
    texts = [f"Chapter {i}. " + "and so the story went on " * 30 for i in range(5)]
    for text in texts:
        assert engine.run(text, max_tokens=2).end.reason == "length"
    stats = engine.stats()
    assert stats.cells_used <= 512
    assert engine.run(texts[-1], max_tokens=2).end.usage.cached_tokens > 100
    assert engine.run(texts[0], max_tokens=2).end.usage.cached_tokens < 20


def test_when_cells_run_out_the_youngest_waits_and_everyone_finishes(
    make_engine: Callable[..., Engine],
) -> None:
    engine = make_engine(n_ctx=256, n_cells=384, n_seq_max=8)
    prompts = [f"Story number {i} begins like this:" for i in range(6)]
    requests = [engine.submit(p, max_tokens=150, ignore_eos=True) for p in prompts]
    answers = [engine.collect(r) for r in requests]
    assert [(a.end.reason, len(a.tokens)) for a in answers] == [("length", 150)] * 6
    stats = engine.stats()
    assert stats.preemptions > 0
    assert stats.cells_used == stats.cells_cached
    assert engine.drop_cache().cells_used == 0


def test_more_requests_than_sequences_all_get_their_turn(make_engine: Callable[..., Engine]) -> None:
    engine = make_engine(n_ctx=128, n_cells=512, n_seq_max=3)
    requests = [engine.submit(f"Item {i} is", max_tokens=4, ignore_eos=True) for i in range(12)]
    assert all(engine.collect(r).end.reason == "length" for r in requests)
    assert engine.stats().sequences_cached <= 3


def test_random_cancellation_leaks_no_cell(make_engine: Callable[..., Engine]) -> None:
    engine = make_engine(n_ctx=256, n_cells=1024, n_seq_max=16)
    chance = random.Random(4)
    requests = [
        engine.submit(
            f"{LONG[: chance.randrange(20, 600)]} {i}", max_tokens=chance.randrange(1, 24), n=1 + i % 3
        )
        for i in range(60)
    ]
    doomed = set(chance.sample(requests, 30))
    seen = 0

    def cancel_some(reply: object) -> None:
        nonlocal seen
        if isinstance(reply, Delta):
            seen += 1
            if seen % 5 == 0 and doomed:
                engine.send(Cancel(doomed.pop()))

    spared = [r for r in requests if r not in doomed]
    indices = {r: 1 + i % 3 for i, r in enumerate(requests)}
    engine.on_reply = cancel_some
    for request in requests:
        for index in range(indices[request]):
            engine.collect(request, index)
    ends = [r for r in engine.log if isinstance(r, Finished)]
    assert len(ends) == sum(indices.values())
    assert all(e.reason in ("stop", "length") for e in ends if e.id in spared)
    stats = engine.stats()
    assert (stats.sequences_running, stats.sequences_waiting) == (0, 0)
    assert stats.cells_used == stats.cells_cached
    assert engine.drop_cache().cells_used == 0


def test_more_completions_than_sequences_all_get_their_turn(make_engine: Callable[..., Engine]) -> None:
    engine = make_engine(n_ctx=128, n_cells=256, n_seq_max=2)
    request = engine.submit("The number is", n=7, max_tokens=4, sampling=Sampling(seed=3))
    answers = [engine.collect(request, i) for i in range(7)]
    assert all(a.end.reason in ("stop", "length") for a in answers)
    assert engine.drop_cache().cells_used == 0


def test_a_large_cached_prefix_makes_way_for_a_prompt_that_shares_little_of_it(
    make_engine: Callable[..., Engine],
) -> None:
    engine = make_engine(n_ctx=512, n_cells=768, n_seq_max=4)
    cached = engine.tokens("The " + "river runs on and on " * 60)[:500]
    engine.run(cached, max_tokens=1)
    talker = engine.submit("Once upon a time", max_tokens=400, ignore_eos=True)
    while not any(isinstance(r, Delta) and r.id == talker for r in engine.log):
        engine.next_reply()
    newcomer = engine.tokens("The " + "mountain stands as it always stood " * 60)[:300]
    assert engine.run(newcomer, max_tokens=1).end.reason == "length"
    engine.send(Cancel(talker))
    assert engine.collect(talker).end.usage.completion_tokens < 400


def test_prefixes_beyond_the_cells_are_parked_and_come_back_as_they_were(
    make_engine: Callable[..., Engine],
) -> None:
    # Flash attention on a CPU adds up in half precision, in the order of the cells: the same prefix elsewhere
    # moves log-probabilities by 0.2. Without it they come out the same.
    engine = make_engine(n_ctx=512, n_cells=512, n_seq_max=8, flash_attention="off")
    texts = [f"Chapter {i}. " + "and so the story went on " * 30 for i in range(5)]
    first = [engine.run(text, max_tokens=8, logprobs=4) for text in texts]
    stats = engine.stats()
    assert stats.parked_bytes > 0
    assert stats.sequences_cached == 5
    for text, before in zip(texts, first, strict=True):
        again = engine.run(text, max_tokens=8, logprobs=4)
        assert again.end.usage.cached_tokens == again.end.usage.prompt_tokens - 1
        expected, got = first_logprobs(before), first_logprobs(again)
        assert all(abs(got[t] - expected[t]) < 0.02 for t in got.keys() & expected.keys())
        assert len(got.keys() & expected.keys()) >= 3
    assert engine.drop_cache().parked_bytes == 0


def test_a_parked_prefix_serves_prompts_that_leave_it_early(make_engine: Callable[..., Engine]) -> None:
    engine = make_engine(n_ctx=1024, n_cells=1024, n_seq_max=8)
    engine.run(LONG + "The end of the first story.", max_tokens=4)
    engine.run("Something else entirely, long enough. " * 20, max_tokens=2)
    assert engine.stats().parked_bytes > 0
    shared = len(engine.tokens(LONG)) - 1
    for ending in ("A second story.", "A third story."):
        assert engine.run(LONG + ending, max_tokens=2).end.usage.cached_tokens >= shared


def test_cells_that_nobody_computes_with_leave_when_somebody_else_runs(engine: Engine) -> None:
    engine.run(LONG, max_tokens=1)
    resident = engine.stats().cells_used
    engine.run("A short question?", max_tokens=4)
    stats = engine.stats()
    assert stats.cells_used < resident // 2
    assert stats.sequences_cached == 2


def test_parked_prefixes_stay_within_their_memory(make_engine: Callable[..., Engine]) -> None:
    limit = 12 << 20
    engine = make_engine(n_ctx=512, n_cells=512, n_seq_max=8, park_bytes=limit)
    for i in range(8):
        engine.run(f"Chapter {i}. " + "and so the story went on " * 30, max_tokens=2)
    stats = engine.stats()
    assert 0 < stats.parked_bytes <= limit
    assert stats.sequences_cached < 8


def test_a_pinned_prefix_outlives_those_that_came_after_it(make_engine: Callable[..., Engine]) -> None:
    engine = make_engine(n_ctx=512, n_cells=512, n_seq_max=8, park_bytes=12 << 20)
    chapters = [f"Chapter {i}. " + "and so the story went on " * 30 for i in range(8)]
    engine.run(chapters[0], max_tokens=2, pin="run")
    for chapter in chapters[1:]:
        engine.run(chapter, max_tokens=2)
    assert engine.stats().pins == 1
    kept = engine.run(chapters[0], max_tokens=2).end.usage
    assert kept.cached_tokens == kept.prompt_tokens - 1
    gone = engine.run(chapters[1], max_tokens=2).end.usage
    assert gone.cached_tokens < 16
    assert engine.ask(Unpin(10_000, "run")).pins == 0


def test_what_is_not_pinned_is_not_parked_in_place_of_what_is(make_engine: Callable[..., Engine]) -> None:
    # Memory is for one chapter. The long prompt needs the cells of the first.
    engine = make_engine(n_ctx=512, n_cells=512, n_seq_max=8, park_bytes=6 << 20)
    chapters = [f"Chapter {i}. " + "and so the story went on " * 30 for i in range(5)]
    engine.run(chapters[0], max_tokens=2, pin="run")
    engine.run(engine.tokens("Something else. " * 300)[:450], max_tokens=2)
    assert engine.stats().parked_bytes > 0
    for chapter in chapters[1:]:
        engine.run(chapter, max_tokens=2)
    assert engine.stats().pins == 1
    kept = engine.run(chapters[0], max_tokens=2).end.usage
    assert kept.cached_tokens == kept.prompt_tokens - 1


@pytest.mark.parametrize("n_seq_max", [1, 8])
def test_whoever_continues_a_pinned_prefix_leaves_it_pinned(
    make_engine: Callable[..., Engine], n_seq_max: int
) -> None:
    engine = make_engine(n_ctx=512, n_cells=1024, n_seq_max=n_seq_max)
    first = engine.run(LONG[:800], max_tokens=4, ignore_eos=True, pin="run")
    longer = [*engine.tokens(LONG[:800]), *first.tokens[:-1]]
    other = engine.submit([*longer, *engine.tokens("Then")], ignore_eos=True)
    while not any(isinstance(r, Delta) and r.id == other for r in engine.log):
        engine.next_reply()
    assert n_seq_max == 1 or engine.stats().pins == 1
    engine.send(Cancel(other))
    assert engine.collect(other).end.usage.cached_tokens >= len(longer)
    assert engine.stats().pins == 1
    assert engine.ask(Unpin(10_000, "run")).pins == 0


@pytest.mark.parametrize("waits", [False, True])
def test_a_run_that_is_let_go_of_while_it_runs_leaves_nothing_pinned(
    make_engine: Callable[..., Engine], waits: bool
) -> None:
    engine = make_engine(n_ctx=256, n_cells=256, n_seq_max=1)
    talker = engine.submit(LONG[:400], ignore_eos=True, shift=True, pin="" if waits else "run")
    while not any(isinstance(r, Delta) for r in engine.log):
        engine.next_reply()
    waiting = engine.submit("Another story", max_tokens=2, ignore_eos=True, pin="run" if waits else "")
    assert engine.ask(Unpin(10_000, "run")).sequences_waiting == 1
    engine.send(Cancel(talker))
    engine.collect(talker)
    assert engine.stats().pins == 0
    engine.collect(waiting)
    assert engine.stats().pins == 0


def test_what_a_sequence_has_not_said_does_not_wait_for_its_place(
    make_engine: Callable[..., Engine], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(stepper, "SAY_NS", 10**18)  # Only at the beginning and at the end.
    engine = make_engine(n_ctx=256, n_cells=384, n_seq_max=8)
    requests = [engine.submit(f"Story number {i}:", max_tokens=150, ignore_eos=True) for i in range(4)]
    answers = [engine.collect(request) for request in requests]
    assert engine.stats().preemptions > 0
    assert max(len(answer.deltas) for answer in answers) > 2


def test_a_sequence_ends_at_its_deadline_and_keeps_what_it_has(engine: Engine) -> None:
    request = Generate(id=10_000, prompt=engine.tokens("Once upon a time"), ignore_eos=True, shift=True)
    engine.send(request)
    while not any(isinstance(r, Delta) for r in engine.log):
        engine.next_reply()
    request.deadline_ns = time.monotonic_ns()
    answer = engine.collect(request.id)
    assert answer.end.reason == "deadline"
    assert 0 < answer.end.usage.completion_tokens == len(answer.tokens)
    assert engine.run("Once upon", max_tokens=2, deadline_ns=1).end.usage.completion_tokens == 0
