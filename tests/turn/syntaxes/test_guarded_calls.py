"""Items that may not be repeated in the arguments of calls, in every syntax that writes them as JSON."""

from __future__ import annotations

import json
import random
from collections.abc import Sequence
from typing import Any

import pytest
from support.syntaxes import Vocabulary, cut, families, own_vocabulary, read, vocabularies, with_thinking

from agentkit_server.engine.constraint import Constraint, compile_grammar
from agentkit_server.engine.distinct import Guard
from agentkit_server.engine.types import Distinct
from agentkit_server.turn.schema.distinct import joined
from agentkit_server.turn.schema.prepare import prepare
from agentkit_server.turn.schema.prepared import PreparedSchema
from agentkit_server.turn.syntaxes.arguments import CallableTool
from agentkit_server.turn.syntaxes.grammar import grammar
from agentkit_server.turn.syntaxes.lead import follows_arguments, lead
from agentkit_server.turn.syntaxes.shape import Shape
from agentkit_server.turn.syntaxes.syntax import Syntax
from agentkit_server.turn.syntaxes.write import write

FOLLOWED = [with_thinking(one) for one in families() if follows_arguments(one)]
every = pytest.mark.parametrize("syntax", FOLLOWED, ids=lambda one: one.name)
SET = {"type": "array", "items": {"type": "string"}, "uniqueItems": True}
TOOLS = (
    CallableTool(name="get", arguments=prepare({"type": "object", "properties": {"a": SET}})),
    CallableTool(name="get_all", arguments=prepare({"type": "object", "properties": {"a": {}, "b": SET}})),
    CallableTool(name="all_get", arguments=prepare({"type": "object", "properties": {"a": {}}})),
)
ANSWER = prepare(SET)


def rules(
    syntax: Syntax, shape: Shape, vocabulary: Vocabulary, answer: PreparedSchema | None = None
) -> Distinct:
    places, begins = joined(answer and answer.distinct, [tool.arguments.distinct for tool in shape.tools])
    return Distinct(places=places, lead=lead(syntax, shape, vocabulary.marks, begins))


