"""How a value is written: bare to the end of the line, in `"`, or in three of them.

What is in quotes may go over several lines. It ends at the first line whose last characters, blanks aside,
are the closing quotes, so quotes inside need no escape, and there is none.

One form is ours: `json:"…"`, a JSON string on one line, for what the others cannot hold.
"""

from __future__ import annotations

import json
import re
from bisect import bisect_right
from dataclasses import dataclass, field

from agentkit_server.errors import ModelfileError
from agentkit_server.models.modelfile.structure import Place

JSON = 'json:"'
_LINE_END = re.compile(r"\r\n|\r|\n|\Z")
_QUOTES = ('"""', '"')


@dataclass(frozen=True)
class Text:
    """The characters of a Modelfile, and where its lines begin."""

    characters: str
    _begins: list[int] = field(init=False, default_factory=lambda: [0])

    def __post_init__(self) -> None:
        ends = re.finditer(r"\r\n|\r|\n", self.characters)
        self._begins.extend(end.end() for end in ends)

    def place(self, offset: int) -> Place:
        """Line and column of the character at `offset`."""
        line = bisect_right(self._begins, offset)
        return Place(line, offset - self._begins[line - 1] + 1)

    def error(self, offset: int, message: str) -> ModelfileError:
        """An error at the character at `offset`."""
        line, column = self.place(offset)
        return ModelfileError(message, line=line, column=column)

    def line_end(self, offset: int) -> int:
        """Where the line of `offset` ends, in front of its line break."""
        found = _LINE_END.search(self.characters, offset)
        return found.start() if found else len(self.characters)


def read_value(text: Text, start: int) -> tuple[str, int]:
    """The value that begins at `start`, and the end of its last line. Raises ModelfileError."""
    end = text.line_end(start)
    line = text.characters[start:end]
    begin = start + len(line) - len(line.lstrip())
    for quote in _QUOTES:
        if text.characters.startswith(quote, begin):
            return _quoted(text, begin, quote)
    if text.characters.startswith(JSON, begin):
        return _json(text, begin, end), end
    return line.strip(), end


def whole(line: str) -> str | None:
    """The value that `line` is from its beginning to its end, None when it is none."""
    try:
        value, end = read_value(Text(line), 0)
    except ModelfileError:
        return None
    return value if end == len(line) else None


def write_value(value: str, *, bare: bool = False) -> str:
    """`value` in the simplest form that is read back as it; bare only where that is asked for."""
    forms = [f'"{value}"', f'"""{value}"""']
    if '"' in value or "\n" in value:
        forms.reverse()
    return next((form for form in [value] * bare + forms if _is_read(form, value)), json_value(value))


def json_value(value: str) -> str:
    """`value` in the form that holds any text."""
    return "json:" + json.dumps(value)


def _is_read(form: str, value: str) -> bool:
    # What cannot be written to a file as UTF-8 needs the escapes of JSON.
    return whole(form) == value and _encodable(form)


def _encodable(text: str) -> bool:
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True


def _quoted(text: Text, start: int, quote: str) -> tuple[str, int]:
    inside = start + len(quote)
    begin = start
    for found in _LINE_END.finditer(text.characters, start):
        end = found.start()
        last = begin + len(text.characters[begin:end].rstrip()) - len(quote)
        if last >= inside and text.characters.startswith(quote, last):
            return text.characters[inside:last], end
        begin = found.end()
    message = (
        f"the text that begins with {quote} here does not end: close it with {quote} at the end of a line"
    )
    raise text.error(start, message)


def _json(text: Text, start: int, end: int) -> str:
    begin = start + len("json:")
    try:
        # It begins with a quote, so it is a string or malformed.
        return str(json.loads(text.characters[begin:end]))
    except json.JSONDecodeError as error:
        message = f"what follows json: is no JSON string ({error.msg}); quote the text if it is to begin so"
        raise text.error(begin + error.pos, message) from None
