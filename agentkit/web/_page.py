"""A page as text: what every source of pages answers."""

from __future__ import annotations

from dataclasses import dataclass, replace


@dataclass(frozen=True)
class Page:
    """The text of a page, or a part of it. All of it was written by somebody else: data, not instructions."""

    url: str
    """Where it was found in the end, after redirects."""
    title: str
    content: str
    """Markdown where the page has structure."""
    links: tuple[str, ...] = ()
    """URLs that the page links to, in its order, each once."""
    offset: int = 0
    """Where `content` begins in the whole text, in characters."""
    total: int = -1
    """Characters of the whole text; the length of `content` when it is not given."""

    def __post_init__(self) -> None:
        if self.total < 0:
            object.__setattr__(self, "total", self.offset + len(self.content))

    @property
    def next_offset(self) -> int | None:
        """Where to read on, or None at the end."""
        end = self.offset + len(self.content)
        return end if end < self.total else None

    def part(self, offset: int, length: int) -> Page:
        """At most `length` characters of this whole page from `offset` on."""
        return replace(self, content=self.content[offset : offset + length], offset=min(offset, self.total))
