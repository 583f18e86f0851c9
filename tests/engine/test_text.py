from __future__ import annotations

import itertools

from hypothesis import example, given
from hypothesis import strategies as st

from agentkit_server.engine.text import TextStream


def pieces(raw: bytes, cuts: list[int]) -> list[bytes]:
    edges = sorted({0, len(raw), *(c % (len(raw) + 1) for c in cuts)})
    return [raw[a:b] for a, b in itertools.pairwise(edges)]


@given(st.text(), st.lists(st.integers(0, 1000)))
@example("naïve 👩‍👩‍👧 ok", [3, 8, 9, 10, 11])
def test_however_the_bytes_are_cut_the_text_is_whole_and_no_piece_holds_half_a_character(
    text: str, cuts: list[int]
) -> None:
    stream = TextStream([])
    out = [stream.push(p) for p in pieces(text.encode(), cuts)] + [stream.flush()]
    assert "".join(out) == text
    assert all("�" not in piece for piece in out) or "�" in text


@given(st.text("ab\nSTOP", max_size=40), st.lists(st.integers(0, 100)))
@example("aaSTOSTOPbb", [3, 5, 8])
def test_a_stop_string_is_found_across_pieces_and_nothing_of_it_comes_out(text: str, cuts: list[int]) -> None:
    stops = ["STOP", "\n\n"]
    stream = TextStream(stops)
    out = ""
    for piece in pieces(text.encode(), cuts):
        out += stream.push(piece)
        if stream.stopped_by is not None:
            break
    out += stream.flush()
    ends = [text.find(s) for s in stops if s in text]
    assert out == (text[: min(ends)] if ends else text)
    assert (stream.stopped_by is not None) == bool(ends)


def test_text_that_only_began_like_a_stop_string_is_not_lost() -> None:
    stream = TextStream(["<|end|>"])
    assert stream.push(b"one <|en") == "one "
    assert stream.push(b"ough") == "<|enough"
    assert stream.push(b"<|e") == ""
    assert stream.flush() == "<|e"


def test_after_a_flush_in_the_midst_the_text_begins_anew() -> None:
    stream = TextStream(["ab"])
    assert stream.push(b"xa" + b"\xc3") == "x"
    assert stream.flush() == "a�"
    assert stream.push(b"b") == "b"
    assert stream.push(b"ab") == ""
    assert stream.stopped_by == "ab"


def test_bytes_that_are_no_character_become_replacement_characters_at_the_end() -> None:
    stream = TextStream([])
    assert stream.push(b"a\xf0\x9f") == "a"
    assert stream.flush() == "�"
