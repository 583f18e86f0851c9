"""Grammars are compiled once, beside everything else, and kept within bounds."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from queue import SimpleQueue

import pytest
from llguidance import LLMatcher, LLTokenizer

from agentkit_server.engine import grammars as grammars_module
from agentkit_server.engine.constraint import Constraint, GrammarRefused, compile_grammar
from agentkit_server.engine.grammars import Grammars
from agentkit_server.engine.llama import Context, Vocabulary

from .conftest import TIMEOUT


@pytest.fixture
def grammars(shared_context: Context) -> Iterator[Grammars]:
    grammars = Grammars(shared_context.vocabulary)
    yield grammars
    assert grammars.close(TIMEOUT)


def build(grammars: Grammars, *texts: str) -> list[Constraint | GrammarRefused]:
    outcomes: SimpleQueue[Constraint | GrammarRefused] = SimpleQueue()
    for text in texts:
        grammars.build(text, outcomes.put)
    return [outcomes.get(timeout=TIMEOUT) for _ in texts]


def test_a_grammar_that_many_ask_for_is_compiled_once(
    grammars: Grammars, monkeypatch: pytest.MonkeyPatch
) -> None:
    compiled: list[str] = []

    def counting(tokenizer: LLTokenizer, grammar: str) -> LLMatcher:
        compiled.append(grammar)
        return compile_grammar(tokenizer, grammar)

    monkeypatch.setattr(grammars_module, "compile_grammar", counting)
    assert grammars.ready('start: "a"') is None
    # The tokenizer is not ready yet, so all of them find the first one waiting.
    outcomes = build(grammars, *['start: "a"'] * 10)
    assert all(isinstance(outcome, Constraint) for outcome in outcomes)
    assert compiled == ['start: "a"']
    assert isinstance(grammars.ready('start: "a"'), Constraint)


def test_what_one_sequence_has_written_is_nothing_to_another(grammars: Grammars) -> None:
    build(grammars, 'start: "ab"')
    first, second = grammars.ready('start: "ab"'), grammars.ready('start: "ab"')
    assert first is not None and second is not None
    ids = first.few()
    assert ids is not None
    assert first.take(int(ids[-1]))
    assert not first.take(int(ids[-1]))
    assert second.take(int(ids[-1]))


def test_only_the_grammars_used_last_are_kept(grammars: Grammars, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(grammars_module, "MOST_KEPT", 2)
    a, b, c = 'start: "a"', 'start: "b"', 'start: "c"'
    build(grammars, a)
    build(grammars, b)
    assert grammars.ready(a)
    build(grammars, c)
    assert grammars.ready(a) and grammars.ready(c)
    assert grammars.ready(b) is None
    monkeypatch.setattr(grammars_module, "MOST_KEPT_BYTES", 15)
    build(grammars, 'start: "dd"')
    assert grammars.ready(a) is None and grammars.ready(c) is None


def test_a_refused_grammar_is_not_kept_and_hinders_nobody(grammars: Grammars) -> None:
    refused, made = build(grammars, "start: nothing", 'start: "a"')
    kinds = {type(refused), type(made)}
    assert kinds == {GrammarRefused, Constraint}
    assert grammars.ready("start: nothing") is None


@dataclass(frozen=True)
class Facade:
    """A vocabulary with something changed."""

    real: Vocabulary
    size: int
    eog: frozenset[int]
    broken: bool = False
    takes_any_text: bool = True

    def written(self) -> list[bytes | None]:
        if self.broken:
            raise RuntimeError("no such vocabulary")
        return self.real.written()

    @property
    def pointer(self) -> int:
        return self.real.pointer

    @property
    def tokenize_address(self) -> int:
        return self.real.tokenize_address


def test_a_model_without_an_end_token_can_be_constrained(shared_context: Context) -> None:
    real = shared_context.vocabulary
    facade = Facade(real, real.size, frozenset())
    grammars = Grammars(facade)
    (constraint,) = build(grammars, 'start: "a"?')
    assert isinstance(constraint, Constraint)
    ids = constraint.few()
    assert ids is not None and len(ids) == 1
    assert constraint.take(int(ids[0])) and constraint.complete
    (broken,) = build(Grammars(replace(facade, broken=True)), 'start: "a"')
    assert isinstance(broken, GrammarRefused)
    assert "vocabulary" in str(broken)
    assert grammars.close(TIMEOUT)
