"""Markers in a vocabulary: which are control tokens, and how a grammar and a parser meet them."""

from __future__ import annotations

from hypothesis import given, settings
from hypothesis import strategies as st
from llguidance import LLMatcher
from support.syntaxes import Vocabulary, families, own_vocabulary

from agentkit_server.turn.syntaxes.families.json_calls import DEEPSEEK, HERMES
from agentkit_server.turn.syntaxes.pieces import Marks, quoted


@settings(max_examples=200, deadline=None)
@given(st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=20))
def test_a_quoted_text_is_that_text_for_the_grammar(text: str) -> None:
    vocabulary = Vocabulary(())
    found = LLMatcher(vocabulary.tokenizer, f"%llguidance {{}}\nstart: {quoted(text)}\n", log_level=0)
    assert found.try_consume_tokens(list(text.encode())) == len(text.encode())
    assert found.is_accepting()


def test_a_marker_is_text_or_a_control_token_as_the_vocabulary_has_it() -> None:
    marks = Marks({"<a>": 7, "<ab>": 9})
    assert marks.lark("x<a>y<ab>") == '"x" <[7]> "y" <[9]>'
    assert marks.lark("") == ""
    assert (marks.is_control("<a>x"), marks.is_control("x<a>")) == (True, False)
    assert marks.ids("<ab> <a>") == [9, 7]
    met = marks.text("x<a>y<ab>")
    assert len(met) == 4 and marks.stood_for(met) == "x<a>y<ab>"
    assert Marks({}).lark('"<a>"\n') == r'"\"<a>\"\n"'


def test_thousands_of_spare_tokens_leave_room_for_those_in_use() -> None:
    spare = {f"<unused{at}>": at for at in range(6000)}
    marks = Marks({**spare, "<tool_call>": 7000, "<|im_end|>": 7001})
    assert marks.lark("<tool_call>") == "<[7000]>"
    assert marks.stood_for(marks.text("a<tool_call>b")) == "a<tool_call>b"


def test_a_syntax_asks_for_its_own_control_tokens_alone() -> None:
    control = {"<｜tool▁calls▁begin｜>": 4, "<｜tool▁sep｜>": 5, "<｜User｜>": 6}
    assert DEEPSEEK.marks(Marks(control)) == [4, 5]
    assert HERMES.marks(Marks(control)) == []


def test_every_family_tells_the_marks_of_its_arguments_too() -> None:
    for syntax in families():
        vocabulary = own_vocabulary(syntax)
        assert len(syntax.marks(vocabulary.marks)) == len(vocabulary.control)
