"""What a final answer is bound to, ready for a grammar: JSON, a schema, a regex, a choice, or a grammar."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, cast

from agentkit_server.engine.types import Distinct
from agentkit_server.errors import BadRequest, InvalidGrammar, SchemaProblem
from agentkit_server.turn.events import Level
from agentkit_server.turn.schema.gbnf import MAX_RULES, is_gbnf, lark_of_gbnf
from agentkit_server.turn.schema.grammars import begins, matches, objection
from agentkit_server.turn.schema.patterns import NotRegular, literal, rust_matcher, translated
from agentkit_server.turn.schema.prepare import prepare
from agentkit_server.turn.schema.prepared import PreparedSchema
from agentkit_server.turn.types import ResponseFormat

MAX_GRAMMAR = 256 * 1024
"""Characters of a grammar."""
MAX_CHOICES = 10_000
MAX_CHOICES_LENGTH = 1 << 20
"""Characters of all choices together."""


@dataclass(frozen=True, kw_only=True)
class Answer:
    """A bound answer."""

    level: Level
    loose: tuple[SchemaProblem, ...] = ()
    """Where the grammar allows more than was asked; none at level `exact`."""
    distinct: Distinct | None = None
    """What a guard beside the grammar sees to."""
    warnings: tuple[str, ...] = ()
    fragment: Callable[[str], str]
    """rule name -> Lark source that defines it and, under that name and two underscores, what it needs."""
    problems: Callable[[str], list[str]]
    """What is wrong with an answer's text, most important first; [] when it is as asked. Bounded in time."""


def answer(format: ResponseFormat) -> Answer:
    """`format` as an Answer.

    Raises SchemaRefused for a schema, InvalidGrammar for a regex or grammar, BadRequest for anything else.
    """
    return _KINDS[format.kind](format)


def _json_object(format: ResponseFormat) -> Answer:
    return _of_schema(format, {"type": "object"})


def _json_schema(format: ResponseFormat) -> Answer:
    return _of_schema(format, format.value)


def _of_schema(format: ResponseFormat, schema: Any) -> Answer:
    if not isinstance(schema, dict | bool):
        raise BadRequest(f"the schema is an object or a boolean, not {_short(schema)}")
    prepared = prepare(
        cast("dict[str, Any] | bool", schema),
        compact=format.compact,
        whitespace_pattern=format.whitespace_pattern,
    )
    return Answer(
        level=prepared.level,
        loose=prepared.loose,
        distinct=prepared.distinct,
        warnings=prepared.warnings,
        fragment=prepared.fragment,
        problems=lambda text: _json_problems(prepared, text),
    )


def _json_problems(prepared: PreparedSchema, text: str) -> list[str]:
    try:
        value = json.loads(text)
    except (ValueError, RecursionError) as error:
        return [f"the answer is no JSON: {error}"]
    return prepared.problems(value)


def _regex(format: ResponseFormat) -> Answer:
    if not isinstance(format.value, str):
        raise BadRequest(f"the regex is a string, not {_short(format.value)}")
    try:
        pattern = unanchored(translated(format.value))
        finds = rust_matcher(f"^(?:{pattern})$")
    except NotRegular as error:
        raise InvalidGrammar(f"the regex {_short(format.value)} cannot be used: {error}") from error
    source = f"/(?:{_in_slashes(pattern)})/"
    _checked(f"start: {source}\n", "regex", format.value)
    return Answer(
        level="exact",
        fragment=lambda rule: f"{rule}: {source}\n",
        problems=lambda text: [] if finds(text) else [f"the answer does not match {_short(format.value)}"],
    )


def _in_slashes(pattern: str) -> str:
    return pattern.replace("/", r"\/").replace("\n", r"\n").replace("\r", r"\r")


def unanchored(pattern: str) -> str:
    """`pattern` without the anchors at its ends, which a match of the whole answer has anyway."""
    pattern = pattern.removeprefix("^")
    ends = re.search(r"(\\*)\$$", pattern)
    return pattern[:-1] if ends and len(ends[1]) % 2 == 0 else pattern


