"""LoRA adapters: what they change, as computed by hand; who shares what; who has whose turn."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path

import numpy as np
import pytest
from support.lora import write_lora
from support.tiny_bert import WIDTH as BERT_WIDTH
from support.tiny_bert import write_tiny_bert
from support.tiny_llama import (
    BLOCKS,
    INNER,
    WIDTH,
    WORDS,
    Floats,
    Pair,
    Weights,
    hidden,
    log_probabilities,
    log_softmax,
    merged,
    random_pair,
    weights,
    write_tiny_llama,
)

from agentkit_server.engine import turns
from agentkit_server.engine.adapters import Adapters
from agentkit_server.engine.llama import Context
from agentkit_server.engine.types import (
    AdapterFile,
    DropAdapters,
    Embed,
    Embedded,
    Failed,
    LoadAdapters,
    LoadSpec,
    Stats,
)

from .conftest import Engine

PROMPT = "the cat sat on a mat"
LAST = f"blk.{BLOCKS - 1}.ffn_down.weight"
QUERY = "blk.0.attn_q.weight"
OUTPUT = "output.weight"
CLOSE = 0.02
"""What 16-bit cells make of a log-probability; the adapters here move some by several units."""


class Tiny:
    """A tiny llama in an engine, and the adapters that it was given."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        path = write_tiny_llama(folder / "base.gguf")
        spec = LoadSpec(path=str(path), n_ctx=256, n_cells=1024, n_seq_max=8, n_batch=64, n_threads=1)
        self.engine = Engine(Context(spec, lambda _: None))
        self.weights: Weights = weights()

    def file(
        self, name: str, pairs: Mapping[str, Pair], alpha: float = 1.0, scale: float = 1.0
    ) -> AdapterFile:
        path = write_lora(self.folder / f"{name}.gguf", pairs, alpha)
        return AdapterFile(str(path), 1, scale)

    def load(self, number: int, *files: AdapterFile) -> Stats:
        reply = self.engine.ask(LoadAdapters(-number, number, list(files)))
        assert isinstance(reply, Stats), reply
        return reply

    def drop(self, number: int) -> Stats:
        return self.engine.ask(DropAdapters(-number, number))

    def top(self, adapters: int = 0) -> dict[int, float]:
        """The log-probabilities of the likeliest tokens behind PROMPT."""
        answer = self.engine.run(PROMPT, max_tokens=1, logprobs=20, adapters=adapters)
        [first] = [logprob for delta in answer.deltas for logprob in delta.logprobs or []]
        return {each.id: each.logprob for each in first.top}

    def by_hand(self, changed: Weights) -> Floats:
        return log_probabilities(self.engine.tokens(PROMPT), changed)


@pytest.fixture
def tiny(tmp_path: Path) -> Iterator[Tiny]:
    tiny = Tiny(tmp_path)
    tiny.engine.start()
    yield tiny
    tiny.engine.stop()
    assert tiny.engine.grammars.close(60)
    tiny.engine.context.free()


def assert_close(top: Mapping[int, float], expected: Floats) -> None:
    assert len(top) == 20
    assert {token: expected[token] for token in top} == pytest.approx(top, abs=CLOSE)


# --- numbers ----------------------------------------------------------------------------------------


def test_an_adapter_changes_the_logits_as_computed_by_hand(tiny: Tiny) -> None:
    assert_close(tiny.top(), tiny.by_hand(tiny.weights))
    shapes = {OUTPUT: (len(WORDS), WIDTH), LAST: (WIDTH, INNER), QUERY: (WIDTH, WIDTH)}
    for number, (name, shape) in enumerate(shapes.items(), 1):
        pairs = {name: random_pair(*shape, seed=number)}
        tiny.load(number, tiny.file(f"lora{number}", pairs, alpha=16.0))
        expected = tiny.by_hand(merged(tiny.weights, pairs, 16.0))
        assert np.abs(expected - tiny.by_hand(tiny.weights)).max() > 10 * CLOSE
        assert_close(tiny.top(number), expected)
    assert_close(tiny.top(), tiny.by_hand(tiny.weights))


def test_the_rank_divides_and_the_scale_multiplies(tiny: Tiny) -> None:
    pairs = {OUTPUT: random_pair(len(WORDS), WIDTH, seed=5, rank=4)}
    full, half = tiny.file("lora", pairs, alpha=8.0), tiny.file("lora", pairs, alpha=8.0, scale=0.5)
    tiny.load(1, full)
    assert tiny.load(2, half).adapters == 1
    a, b = pairs[OUTPUT]
    h = hidden(tiny.engine.tokens(PROMPT), tiny.weights)
    logits, change = tiny.weights[OUTPUT] @ h, 8 / 4 * (b @ (a @ h))
    assert_close(tiny.top(1), log_softmax(logits + change))
    assert_close(tiny.top(2), log_softmax(logits + change / 2))


