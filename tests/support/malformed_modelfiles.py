"""Modelfiles that cannot be read: each with the line at fault, and words that the error must have.

Most are made by putting a wrong command into a right Modelfile: at its beginning, in its middle, at its end.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

RIGHT = (
    "# A comment",
    "FROM x",
    'SYSTEM """Be brief.',
    'And kind."""',
    "PARAMETER stop a",
    "MESSAGE user Hello",
)
"""The lines of a Modelfile that is as it should be. Nothing may be put behind the third."""
_PLACES = (0, 2, 6)


class Malformed(NamedTuple):
    """A Modelfile, its line at fault, and what the error says."""

    content: bytes
    line: int
    words: str


_COMMANDS = (
    ("FORM x", "did you mean FROM"),
    ("SYTEM x", "did you mean SYSTEM"),
    ("PARAM stop a", "did you mean PARAMETER"),
    ("TEMPLAT x", "did you mean TEMPLATE"),
    ("LICENCE x", "did you mean LICENSE"),
    ("ADAPTOR x", "did you mean ADAPTER"),
    ("MESAGE user x", "did you mean MESSAGE"),
    ("REQUIRE 1.0", "did you mean REQUIRES"),
    ("RUN ls", "the commands are"),
    ("FROM: x", "did you mean FROM"),
    ("FROM=x", "unknown command"),
    ("\u201cquoted\u201d x", "unknown command"),
    ("FROM", "FROM needs a value"),
    ("SYSTEM", "SYSTEM needs a value"),
    ("LICENSE", "LICENSE needs a value"),
    ('FROM ""', "FROM needs a value"),
    ("FROM  ", "FROM needs a value"),
    ("ADAPTER ", "ADAPTER needs a value"),
    ('DRAFT " "', "DRAFT needs a value"),
    ("RENDERER ", "RENDERER needs a value"),
    ("PARSER ", "PARSER needs a value"),
    ("PARAMETER", "PARAMETER needs a name"),
    ("PARAMETER temperature", "PARAMETER needs a value"),
    ("PARAMETER temprature 1", "did you mean temperature"),
    ("PARAMETER num_ctxt 1", "did you mean num_ctx"),
    ("PARAMETER xyzzy 1", "the parameters are"),
    ("PARAMETER top_k 40.0", "top_k needs a whole number"),
    ("PARAMETER top_k forty", "top_k needs a whole number"),
    ("PARAMETER top_k 1_000", "top_k needs a whole number"),
    ("PARAMETER top_k \u0664", "top_k needs a whole number"),
    ("PARAMETER seed 99999999999999999999", "seed needs a whole number"),
    ("PARAMETER num_ctx ", "num_ctx needs a whole number"),
    ("PARAMETER temperature warm", "temperature needs a number"),
    ("PARAMETER temperature 0,7", "temperature needs a number"),
    ("PARAMETER temperature nan", "temperature needs a number"),
    ("PARAMETER top_p 1e999", "top_p needs a number"),
    ("PARAMETER min_p 0.1.2", "min_p needs a number"),
    ("PARAMETER use_mmap yes", "use_mmap needs true or false"),
    ("PARAMETER use_mmap 2", "use_mmap needs true or false"),
    ("MESSAGE", "MESSAGE needs a role"),
    ("MESSAGE user", "MESSAGE needs a value"),
    ("MESSAGE tool x", "the role of a MESSAGE"),
    ("MESSAGE Hello there", "the role of a MESSAGE"),
    ("ADAPTER ./a.gguf scale=half", "the scale of an adapter"),
    ("ADAPTER ./a.gguf scale=", "the scale of an adapter"),
    ('ADAPTER "./a b.gguf" scale=1,5', "the scale of an adapter"),
    ("ADAPTER ./a.gguf scale=inf", "the scale of an adapter"),
    ("REQUIRES soon", "REQUIRES needs a version"),
    ("REQUIRES 1.2.3.4", "REQUIRES needs a version"),
    ("REQUIRES 01.2", "REQUIRES needs a version"),
    ("REQUIRES >=1.0", "REQUIRES needs a version"),
    ('SYSTEM json:"a', "no JSON string"),
    ('SYSTEM json:"a" b', "no JSON string"),
    ('LICENSE json:"\\x"', "no JSON string"),
)
"""A command that is wrong, and what the error says."""
_UNENDED = (
    'SYSTEM "never ended',
    'SYSTEM """never ended',
    'SYSTEM """never ended""',
    'TEMPLATE "ended" too soon',
    'PARAMETER stop "',
    'MESSAGE user """""',
    'LICENSE "',
    'FROM "x',
    'ADAPTER "a scale=0.5',
)
"""Quotes without an end swallow what follows, so they come last."""
_BYTES = (
    (b"FROM x\nSYSTEM \xff\n", 2, "the byte 0xff"),
    (b"FROM x\r\n\r\nSYSTEM a\xc3\r\n", 3, "the byte 0xc3"),
    (b"\xef\xbb\xbfFROM x\n\xa0\n", 2, "the byte 0xa0"),
    (b"\xff\xfeF\x00R\x00\n\x00\x00\xd8", 2, "utf-16-le"),
    (b"\xfe\xff\x00F\x00\n\xdc\x00\x00a", 2, "utf-16-be"),
    (b"F\x00R\x00O\x00M\x00", 1, "unknown command"),
    (b"GGUF\x03\x00\x00\x00", 1, "unknown command"),
    (b"", 1, "no FROM"),
    (b"\n\n# only a comment\n", 1, "no FROM"),
    (b"SYSTEM hello\nPARAMETER top_k 1\n", 1, "no FROM"),
    (b"FROM x\rSYTEM y\r", 2, "did you mean SYSTEM"),
    (b"FROM x\r\n\r\nSYTEM y\r\n", 3, "did you mean SYSTEM"),
)


def malformed() -> Iterator[Malformed]:
    """All of them."""
    for command, words in _COMMANDS:
        for place in _PLACES:
            lines = [*RIGHT[:place], command, *RIGHT[place:]]
            yield Malformed("\n".join(lines).encode(), place + 1, words)
    for command in _UNENDED:
        lines = [*RIGHT, f"  {command}"]
        for line_end in ("\n", "\r\n"):
            yield Malformed(line_end.join(lines).encode(), len(lines), "does not end")
        yield Malformed(
            "\n".join([*lines, "PARAMETER top_k 1"]).encode("utf-8-sig"), len(lines), "does not end"
        )
    yield from (Malformed(*row) for row in _BYTES)
