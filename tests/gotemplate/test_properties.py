"""What holds for every source and all data."""

from __future__ import annotations

from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from agentkit_server.gotemplate.literals import quoted, unquoted
from agentkit_server.gotemplate.template import GoStruct, GoTemplate, GoTemplateError, Limits

WORDS = """{{ }} {{- -}} if else end range with define block template break continue nil true . .A .B.C $ $x
:= = | ( ) , "a" "%v" `b` 'c' 1 2.5 0x -
print printf len index slice eq and or not html call /* */ {{end}} {{else}} é \\"""
PIECES = [*WORDS.split(), " ", "\n", "\x00", "{{if .A}}", "{{range .B}}"]
SOURCES = st.lists(st.sampled_from(PIECES), max_size=40).map("".join) | st.lists(
    st.sampled_from(PIECES), max_size=40
).map(" ".join)
SCALARS = st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=10)
DATA = st.recursive(
    SCALARS,
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(st.sampled_from("ABCx"), inner, max_size=3)
        | st.dictionaries(st.sampled_from("ABC"), inner, max_size=3).map(GoStruct)
    ),
    max_leaves=8,
)
SMALL = Limits(steps=2_000, depth=60, characters=5_000)


@settings(max_examples=100, deadline=None)
@given(st.text().filter(lambda text: "{{" not in text))
def test_text_without_an_action_is_written_as_it_is(text: str) -> None:
    assert GoTemplate.parse(text).render(None) == text


@settings(max_examples=250, deadline=None)
@given(SOURCES | st.text(max_size=60), DATA)
def test_every_source_is_rendered_or_is_an_error_with_a_place_in_it(source: str, data: Any) -> None:
    try:
        written = GoTemplate.parse(source).render(data, limits=SMALL)
    except GoTemplateError as error:
        lines = source.split("\n")
        assert 1 <= error.line <= len(lines)
        assert 1 <= error.column <= len(lines[error.line - 1]) + 1
        assert error.reason
    else:
        written.encode()


@settings(max_examples=50, deadline=None)
@given(DATA)
def test_all_data_can_be_printed_in_every_way_and_twice_the_same(data: Any) -> None:
    template = GoTemplate.parse("{{.}}{{print .}}{{range $verb := .V}}{{printf $verb $.D}}{{end}}")
    verbs = [f"%{flag}{verb}" for flag in ("", "+#", "-9.3") for verb in "vTtdboOxXcqUeEfFgGsp"]
    given_data = {"D": data, "V": verbs}
    assert template.render(given_data) == template.render(given_data)


@settings(max_examples=100, deadline=None)
@given(st.text(st.characters(codec="utf-8")))
def test_a_quoted_text_is_read_back_as_it_was(text: str) -> None:
    for written in (quoted(text), quoted(text, ascii_only=True)):
        assert unquoted(written) == text
        assert GoTemplate.parse("{{" + written + "}}").render(None) == text


@settings(max_examples=100, deadline=None)
@given(st.text(st.characters(codec="utf-8"), min_size=1), st.data())
def test_a_text_that_is_cut_anywhere_and_joined_is_what_it_was(text: str, draw: st.DataObject) -> None:
    cut = draw.draw(st.integers(0, len(text.encode())))
    template = GoTemplate.parse(
        "{{slice .T 0 .N}}{{slice .T .N}} {{eq .T (print (slice .T 0 .N) (slice .T .N))}}"
    )
    assert template.render({"T": text, "N": cut}) == f"{text} true"


@settings(max_examples=200, deadline=None)
@given(st.floats())
def test_a_float_is_read_back_from_what_is_printed_of_it(value: float) -> None:
    written = GoTemplate.parse("{{.}}").render(value)
    assert written == GoTemplate.parse('{{printf "%v" .}}').render(value)
    assert float(written) == value or value != value
