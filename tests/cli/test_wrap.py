from __future__ import annotations

import io

import pytest

from agentkit_cli.wrap import PlainText, TerminalText


def shown(pieces: list[str], width: int | None = 20) -> str:
    stream = io.StringIO()
    text = TerminalText(stream, width)
    for piece in pieces:
        text.write(piece)
    text.finish()
    return stream.getvalue()


def test_a_word_that_crosses_the_edge_moves_to_the_next_line() -> None:
    assert shown(["one two three four five six"]) == "one two three four \nfive six\n"


def test_wrapping_does_not_depend_on_how_the_text_is_cut() -> None:
    text = "one two three four five six seven\n\neight nine\n"
    assert shown(list(text)) == shown([text])


@pytest.mark.parametrize("text", ["a" * 50, "漢" * 40, "word " + "b" * 45])
def test_no_line_is_wider_than_the_terminal(text: str) -> None:
    lines = shown([text]).splitlines()
    assert max(len(line) * (2 if "漢" in line else 1) for line in lines) <= 20
    assert "".join(lines).replace(" ", "") == text.replace(" ", "")


def test_scripts_without_spaces_are_shown_at_once() -> None:
    stream = io.StringIO()
    TerminalText(stream, 20).write("漢字")
    assert stream.getvalue() == "漢字"


def test_control_characters_never_reach_the_terminal() -> None:
    assert shown(["\x1b]0;title\x07red\x1b[31m"], None) == "]0;titlered[31m\n"


@pytest.mark.parametrize("width", [20, None])
def test_a_part_is_dim_where_the_terminal_can_show_it(width: int | None) -> None:
    shown_as: list[str] = []
    for styled in (True, False):
        stream = io.StringIO()
        text = TerminalText(stream, width, styled=styled)
        text.write("said")
        text.dim(True)
        text.write("thought")
        text.finish()
        text.dim(False)
        text.write("said\n")
        shown_as.append(stream.getvalue())
    assert shown_as == ["said\x1b[2mthought\n\x1b[0msaid\n", "saidthought\nsaid\n"]


def test_a_pipe_is_never_dim() -> None:
    stream = io.StringIO()
    text = PlainText(stream)
    text.dim(True)
    text.write("thought")
    assert stream.getvalue() == "thought"


def test_a_pipe_gets_the_text_as_it_is() -> None:
    stream = io.StringIO()
    text = PlainText(stream)
    text.write("a\x1b b" * 30)
    text.finish()
    assert stream.getvalue() == "a\x1b b" * 30 + "\n"
