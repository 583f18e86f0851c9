"""Answers that a grammar binds, on the real model."""

from __future__ import annotations

import json
import re
import time
from collections.abc import Callable, Iterator
from typing import Any

import jsonschema
import pytest

from agentkit_server.engine import grammars, intake
from agentkit_server.engine.grammars import Done, Grammars
from agentkit_server.engine.llama import Context
from agentkit_server.engine.types import Cancel, Delta, Sampling, TokenLogprob, Unpin

from . import conftest
from .conftest import TIMEOUT, Answer, Engine

CHAT = "<|im_start|>user\n{}<|im_end|>\n<|im_start|>assistant\n"
PERSON = CHAT.format("Describe a person as JSON.")
SCHEMA = {
    "type": "object",
    "properties": {
        "name": {"type": "string", "maxLength": 30},
        "age": {"type": "integer", "minimum": 0, "maximum": 200},
        "tags": {"type": "array", "items": {"enum": ["red", "green", "blue"]}, "maxItems": 3},
    },
    "required": ["name", "age", "tags"],
    "additionalProperties": False,
}
WORDS = "one two three four five six seven eight nine ten eleven twelve"
# What has been read so far can have been put together in countless ways.
AMBIGUOUS = "start: s\ns: s s | A |\nA: /[^<]/"


def json_grammar(schema: dict[str, Any]) -> str:
    options = {"x-guidance": {"whitespace_pattern": "[ \\n]{0,4}"}}
    return "start: %json " + json.dumps({**options, **schema})


JSON = json_grammar(SCHEMA)


def assert_valid(answer: Answer) -> None:
    assert answer.end.reason == "stop", answer.end
    jsonschema.validate(json.loads(answer.text), SCHEMA)


SAMPLINGS = {
    "greedy": Sampling(temperature=0),
    "plain": Sampling(temperature=1, top_k=0, top_p=1, seed=1),
    "default": Sampling(seed=2),
    "hot": Sampling(temperature=5, top_k=0, top_p=1, seed=3),
    "penalties": Sampling(temperature=0, repeat_penalty=1.3, presence_penalty=0.5),
    "dry": Sampling(dry_multiplier=0.8, seed=4),
    "mirostat 1": Sampling(mirostat=1, seed=5),
    "mirostat 2": Sampling(mirostat=2, seed=6),
    "xtc": Sampling(xtc_probability=1, xtc_threshold=0.01, min_p=0.01, typical_p=0.9, seed=7),
    "biased": Sampling(temperature=0, logit_bias={1678: 20.0, 0: float("-inf")}),
}


@pytest.mark.parametrize("sampling", SAMPLINGS.values(), ids=SAMPLINGS)
def test_an_answer_obeys_its_grammar_however_it_is_sampled(engine: Engine, sampling: Sampling) -> None:
    answer = engine.run(PERSON, grammar=JSON, sampling=sampling, max_tokens=300)
    assert_valid(answer)
    assert answer.end.usage.completion_tokens == len(answer.tokens)
    assert answer.text == engine.context.vocabulary.text(answer.tokens, special=False)


@pytest.mark.parametrize(
    "masks_first",
    [Sampling(temperature=0, dry_multiplier=1e-9), Sampling(top_k=1, seed=1)],
    ids=["dry", "top_k"],
)
def test_trying_first_gives_the_tokens_of_masking_first(engine: Engine, masks_first: Sampling) -> None:
    tried = engine.run(PERSON, grammar=JSON, max_tokens=300)
    assert engine.run(PERSON, grammar=JSON, sampling=masks_first, max_tokens=300).tokens == tried.tokens


@pytest.mark.parametrize(
    "sampling", [Sampling(seed=7), Sampling(seed=7, top_k=0, top_p=1.0, temperature=1.2)]
)
def test_the_same_seed_gives_the_same_constrained_tokens(engine: Engine, sampling: Sampling) -> None:
    first, *again = [
        engine.run(PERSON, grammar=JSON, sampling=sampling, max_tokens=300).tokens for _ in range(3)
    ]
    assert again == [first, first]


