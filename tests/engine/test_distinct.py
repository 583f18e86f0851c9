"""The guard beside a grammar: which token would repeat an item."""

from __future__ import annotations

import json
import random
from collections.abc import Hashable, Sequence
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from agentkit_server.engine.constraint import Constraint, ConstraintBroken, compile_grammar
from agentkit_server.engine.distinct import Guard
from agentkit_server.engine.types import Distinct, ItemsRule, Lead, Sampling
from agentkit_server.runner.byte_tokens import byte_tokenizer

from .conftest import Engine

UNIQUE = Distinct(places=[ItemsRule(unique=True)])
COLOURS = ["red", "reddish", "green", "blue", "black", "white"]


def guard(pieces: Sequence[bytes], rules: Distinct = UNIQUE) -> Guard:
    return Guard(rules, lambda token: pieces[token])


def taken(pieces: Sequence[bytes], rules: Distinct = UNIQUE) -> int:
    """How many of `pieces` pass."""
    one = guard(pieces, rules)
    return next((at for at in range(len(pieces)) if not one.take(at)), len(pieces))


SCALARS = st.sampled_from([None, True, False, 0, 1, 1.0, 10, 1e1, "", "a", "1", "null", 'é"\\'])
VALUES = st.recursive(
    SCALARS,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from("ab"), inner, max_size=2),
    max_leaves=6,
)


def meaning(value: Any) -> Hashable:
    if isinstance(value, dict):
        return frozenset((name, meaning(part)) for name, part in value.items())
    if isinstance(value, list):
        return tuple(map(meaning, value))
    return ("literal", value) if value is None or isinstance(value, bool) else ("plain", value)


@settings(max_examples=500)
@given(st.lists(VALUES, max_size=6), st.booleans(), st.randoms(use_true_random=False))
def test_an_array_passes_in_any_pieces_exactly_when_its_items_are_distinct(
    items: list[Any], ascii_only: bool, chance: random.Random
) -> None:
    text = json.dumps(items, ensure_ascii=ascii_only, indent=chance.choice([None, 1])).encode()
    cuts = sorted(chance.sample(range(len(text) + 1), min(len(text), 5)))
    pieces = [text[a:b] for a, b in zip([0, *cuts], [*cuts, len(text)], strict=True)]
    pieces = [piece for piece in pieces if piece]
    distinct = len(set(map(meaning, items))) == len(items)
    assert (taken(pieces) == len(pieces)) == distinct


@pytest.mark.parametrize(
    "pieces",
    [
        [b'["a', b'","a', b'"'],
        [b"[1", b", 1.0", b"]"],
        [b"[true,", b" t"],
        [b'[{"a":1,"b":2},', b'{"b":2,"a":1', b"}"],
        [b'["\\u00e9",', '"é'.encode(), b'"]'],
    ],
)
def test_the_token_that_completes_a_repeated_item_is_refused(pieces: list[bytes]) -> None:
    assert taken(pieces) == len(pieces) - 1


def test_a_refused_token_leaves_no_trace() -> None:
    pieces = [b'["a","b"', b',"a"]', b',"c","b"', b',"c"', b',"b', b'"', b'b"]']
    one = guard(pieces)
    assert [one.take(token) for token in range(7)] == [True, False, False, True, True, False, True]


def test_copies_go_their_own_ways() -> None:
    pieces = [b'["a"', b',"b"', b',"c"']
    one = guard(pieces)
    one.take(0)
    other = one.copy()
    assert one.take(1) and not one.take(1)
    assert other.take(2) and other.take(1)


def test_only_the_arrays_that_are_named_are_guarded() -> None:
    rules = Distinct(
        places=[ItemsRule(names={"a": 1, "é": 1}, rest=2), ItemsRule(unique=True), ItemsRule(items=1)]
    )
    assert taken([b'{"a":[1', b",1]}"], rules) == 1
    assert taken([b'{"\\u00e9":[1', b",1]}"], rules) == 1
    assert taken([b'{"b":[1,1,[2', b",2]]}"], rules) == 1
    assert taken([b'{"b":[1', b",1,{}", b",[[3,3]]]", b"}"], rules) == 4


def test_where_only_known_items_are_left_to_be_written_there_is_no_way() -> None:
    rules = Distinct(places=[ItemsRule(unique=True, values=['"ab"', '"ac"', "1", "12"])])
    assert taken([b'["ab",', b'"a', b"b"], rules) == 2
    assert taken([b'["ab","ac",', b'"'], rules) == 1
    assert taken([b"[12,", b"1", b",", b'"a', b"c", b'",', b'"ab"', b","], rules) == 7