def taken(rules: Distinct, vocabulary: Vocabulary, text: str, pieces: int = 0) -> str | None:
    """The text with the first token that is refused; None when all of it passes. `pieces`: a seed by which
    bytes come several in a token; 0 = one by one."""
    tokens = vocabulary.tokens(text)
    whole = b"".join(bytes([token]) if token < 256 else b"\xff<%d>" % token for token in tokens)
    parts = [bytes([token]) if token < 256 else b"" for token in tokens]
    if pieces:
        chance = random.Random(pieces)
        written = cut(whole.decode("latin-1"), [chance.randrange(len(whole)) for _ in range(len(whole) // 4)])
        parts = [part.encode("latin-1") for part in written]
        tokens = [*range(len(parts))]
    by_token = dict(zip(tokens, parts, strict=False)) if pieces else {}
    guard = Guard(rules, lambda token: by_token.get(token, bytes([token]) if token < 256 else b""))
    for at, token in enumerate(tokens):
        if not guard.take(token):
            return b"".join(parts[: at + 1]).decode("utf-8", "replace")
    return None


def shapes(tools: Sequence[CallableTool]) -> list[Shape]:
    return [Shape(tools=tuple(tools), calls="auto"), Shape(tools=tuple(tools), calls="required")]


def several(syntax: Syntax, *calls: tuple[str, Any]) -> list[tuple[str, Any]]:
    assert syntax.calls is not None
    return [*calls] if syntax.calls.parallel else [calls[-1]]


@every
@pytest.mark.parametrize("pieces", range(4))
def test_arguments_with_distinct_items_pass(syntax: Syntax, pieces: int) -> None:
    first, second = ("all_get", {"a": [1, 1]}), ("get_all", {"a": ["x", "x"], "b": ["x", "y"]})
    text = write(syntax, TOOLS, thinking="[1, 1] {", calls=several(syntax, first, second))
    for vocabulary in vocabularies(syntax):
        for shape in shapes(TOOLS):
            assert taken(rules(syntax, shape, vocabulary), vocabulary, text, pieces) is None


@every
@pytest.mark.parametrize("pieces", range(4))
@pytest.mark.parametrize(
    "calls",
    [
        (("get", {"a": ["x", "y", "x"]}),),
        (("all_get", {"a": ["x", "x"]}), ("get", {"a": ["é]}", "y", "é]}"]})),
        (("get", {"a": ["x"]}), ("get_all", {"a": ["x", "x"], "b": ["x", "y", "x"]})),
    ],
    ids=["one call", "after another tool", "in the second"],
)
def test_the_token_that_repeats_an_item_of_arguments_is_refused(
    syntax: Syntax, pieces: int, calls: Sequence[tuple[str, Any]]
) -> None:
    text = write(syntax, TOOLS, thinking="Hm", calls=several(syntax, *calls))
    for vocabulary in vocabularies(syntax):
        for shape in shapes(TOOLS):
            refused = taken(rules(syntax, shape, vocabulary), vocabulary, text, pieces)
            assert refused is not None
            if not pieces:
                assert refused.endswith('"y", "x"' if '"y", "x"' in text else '"y", "é]}"')


def writes_beside_calls(syntax: Syntax) -> bool:
    try:
        write(syntax, TOOLS, content="Let me", calls=[("get", {})])
    except ValueError:
        return False
    return True


@every
def test_text_beside_calls_is_no_value(syntax: Syntax) -> None:
    calls = [("get", {"a": ["x"]})] if writes_beside_calls(syntax) else []
    text = write(syntax, TOOLS, content='Say [1, 1] and {"a": ["x", "x"]}.', calls=calls)
    for vocabulary in vocabularies(syntax):
        shape = Shape(tools=TOOLS, calls="auto")
        assert taken(rules(syntax, shape, vocabulary), vocabulary, text) is None


@pytest.mark.parametrize("syntax", [*filter(writes_beside_calls, FOLLOWED)], ids=lambda one: one.name)
def test_text_before_a_call_does_not_hide_its_arguments(syntax: Syntax) -> None:
    text = write(syntax, TOOLS, content="Let me <see>:", calls=[("get", {"a": ["x", "x"]})])
    vocabulary = own_vocabulary(syntax)
    refused = taken(rules(syntax, Shape(tools=TOOLS, calls="auto"), vocabulary), vocabulary, text)
    assert refused is not None and refused.endswith('"x", "x"')


@every
def test_an_answer_that_is_bound_and_calls_in_its_place_are_both_followed(syntax: Syntax) -> None:
    assert syntax.calls is not None
    vocabulary = own_vocabulary(syntax)
    shape = Shape(tools=TOOLS, calls="auto", answer=ANSWER.fragment, thinking="forbidden")
    both = rules(syntax, shape, vocabulary, ANSWER)
    opening, closing = syntax.answer if syntax.answer_always else ("", "")
    answer = f"{opening}{json.dumps(['x', 'y'])}{closing}"
    assert taken(both, vocabulary, answer) is None
    assert taken(both, vocabulary, answer.replace("y", "x")) is not None
    call = write(syntax, TOOLS, calls=[("get", {"a": ["x", "x"]})])
    call = syntax.calls.tag + call if syntax.calls.bare else call
    assert taken(both, vocabulary, call) is not None


LISTED = {"type": "array", "items": {"enum": [*"abcdefg"]}, "uniqueItems": True, "minItems": 3, "maxItems": 5}
PICK = CallableTool(
    name="pick",
    arguments=prepare(
        {
            "type": "object",
            "properties": {"of": LISTED},
            "required": ["of"],
            "additionalProperties": False,
        }
    ),
)


@every
def test_whatever_is_written_under_grammar_and_guard_is_valid_at_once(syntax: Syntax) -> None:
    vocabulary = own_vocabulary(syntax)
    shape = Shape(tools=(PICK,), calls="required", parallel=False, thinking="forbidden")
    matcher = compile_grammar(vocabulary.tokenizer, grammar(syntax, shape, vocabulary.marks))
    for seed in range(20):
        guard = Guard(rules(syntax, shape, vocabulary), lambda token: bytes([token]) if token < 256 else b"")
        free = Constraint(matcher, frozenset({vocabulary.end}), vocabulary.end + 1).copy(guard=guard)
        tokens = sampled(free, vocabulary, random.Random(seed))
        found = read(syntax, shape, vocabulary, vocabulary.met(tokens))
        ((name, arguments),) = found.values
        assert name == "pick" and PICK.arguments.problems(arguments) == []


def sampled(constraint: Constraint, vocabulary: Vocabulary, chance: random.Random) -> list[int]:
    tokens: list[int] = []
    while not constraint.complete and len(tokens) < 2_000:
        allowed = [token for token, may in enumerate(constraint.mask()) if may]
        if vocabulary.end in allowed:
            return tokens
        likely = [token for token in allowed if token >= 256 or chr(token) not in " \t\r\n"]
        token = chance.choice(likely or allowed)
        if constraint.take(token):
            tokens.append(token)
    return tokens


@pytest.mark.parametrize(
    "syntax", [one for one in families() if not follows_arguments(one)], ids=lambda one: one.name
)
def test_a_bound_answer_is_followed_whatever_calls_are_written_in(syntax: Syntax) -> None:
    vocabulary = own_vocabulary(syntax)
    shape = Shape(tools=TOOLS, calls="auto", answer=ANSWER.fragment, thinking="forbidden")
    places, _ = joined(ANSWER.distinct, [])
    found = Distinct(places=places, lead=lead(syntax, shape, vocabulary.marks))
    opening = syntax.answer[0] if syntax.answer_always else ""
    assert taken(found, vocabulary, f'{opening}["x", "y"]') is None
    assert taken(found, vocabulary, f'{opening}["x", "x"]') is not None
    calls = [("get", {"a": ["x", "x"]})]
    assert taken(found, vocabulary, write(syntax, TOOLS, calls=calls)) is None