def test_forced_tokens_save_steps_and_change_no_text(engine: Engine) -> None:
    before = engine.stats().decode_steps
    sampled = engine.run(PERSON, grammar=JSON, logprobs=0, max_tokens=300)
    between = engine.stats().decode_steps
    forced = engine.run(PERSON, grammar=JSON, max_tokens=300)
    after = engine.stats().decode_steps
    assert forced.text == sampled.text
    assert between - before >= len(sampled.tokens)
    assert after - between < len(forced.tokens)
    assert forced.end.usage.completion_tokens == len(forced.tokens)


def test_what_is_forced_from_the_first_token_on_needs_no_step_of_its_own(engine: Engine) -> None:
    answer = engine.run(PERSON, grammar=f'start: "{WORDS}"')
    assert (answer.text, answer.end.reason) == (WORDS, "stop")
    assert answer.end.usage.completion_tokens == len(answer.tokens) > 10
    assert engine.stats().decode_steps == 2


@pytest.mark.parametrize("limit", [1, 5, 12])
def test_forced_tokens_count_towards_the_limit(engine: Engine, limit: int) -> None:
    answer = engine.run(PERSON, grammar=f'start: "{WORDS} and so on"', max_tokens=limit)
    assert (len(answer.tokens), answer.end.reason) == (limit, "length")
    assert answer.end.usage.completion_tokens == limit
    assert WORDS.startswith(answer.text)


def test_an_answer_that_is_complete_at_its_limit_says_stop(engine: Engine) -> None:
    whole = len(engine.run(PERSON, grammar=f'start: "{WORDS}"').tokens)
    assert engine.run(PERSON, grammar=f'start: "{WORDS}"', max_tokens=whole).end.reason == "stop"


def test_a_stop_string_ends_forced_text_too(engine: Engine) -> None:
    answer = engine.run(PERSON, grammar=f'start: "{WORDS}"', stop=["our f"])
    assert (answer.text, answer.end.stop_string) == ("one two three f", "our f")


def test_forced_text_longer_than_the_context_ends_with_it(make_engine: Callable[..., Engine]) -> None:
    engine = make_engine(n_ctx=64, n_cells=64)
    answer = engine.run("Count:", grammar=f'start: "{" ".join([WORDS] * 9)}"')
    assert answer.end.reason == "length"
    assert len(engine.tokens("Count:")) + len(answer.tokens) == 64


def test_forced_text_of_many_answers_shares_small_batches(make_engine: Callable[..., Engine]) -> None:
    engine = make_engine(n_ctx=256, n_cells=2048, n_seq_max=8, n_batch=32)
    texts = [f"{WORDS} number {i} " + f"{WORDS} " * i for i in range(8)]
    requests = [engine.submit("Count:", grammar=f'start: "{text}"') for text in texts]
    free = engine.submit("Once upon a time", max_tokens=20, ignore_eos=True)
    assert [engine.collect(r).text for r in requests] == texts
    assert len(engine.collect(free).tokens) == 20


def entries(answer: Answer) -> list[TokenLogprob]:
    return [entry for d in answer.deltas for entry in d.logprobs or []]


def test_logprobs_of_a_constrained_answer_are_complete_and_those_before_the_mask(engine: Engine) -> None:
    free = entries(engine.run(PERSON, max_tokens=1, logprobs=5))[0]
    for sampling in (Sampling(temperature=0), Sampling(seed=1)):
        answer = engine.run(PERSON, grammar=JSON, sampling=sampling, logprobs=5, max_tokens=300)
        assert_valid(answer)
        assert [entry.id for entry in entries(answer)] == answer.tokens
        first = entries(answer)[0]
        assert [t.id for t in first.top] == [t.id for t in free.top]
        assert first.top[0].logprob == pytest.approx(free.top[0].logprob, abs=1e-3)
        assert first.logprob <= first.top[0].logprob


