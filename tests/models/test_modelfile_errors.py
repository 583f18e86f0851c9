from __future__ import annotations

import tracemalloc

import pytest
from support.malformed_modelfiles import RIGHT, Malformed, malformed

from agentkit_server.errors import ModelfileError
from agentkit_server.models.modelfile import parse

MALFORMED = list(malformed())


def test_there_are_more_than_two_hundred() -> None:
    assert len({case.content for case in MALFORMED}) > 200
    assert parse("\n".join(RIGHT)).warnings == ()


@pytest.mark.parametrize("case", MALFORMED, ids=lambda case: f"{case.content[:60]!r}:{case.line}")
def test_a_malformed_modelfile_is_an_error_at_its_line(case: Malformed) -> None:
    with pytest.raises(ModelfileError) as caught:
        parse(case.content)
    error = caught.value
    assert error.message.startswith(f"(line {case.line}, column {error.column}): ")
    assert case.words in error.message
    assert (error.line, error.status, error.code) == (case.line, 400, "invalid_modelfile")


@pytest.mark.parametrize(
    ("text", "place"),
    [
        ("FORM x", (1, 1)),
        ("FROM x\n\t FORM y", (2, 3)),
        ("FROM x\nPARAMETER  temprature 1", (2, 12)),
        ("FROM x\nPARAMETER top_k  many", (2, 18)),
        ("FROM x\nMESSAGE robot hi", (2, 9)),
        ('FROM x\nSYSTEM "é" x', (2, 8)),
        ('FROM x\nSYSTEM json:"é\\x"', (2, 15)),
        ('FROM x\nSYSTEM json:"a" b', (2, 17)),
        ('FROM x\nADAPTER "a b"  scale=half \t', (2, 22)),
        ("\ufeffFROM x\r\n\r\nFORM y", (3, 1)),
    ],
)
def test_the_column_is_that_of_what_is_wrong(text: str, place: tuple[int, int]) -> None:
    with pytest.raises(ModelfileError) as caught:
        parse(text)
    assert (caught.value.line, caught.value.column) == place


@pytest.mark.parametrize("line", ["PARAMETER temperature {}x", "ADAPTER a scale={}x"])
def test_a_long_number_is_refused_at_once(line: str) -> None:
    # Reading it in every way that digits can be divided would take hours.
    with pytest.raises(ModelfileError):
        parse("FROM x\n" + line.format("1" * 1_000_000))


def test_many_comments_take_little_memory() -> None:
    text = "#\n" * 50_000 + "FROM x"
    tracemalloc.start()
    parse(text)
    _, most = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert most < 100 * 50_000


def test_a_long_word_does_not_fill_the_message() -> None:
    with pytest.raises(ModelfileError) as caught:
        parse("FROM x\n" + "x" * 100_000)
    assert len(caught.value.message) < 300