def test_several_adapters_add_up_and_one_named_twice_counts_twice(tiny: Tiny) -> None:
    one = {OUTPUT: random_pair(len(WORDS), WIDTH, seed=1)}
    two = {OUTPUT: random_pair(len(WORDS), WIDTH, seed=2), LAST: random_pair(WIDTH, INNER, seed=3)}
    first, second = tiny.file("one", one), tiny.file("two", two, scale=-0.5)
    assert tiny.load(1, first, second).adapters == 2
    assert_close(tiny.top(1), tiny.by_hand(merged(merged(tiny.weights, one, 1.0), two, -0.5)))
    assert tiny.load(2, first, first).adapters == 2
    assert_close(tiny.top(2), tiny.by_hand(merged(tiny.weights, one, 2.0)))


def test_an_adapter_without_effect_leaves_the_numbers_as_they_are(tiny: Tiny) -> None:
    a, b = random_pair(WIDTH, INNER, seed=1)
    tiny.load(1, tiny.file("zero", {LAST: (a, b * 0)}))
    tiny.load(2, tiny.file("off", {LAST: (a, b)}, scale=0.0))
    assert tiny.top(1) == tiny.top(2) == tiny.top()


# --- together ---------------------------------------------------------------------------------------


@pytest.fixture
def three(tiny: Tiny) -> Tiny:
    """With two sets beside the bare model."""
    for number in (1, 2):
        pairs = {OUTPUT: random_pair(len(WORDS), WIDTH, seed=number), LAST: random_pair(WIDTH, INNER, number)}
        tiny.load(number, tiny.file(f"lora{number}", pairs, alpha=2.0))
    return tiny


def test_streams_with_different_adapters_give_what_they_give_alone(
    three: Tiny, monkeypatch: pytest.MonkeyPatch
) -> None:
    # The set changes with every step.
    monkeypatch.setattr(turns, "TURN_NS", 0)
    monkeypatch.setattr(turns, "TURN_STEPS", 1)
    engine = three.engine
    alone = [engine.run(PROMPT, max_tokens=150, ignore_eos=True, adapters=n).tokens for n in range(3)]
    assert len({tuple(tokens) for tokens in alone}) == 3
    engine.drop_cache()
    running = [engine.submit(PROMPT, max_tokens=150, ignore_eos=True, adapters=n) for n in range(3)]
    assert [engine.collect(request).tokens for request in running] == alone
    begun = [engine.log.index(next(iter(engine.collect(request).deltas))) for request in running]
    ended = [engine.log.index(engine.collect(request).end) for request in running]
    assert max(begun) < min(ended)


def test_a_prefix_is_shared_within_a_set_of_adapters_and_not_across(three: Tiny) -> None:
    def cached(adapters: int, pin: str = "") -> int:
        answer = three.engine.run(PROMPT, max_tokens=4, ignore_eos=True, adapters=adapters, pin=pin)
        return answer.end.usage.cached_tokens

    whole = len(three.engine.tokens(PROMPT)) - 1
    assert [cached(0), cached(1), cached(2)] == [0, 0, 0]
    assert [cached(0), cached(1), cached(2)] == [whole] * 3
    # A run that goes on with other adapters begins anew, whatever it has pinned.
    three.engine.drop_cache()
    assert [cached(1, "run"), cached(2, "run"), cached(1, "run")] == [0, 0, whole]


def test_requests_that_come_together_share_a_prompt_only_within_their_set(three: Tiny) -> None:
    prompt = [1, *range(10, 200)]
    requests = [three.engine.submit(prompt, max_tokens=3, ignore_eos=True, adapters=n % 2) for n in range(4)]
    cached = [three.engine.collect(request).end.usage.cached_tokens for request in requests]
    assert cached == [0, 0, len(prompt) - 1, len(prompt) - 1]


def test_many_streams_of_many_sets_all_come_to_their_end_when_cells_are_scarce(three: Tiny) -> None:
    prompts = [[1, *range(10 + n, 130 + n)] for n in range(12)]
    requests = [
        three.engine.submit(prompt, max_tokens=60, ignore_eos=True, adapters=n % 3)
        for n, prompt in enumerate(prompts)
    ]
    assert all(three.engine.collect(request).end.reason == "length" for request in requests)


# --- loading and leaving ----------------------------------------------------------------------------


def test_a_file_is_loaded_once_and_freed_with_the_last_set_that_has_it(tiny: Tiny) -> None:
    shared = tiny.file("shared", {LAST: random_pair(WIDTH, INNER, seed=1)})
    other = tiny.file("other", {QUERY: random_pair(WIDTH, WIDTH, seed=2)})
    assert tiny.load(1, shared).adapters == 1
    assert tiny.load(2, shared, other).adapters == 2
    assert tiny.load(2, other).adapters == 2
    tiny.top(1)
    assert tiny.drop(1).adapters == 2
    assert tiny.engine.stats().sequences_cached == 0
    assert tiny.drop(2).adapters == 0
    assert tiny.drop(2).adapters == 0


def test_a_file_that_changed_is_another_file(tiny: Tiny) -> None:
    for version in (1, 2):
        pairs = {OUTPUT: random_pair(len(WORDS), WIDTH, seed=version)}
        file = tiny.file("lora", pairs)
        tiny.load(version, AdapterFile(file.path, version, 1.0))
        assert_close(tiny.top(version), tiny.by_hand(merged(tiny.weights, pairs, 1.0)))