THINKING = Distinct(
    places=UNIQUE.places, lead=Lead(opening=b"<think>", closing=b"</think>", marker=b"\xff<9>")
)


@pytest.mark.parametrize(
    ("lead", "pieces"),
    [
        (THINKING.lead, [b"<thi", b"nk>[1,1] </th", b"ink>\n\n[1", b",1]"]),
        (THINKING.lead, [b" <think>[1,1]</think>", b"\xff<9>", b"[1", b",1]"]),
        (THINKING.lead, [b"[1", b",1]"]),
        (Lead(inside=True, closing=b"</think>"), [b"[1,1]<think>", b"</think", b">[1", b",1]"]),
        (Lead(inside=True, closing=b"\xff<7>\xff<8>"), [b"[1,1]\xff<7>", b"\xff<8>[1", b",1]"]),
        (Lead(opening=b"[THINK]", closing=b"[/THINK]"), [b"[", b'"a"', b',"a"']),
    ],
)
def test_it_begins_with_the_json_whatever_the_text_before_looks_like(lead: Lead, pieces: list[bytes]) -> None:
    assert taken(pieces, Distinct(places=UNIQUE.places, lead=lead)) == len(pieces) - 1


def constraint(schema: dict[str, Any], rules: Distinct = UNIQUE) -> Constraint:
    grammar = "start: %json " + json.dumps({"x-guidance": {"whitespace_flexible": False}, **schema})
    matcher = compile_grammar(byte_tokenizer(1, (256,)), grammar)
    return Constraint(matcher, frozenset({256}), 257, Guard(rules, lambda token: bytes([token])))


def test_a_token_that_the_guard_refuses_leaves_the_mask_of_its_place() -> None:
    walker = constraint({"type": "array", "items": {"type": "string"}})
    assert all(walker.take(byte) for byte in b'["a","a')
    assert walker.mask()[ord('"')]
    assert not walker.take(ord('"')) and walker.excludes(ord('"'))
    assert not walker.mask()[ord('"')] and walker.mask()[ord("b")]
    assert all(walker.take(byte) for byte in b'b"]') and walker.accepting


def test_an_item_is_not_written_to_where_it_can_only_become_one_that_is_there() -> None:
    walker = constraint({"type": "array", "items": {"type": "string", "maxLength": 2}})
    assert all(walker.take(byte) for byte in b'["ab","a')
    assert not walker.take(ord("b")) and walker.take(ord("c"))
    item = {"properties": {"a": {"type": "string"}}, "type": "object", "additionalProperties": False}
    walker = constraint({"type": "array", "items": item})
    assert all(walker.take(byte) for byte in b'[{"a":"b"},{"a":"b')
    assert not walker.take(ord('"')) and walker.take(ord("c")) and walker.take(ord('"'))


def test_forced_tokens_end_before_a_repeated_item_and_nothing_is_left() -> None:
    walker = constraint({"type": "array", "items": {"const": "abc"}, "minItems": 2})
    assert bytes(walker.forced()) == b'["abc","abc'
    assert walker.mask().any()
    assert walker.forced() == []
    assert not walker.take(ord('"'))
    with pytest.raises(ConstraintBroken, match="uniqueItems"):
        walker.few()


def items_of(engine: Engine, items: dict[str, Any], values: list[str], **options: Any) -> list[Any]:
    schema = {"type": "array", "items": items, "minItems": 4, "maxItems": 6}
    rules = Distinct(places=[ItemsRule(unique=True, values=[json.dumps(value) for value in values])])
    prompt = (
        "<|im_start|>user\nA list of colours: red, red, red, red, red.<|im_end|>\n<|im_start|>assistant\n"
    )
    grammar = "start: %json " + json.dumps(schema)
    answer = engine.run(prompt, grammar=grammar, distinct=rules, max_tokens=300, **options)
    assert answer.end.reason == "stop", answer.end
    return json.loads(answer.text)


SAMPLINGS = [Sampling(temperature=0), Sampling(seed=3), Sampling(temperature=0, repeat_penalty=1.1)]


@pytest.mark.parametrize("sampling", SAMPLINGS, ids=["greedy", "default", "penalties"])
@pytest.mark.parametrize("values", [COLOURS, []], ids=["listed", "open"])
def test_a_model_that_would_repeat_itself_writes_distinct_items(
    engine: Engine, sampling: Sampling, values: list[str]
) -> None:
    items = {"enum": values} if values else {"type": "string", "maxLength": 30}
    answered = items_of(engine, items, values, sampling=sampling)
    assert 4 <= len(answered) == len(set(answered))