def test_constrained_and_free_answers_run_in_one_batch(engine: Engine) -> None:
    bound = [
        engine.submit(PERSON, grammar=JSON, sampling=s, max_tokens=300) for s in list(SAMPLINGS.values())[:4]
    ]
    free = [engine.submit(CHAT.format(f"Tell me of {i} foxes."), max_tokens=40) for i in range(4)]
    for request in bound:
        assert_valid(engine.collect(request))
    assert all(len(engine.collect(r).tokens) > 5 for r in free)


def test_each_completion_of_a_prompt_follows_the_grammar_for_itself(engine: Engine) -> None:
    request = engine.submit(PERSON, n=4, grammar=JSON, sampling=Sampling(seed=1), max_tokens=300)
    answers = [engine.collect(request, i) for i in range(4)]
    for answer in answers:
        assert_valid(answer)
    assert len({a.text for a in answers}) > 1


def test_an_answer_may_end_only_where_its_grammar_may(engine: Engine) -> None:
    eager = Sampling(temperature=0, logit_bias={2: 100.0})
    assert_valid(engine.run(PERSON, grammar=JSON, sampling=eager, max_tokens=300))
    optional = engine.run(PERSON, grammar='start: "a" "b"{0,9}', sampling=eager)
    assert (optional.text, optional.end.reason) == ("a", "stop")


def test_a_grammar_that_has_ended_ends_the_answer_even_where_eos_is_ignored(engine: Engine) -> None:
    assert_valid(engine.run(PERSON, grammar=JSON, ignore_eos=True, max_tokens=300))
    answer = engine.run(PERSON, grammar="start: /[a-z ]*/", ignore_eos=True, max_tokens=50)
    assert (len(answer.tokens), answer.end.reason) == (50, "length")
    assert engine.run(PERSON, grammar='start: "a" <[2]>', ignore_eos=True).end.reason == "error"


def test_where_biases_forbid_all_that_the_grammar_allows_the_answer_fails(engine: Engine) -> None:
    vocabulary = engine.context.vocabulary
    letters = [t for t in range(vocabulary.size) if vocabulary.piece(t, special=False) in (b"a", b"b")]
    bias = dict.fromkeys(letters, float("-inf"))
    for sampling in (Sampling(temperature=0, logit_bias=bias), Sampling(seed=1, logit_bias=bias)):
        end = engine.run(PERSON, grammar="start: /[ab]/", sampling=sampling).end
        assert end.reason == "error"
        assert "logit_bias" in end.error


def test_free_text_under_a_grammar_never_holds_a_control_token(engine: Engine) -> None:
    tempted = Sampling(temperature=0, logit_bias={1: 100.0, 3: 100.0})
    answer = engine.run(PERSON, grammar="start: /(?s:.{0,60})/", sampling=tempted, max_tokens=30)
    assert not {1, 3} & set(answer.tokens)


def test_context_shifts_leave_the_grammar_where_it_was(make_engine: Callable[..., Engine]) -> None:
    engine = make_engine(n_ctx=64, n_cells=64)
    line = '"line: " /[a-z ]{5,30}/ "; end of the line\\n"'
    answer = engine.run("Go on:", grammar=f"start: ({line})+", shift=True, ignore_eos=True, max_tokens=200)
    assert answer.end.shifted > 0
    *whole, _ = answer.text.split("\n")
    assert len(whole) > 3
    assert all(re.fullmatch("line: [a-z ]{5,30}; end of the line", text) for text in whole)


def test_a_preempted_answer_goes_on_where_its_grammar_was(make_engine: Callable[..., Engine]) -> None:
    engine = make_engine(n_ctx=256, n_cells=384, n_seq_max=8)
    schema = {"type": "array", "items": SCHEMA, "minItems": 4, "maxItems": 4}
    grammar = json_grammar(schema)
    requests = [engine.submit(f"{i}. People:", grammar=grammar, sampling=Sampling(seed=i)) for i in range(6)]
    for answer in map(engine.collect, requests):
        assert answer.end.reason in ("stop", "length")
        if answer.end.reason == "stop":
            jsonschema.validate(json.loads(answer.text), schema)
    assert engine.stats().preemptions > 0