def test_a_request_for_a_set_that_is_not_loaded_is_refused(tiny: Tiny) -> None:
    failed = tiny.engine.failure(tiny.engine.submit(PROMPT, adapters=7))
    assert failed.message == "the set of adapters 7 is not loaded: send the request again"


def test_an_adapter_that_does_not_fit_is_named_and_nothing_of_its_set_stays(tiny: Tiny) -> None:
    good = tiny.file("good", {LAST: random_pair(WIDTH, INNER, seed=1)})
    bad = tiny.file("bad", {LAST: random_pair(WIDTH, INNER + 1, seed=1)})
    reply = tiny.engine.ask(LoadAdapters(9, 1, [good, bad]))
    assert isinstance(reply, Failed)
    assert reply.code == "load_failed"
    assert f"the adapter {bad.path!r} cannot be applied: tensor '{LAST}' has incorrect shape" in reply.message
    assert tiny.engine.stats().adapters == 0
    assert tiny.load(1, good).adapters == 1


def test_without_adapters_a_step_has_nothing_to_do_for_them(
    tiny: Tiny, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[object] = []
    monkeypatch.setattr(tiny.engine.context, "use_adapters", asked.append)
    tiny.engine.run(PROMPT, max_tokens=20, ignore_eos=True)
    assert asked == []


# --- embeddings -------------------------------------------------------------------------------------


def test_an_embedding_model_embeds_with_adapters(tmp_path: Path) -> None:
    path = write_tiny_bert(tmp_path / "bert.gguf", "mean")
    spec = LoadSpec(
        path=str(path), embedding=True, n_threads=1, n_ctx=64, n_cells=64, n_batch=64, n_seq_max=8
    )
    engine = Engine(Context(spec, lambda _: None), None)
    name = "blk.0.attn_output.weight"
    pairs = {name: random_pair(BERT_WIDTH, BERT_WIDTH, seed=1)}
    lora = write_lora(tmp_path / "lora.gguf", pairs, 1.0, architecture="bert")
    engine.start()

    def embed(adapters: int) -> Floats:
        reply = engine.ask(Embed(id=5, inputs=[[2, 5, 6, 8, 3]], adapters=adapters))
        assert isinstance(reply, Embedded), reply
        return np.array(reply.vectors[0])

    bare = embed(0)
    engine.ask(LoadAdapters(1, 1, [AdapterFile(str(lora), 1, 1.0)]))
    engine.ask(LoadAdapters(2, 2, [AdapterFile(str(lora), 1, 0.0)]))
    assert np.abs(embed(1) - bare).max() > 0.01
    assert embed(2).tolist() == embed(0).tolist() == bare.tolist()
    unknown = engine.ask(Embed(id=6, inputs=[[2, 5, 3]], adapters=3))
    assert isinstance(unknown, Failed)
    engine.stop()
    assert engine.grammars.close(60)
    engine.context.free()


# --- real tokens ------------------------------------------------------------------------------------


def test_on_smollm2_a_zero_adapter_changes_nothing_and_streams_alternate(
    engine: Engine, tmp_path: Path
) -> None:
    name, rows, columns = "blk.29.ffn_down.weight", 576, 1536
    a, b = random_pair(rows, columns, seed=1, rank=2, size=0.05)
    for number, factor in ((1, 0.0), (2, 8.0)):
        path = write_lora(tmp_path / f"{number}.gguf", {name: (a, b * factor)}, 2.0)
        assert isinstance(engine.ask(LoadAdapters(-1, number, [AdapterFile(str(path), 1, 1.0)])), Stats)
    prompt = "The capital of France is"
    alone = [engine.run(prompt, max_tokens=24, adapters=number).tokens for number in range(3)]
    assert alone[0] == alone[1] != alone[2]
    engine.drop_cache()
    together = [engine.submit(prompt, max_tokens=24, adapters=number) for number in range(3)]
    assert [engine.collect(request).tokens for request in together] == alone
    for number in (1, 2):
        stats = engine.ask(DropAdapters(-1, number))
    assert stats.adapters == 0


def test_sets_are_not_selected_twice_and_the_selected_one_can_go() -> None:
    class Recorder:
        """Stands in for a context."""

        def __init__(self) -> None:
            self.used: list[list[tuple[str, float]]] = []
            self.freed: list[str] = []

        def load_adapter(self, path: str) -> str:
            return path

        def free_adapter(self, adapter: str) -> None:
            assert not self.used[-1], "it is freed while it is used"
            self.freed.append(adapter)

        def use_adapters(self, adapters: list[tuple[str, float]]) -> None:
            self.used.append(adapters)

    context = Recorder()
    adapters = Adapters(context)  # pyright: ignore[reportArgumentType]
    adapters.load(1, [AdapterFile("x", 1, 0.5)])
    assert [adapters.select(number) for number in (0, 1, 1)] == [False, True, False]
    adapters.drop(1)
    assert (context.used, context.freed) == ([[("x", 0.5)], []], ["x"])
    assert 1 not in adapters