def _choice(format: ResponseFormat) -> Answer:
    value = format.value
    if not isinstance(value, list | tuple) or not value:
        raise BadRequest(f"choices are a list of at least one string, not {_short(value)}")
    choices = list(dict.fromkeys(cast("list[Any]", value)))
    for one in choices:
        if not isinstance(one, str) or not one or not _is_text(one):
            raise BadRequest(f"a choice is a string of at least one character, not {_short(one)}")
    if len(choices) > MAX_CHOICES or sum(map(len, choices)) > MAX_CHOICES_LENGTH:
        raise BadRequest(
            f"there are {len(choices)} choices of {sum(map(len, choices))} characters; "
            f"{MAX_CHOICES} of {MAX_CHOICES_LENGTH} are the most"
        )
    # One lexeme: as many alternatives of a rule would be too many to keep track of.
    source = f"/{_in_slashes('|'.join(map(literal, choices)))}/"
    _checked(f"start: {source}\n", "choices", choices)
    return Answer(
        level="exact",
        fragment=lambda rule: f"{rule}: {source}\n",
        problems=lambda text: [] if text in choices else [f"{_short(text)} is none of the choices"],
    )


def _grammar(format: ResponseFormat) -> Answer:
    text = format.value
    if not isinstance(text, str) or not text.strip():
        raise BadRequest(f"the grammar is a string with at least one rule, not {_short(text)}")
    if len(text) > MAX_GRAMMAR or not _is_text(text):
        raise InvalidGrammar(
            f"the grammar has {len(text)} characters; {MAX_GRAMMAR}, all of them text, are the most"
        )
    lark = lark_of_gbnf(text) if is_gbnf(text) else _own_lark(text)
    _checked(lark, "grammar", text)
    return Answer(
        level="exact",
        # Nested, so that its rules have names of their own.
        fragment=lambda rule: f"{rule}: %lark {{\n{lark}\n}}\n",
        problems=lambda answered: (
            [] if matches(lark, answered) else ["the answer is no sentence of the grammar"]
        ),
    )


_LARK_TOKEN = re.compile(
    r"""(?P<text>"(?:[^"\\\n]|\\.)*"i?)|(?P<regex>/(?![/*])(?:[^/\\\n]|\\.)+/[a-z]*)|(?P<comment>(?://|\#)[^\n]*)
    |(?P<include>%(?:json|lark|regex|declare|override|extend)\b)|(?P<rule>:)
    |(?P<options>%llguidance[ \t]*\{[^{}]*\})|(?P<token><[^>\s]*>)|(?P<grammar>@[A-Za-z_]\w*)
    |(?P<attribute>\b(?:stop|suffix|max_tokens|temperature|capture|stop_capture)\b[ \t]*(?==|,|\]))""",
    re.VERBOSE,
)
_FORBIDDEN = {
    "token": "names a token; write the text",
    "include": "is not for grammars of requests; write rules",
    "grammar": "refers to another grammar; write it as a rule",
    "attribute": "is an option that only plain generation has; leave it out",
}


def _own_lark(text: str) -> str:
    """`text` without its `%llguidance` line. Raises InvalidGrammar for what only a whole grammar may have."""
    rules = 0
    for found in _LARK_TOKEN.finditer(text):
        rules += found.lastgroup == "rule"
        if rules > MAX_RULES:
            raise InvalidGrammar(f"the grammar has more than {MAX_RULES} rules; write fewer")
        if found.lastgroup in _FORBIDDEN:
            raise InvalidGrammar(f"{_short(found[0])} in the grammar {_FORBIDDEN[found.lastgroup]}")
        if found.lastgroup == "options" and found[0].partition("{")[2].strip() != "}":
            raise InvalidGrammar(f"{_short(found[0])}: the grammar can set no options; leave the line out")
    return _LARK_TOKEN.sub(lambda found: "" if found.lastgroup == "options" else found[0], text)


def _checked(grammar: str, kind: str, given: Any) -> None:
    said = objection(grammar) or ("" if begins(grammar) else "nothing matches it")
    if said:
        shown = " ".join(said.split())[:300]
        raise InvalidGrammar(f"the {kind} {_short(given)} cannot be compiled: {shown}")


def _is_text(text: str) -> bool:
    return not any(0xD800 <= ord(char) < 0xE000 for char in text)


def _short(value: Any) -> str:
    written = repr(value)
    return written if len(written) <= 80 else written[:80] + "…"


_KINDS: dict[str, Callable[[ResponseFormat], Answer]] = {
    "json_object": _json_object,
    "json_schema": _json_schema,
    "regex": _regex,
    "choice": _choice,
    "grammar": _grammar,
}