def test_a_constrained_answer_can_be_cancelled(engine: Engine) -> None:
    request = engine.submit(PERSON, grammar="start: /[a-z ]*/", ignore_eos=True)
    while not any(isinstance(r, Delta) for r in engine.log):
        engine.next_reply()
    engine.send(Cancel(request))
    assert engine.collect(request).end.reason == "cancelled"
    assert engine.stats().sequences_running == 0


@pytest.mark.parametrize(
    ("grammar", "words"),
    [
        ("garbage", "Expected token"),
        ('start: "', "lexer error"),
        ("start: nothing", "nothing"),
        ("start: A\nA: /a/ & /b/", "NoExtension"),
        ('start: %json {"type": "string", "format": "moon"}', "moon"),
        ("start: %json " + '{"items":' * 500 + "{}" + "}" * 500, "recursion limit"),
        ("start: A\nA: /(?s:.*)a.{400}/ & /(?s:.*)b.{300}/", "fuel exhausted"),
        ('start: "a" <[99999]>', "99999"),
        ("start: <|im_start|>", "im_start"),
    ],
)
def test_a_grammar_that_cannot_be_compiled_is_refused(engine: Engine, grammar: str, words: str) -> None:
    failed = engine.failure(engine.submit(PERSON, grammar=grammar))
    assert failed.code == "invalid_grammar"
    assert words in failed.message
    assert engine.stats().decode_steps == 0


