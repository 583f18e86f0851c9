from __future__ import annotations

from agentkit.web import Page

WHOLE = Page("https://pages.test/", "Title", "0123456789", ("https://pages.test/a",))


def test_a_whole_page_counts_its_characters() -> None:
    assert (WHOLE.offset, WHOLE.total, WHOLE.next_offset) == (0, 10, None)


def test_parts_follow_each_other_to_the_end() -> None:
    parts, offset = [], 0
    while offset is not None:
        part = WHOLE.part(offset, 4)
        parts.append(part.content)
        assert part.total == 10
        offset = part.next_offset
    assert parts == ["0123", "4567", "89"]


def test_beyond_the_end_there_is_nothing() -> None:
    part = WHOLE.part(20, 4)
    assert (part.content, part.offset, part.next_offset) == ("", 10, None)
