"""What is written is read back, whatever the texts hold; and no bytes do worse than a ModelfileError."""

from __future__ import annotations

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from agentkit_server.errors import ModelfileError
from agentkit_server.models.modelfile import AdapterLine, MessageLine, Modelfile, parse, render
from agentkit_server.models.modelfile.parameters import KINDS
from agentkit_server.models.modelfile.structure import ROLES

PIECES = [
    *('"', '""', '"""', "'", "\n", "\r\n", "\r", " ", "\t", "\x0b", "\xa0", "\u2028", "\u200d", "\x00"),
    *("FROM x", "# no comment", "scale=0.5", " scale=2", "json:", 'json:"a"', "\\", "\\n", "{{ .Prompt }}"),
    *("a", "é", "👩‍🚀", "\ufeff", "\ud800"),
]
texts = st.lists(st.sampled_from(PIECES) | st.text(max_size=3), max_size=7).map("".join)
words = texts.filter(str.strip)
VALUES = {
    "integer": st.integers(-(2**63), 2**64 - 1),
    "number": st.floats(allow_nan=False, allow_infinity=False),
    "boolean": st.booleans(),
    "strings": st.lists(texts, min_size=1, max_size=3),
}
scales = st.floats(allow_nan=False, allow_infinity=False)
modelfiles = st.builds(
    Modelfile,
    from_=st.lists(words, min_size=1, max_size=3).map(tuple),
    adapters=st.lists(st.builds(AdapterLine, words, scales), max_size=2).map(tuple),
    draft=st.none() | words,
    template=st.none() | texts,
    system=st.none() | texts,
    parameters=st.fixed_dictionaries({}, optional={name: VALUES[kind] for name, kind in KINDS.items()}),
    messages=st.lists(st.builds(MessageLine, st.sampled_from(ROLES), texts), max_size=3).map(tuple),
    license=st.lists(texts, max_size=2).map(tuple),
    renderer=st.none() | words,
    parser=st.none() | words,
    requires=st.none() | st.sampled_from(["0.14.0", "1", "1.2-rc.1", "0.3.0+build.5"]),
)


@given(modelfiles)
@settings(max_examples=60)
def test_what_is_written_is_read_back(modelfile: Modelfile) -> None:
    text = render(modelfile)
    assert parse(text) == modelfile
    assert parse(text.encode()) == modelfile
    assert render(parse(text)) == text


@given(modelfiles, st.sampled_from(["utf-8-sig", "utf-16"]))
@settings(max_examples=15)
def test_the_encodings_of_editors_are_read(modelfile: Modelfile, encoding: str) -> None:
    assert parse(render(modelfile).encode(encoding)) == modelfile


@given(texts)
@example('say "hello"')
@example('"')
@example('ends with "')
@example('"""')
@example('a\n"""\nb')
@example('a """ b')
@example(" blanks ")
@example("\n\n")
@example("")
def test_every_text_survives_in_every_place(text: str) -> None:
    written = Modelfile(
        from_=("x",),
        system=text,
        template=text,
        license=(text,),
        messages=(MessageLine("user", text),),
        parameters={"stop": [text]},
    )
    assert parse(render(written)) == written


@pytest.mark.parametrize(
    "text",
    ["plain", "", " blanks ", "two\nlines", 'say "x"', '"', 'ends with "', 'in the """ middle', '""', '"""x'],
)
def test_what_ollama_can_say_is_said_in_its_grammar(text: str) -> None:
    assert "json:" not in render(Modelfile(from_=("x",), system=text))


@pytest.mark.parametrize("text", ['a """\nb', '"""\n', 'first"""  \nsecond'])
def test_a_line_that_would_end_the_quotes_is_written_as_json(text: str) -> None:
    assert 'SYSTEM json:"' in render(Modelfile(from_=("x",), system=text))


@given(st.binary(max_size=200))
@settings(max_examples=150)
def test_any_bytes_are_a_modelfile_or_an_error_with_a_place(content: bytes) -> None:
    read_or_refused(content)


@given(
    st.lists(
        st.sampled_from(["FROM x", "SYSTEM ", "PARAMETER stop ", "MESSAGE user ", "ADAPTER a ", *PIECES]),
        max_size=20,
    ).map("".join)
)
@settings(max_examples=150)
def test_any_mixture_of_commands_is_a_modelfile_or_an_error_with_a_place(text: str) -> None:
    read_or_refused(text)


def read_or_refused(content: bytes | str) -> None:
    try:
        modelfile = parse(content)
    except ModelfileError as error:
        assert error.message.startswith(f"(line {error.line}, column {error.column}): ")
        assert error.line >= 1
        assert error.column >= 1
    else:
        assert parse(render(modelfile)) == modelfile


def test_a_long_text_is_read_in_one_go() -> None:
    # Quadratic reading of these quotes would take hours.
    text = '"\n' * 300_000
    assert parse(f'FROM x\nSYSTEM """{text}"""').system == text