def test_a_grammar_beyond_the_size_limit_is_refused(engine: Engine, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(grammars, "MOST_BYTES", 100)
    failed = engine.failure(engine.submit(PERSON, grammar='start: "' + "a" * 100 + '"'))
    assert failed.code == "invalid_grammar"
    assert "109 characters and 100 are allowed" in failed.message


@pytest.mark.parametrize("sampling", [Sampling(temperature=0), Sampling(seed=1)], ids=["tried", "masked"])
def test_a_grammar_that_explodes_ends_the_answer_with_an_error(engine: Engine, sampling: Sampling) -> None:
    answer = engine.run(PERSON, grammar=AMBIGUOUS, sampling=sampling, ignore_eos=True, max_tokens=300)
    assert answer.end.reason == "error"
    assert "the grammar cannot be followed any further" in answer.end.error
    assert answer.text == engine.context.vocabulary.text(answer.tokens, special=False) != ""
    assert_valid(engine.run(PERSON, grammar=JSON, max_tokens=300))


class Held(Grammars):
    """Builds nothing until it is told to."""

    def __init__(self, context: Context) -> None:
        super().__init__(context.vocabulary)
        self.orders: list[tuple[str, Done]] = []

    def build(self, grammar: str, done: Done) -> None:
        self.orders.append((grammar, done))

    def release(self) -> None:
        """Build what was ordered, and from now on at once."""
        self.build = super().build
        for grammar, done in self.orders:
            self.build(grammar, done)


@pytest.fixture
def held(shared_context: Context) -> Iterator[Engine]:
    """An engine whose grammars are built when the test says so."""
    engine = Engine(shared_context, Held(shared_context))
    engine.start()
    yield engine
    engine.stop()
    assert engine.grammars.close(TIMEOUT)


def release(engine: Engine) -> None:
    assert isinstance(engine.grammars, Held)
    engine.grammars.release()


def test_others_do_not_wait_for_a_grammar_that_is_being_built(held: Engine) -> None:
    bound = held.submit(PERSON, grammar=JSON, n=2, max_tokens=300)
    assert held.run("Once upon a time", max_tokens=3).end.reason == "length"
    assert held.stats().sequences_waiting == 2
    release(held)
    assert_valid(held.collect(bound, 0))
    assert_valid(held.collect(bound, 1))


def test_a_request_can_be_cancelled_while_its_grammar_is_built(held: Engine) -> None:
    request = held.submit(PERSON, grammar=JSON, n=2)
    assert held.stats().sequences_waiting == 2
    held.send(Cancel(request))
    assert [held.collect(request, i).end.reason for i in range(2)] == ["cancelled", "cancelled"]
    release(held)
    assert_valid(held.run(PERSON, grammar=JSON, max_tokens=300))
    assert held.stats().sequences_waiting == 0
    assert all(reply.id != request for reply in held.log[-8:] if isinstance(reply, Delta))


def test_a_grammar_that_takes_too_long_to_compile_is_refused(
    held: Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(intake, "LONGEST_WAIT_NS", 1_000_000)
    failed = held.failure(held.submit(PERSON, grammar=JSON))
    assert failed.code == "invalid_grammar"
    assert "compiling it takes more than" in failed.message
    release(held)
    assert held.run("Once upon a time", max_tokens=3).end.reason == "length"


def test_a_deadline_passes_while_a_grammar_is_built(held: Engine, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(intake, "LONGEST_WAIT_NS", 10**15)
    monkeypatch.setattr(conftest, "TIMEOUT", 20.0)
    request = held.submit(PERSON, grammar=JSON, n=2, deadline_ns=time.monotonic_ns() + 20_000_000)
    ends = [held.collect(request, i).end for i in range(2)]
    assert [(end.reason, end.usage.completion_tokens) for end in ends] == [("deadline", 0)] * 2
    assert held.stats().sequences_waiting == 0
    release(held)


def test_a_run_that_is_let_go_of_while_its_grammar_is_built_leaves_nothing_pinned(held: Engine) -> None:
    request = held.submit(PERSON, grammar=JSON, max_tokens=3, pin="run")
    held.ask(Unpin(10_000, "run"))
    release(held)
    held.collect(request)
    assert held.stats().pins == 0


def placed(answer: Answer) -> list[tuple[int, int]]:
    """Marks with their offsets in the whole text."""
    marks: list[tuple[int, int]] = []
    at = 0
    for delta in answer.deltas:
        assert all(0 <= offset <= len(delta.text) for offset, _ in delta.marks)
        marks += [(at + offset, token) for offset, token in delta.marks]
        at += len(delta.text)
    return marks


def test_a_grammar_names_a_token_that_ends_generation_and_the_answer_ends_there(engine: Engine) -> None:
    answer = engine.run(PERSON, grammar='start: "done" <[2]>', marks=[2])
    assert (answer.text, answer.end.reason) == ("done", "stop")
    assert placed(answer) == [(4, 2)]


@pytest.mark.parametrize("logprobs", [None, 0], ids=["forced", "sampled"])
@pytest.mark.parametrize("stop", [[], ["é!", " there now"]], ids=["no stops", "stops"])
def test_marks_say_where_in_the_text_each_control_token_was(
    engine: Engine, stop: list[str], logprobs: int | None
) -> None:
    grammar = 'start: "Hello é" <[3]> " there" <[5]> <[1]> " end"'
    answer = engine.run(PERSON, grammar=grammar, marks=[3, 1], stop=stop, logprobs=logprobs)
    assert answer.text == "Hello é there end"
    assert placed(answer) == [(7, 3), (13, 1)]
    assert {1, 3, 5} <= set(answer.tokens)


def test_without_marks_asked_for_control_tokens_leave_no_trace_but_their_ids(engine: Engine) -> None:
    answer = engine.run(PERSON, grammar='start: "a" <[3]> "b"')
    assert (answer.text, placed(answer)) == ("ab", [])


def test_an_end_of_generation_token_is_marked_when_asked_for(engine: Engine) -> None:
    prompt = CHAT.format("Say only the word yes.")
    plain = engine.run(prompt, max_tokens=200)
    marked = engine.run(prompt, max_tokens=200, marks=sorted(engine.context.vocabulary.eog))
    assert plain.end.reason == marked.end.reason == "stop"
    assert marked.text == plain.text
    assert placed(marked) == [(len(plain.text), 2)]


def test_the_facts_name_the_control_tokens_and_no_others(engine: Engine) -> None:
    control = engine.context.facts().control
    assert control["<|im_start|>"] == 1
    assert sorted(control.values()) == list(range(17))
