"""The environment that untrusted chat templates run in: Jinja's immutable sandbox, configured as
transformers does it, with bounds. A template comes with a downloaded model, so it must not be able to
read anything, nor to use up the server's memory or time.

Bounded here: the size of every text, list and number that a template can build. Bounded by the caller
(template.py): the time and the length of the whole output.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterable
from datetime import datetime
from typing import Any, NoReturn, cast

from jinja2 import nodes
from jinja2.compiler import CodeGenerator, Frame
from jinja2.exceptions import SecurityError, TemplateError
from jinja2.ext import Extension, loopcontrols
from jinja2.parser import Parser
from jinja2.runtime import Context
from jinja2.sandbox import ImmutableSandboxedEnvironment

MAX_TEXT = 16 << 20
"""Characters in any one text."""
MAX_ITEMS = 1_000_000
"""Items in any one list."""
MAX_BITS = 4096
"""Bits in any one number."""
MAX_WIDTH = 10_000
"""Largest number that a padding filter, method or format may be given."""

# A width or precision of five digits, or one taken from an argument, in either formatting language.
_WIDE_FORMAT = re.compile(r"%[-+ #0]*(\d*\.)?(\d{5,}|\*)|\{[^{}]*:[^{}]*(\d{5,}|\{)")
_PADS = "batch center expandtabs indent ljust rjust round slice to_bytes wordwrap zfill"
_WIDENING = frozenset(_PADS.split())
_REMOVED_FILTERS = ("urlize", "pprint", "xmlattr", "random")


class GenerationTag(Extension):
    """`{% generation %}…{% endgeneration %}` marks the assistant's text for training: just its body here."""

    tags = {"generation"}  # noqa: RUF012 - the type is Jinja's

    def parse(self, parser: Parser) -> nodes.Node | list[nodes.Node]:
        next(parser.stream)
        return parser.parse_statements(("name:endgeneration",), drop_needle=True)


class _BoundedCode(CodeGenerator):
    def visit_Concat(self, node: nodes.Concat, frame: Frame) -> None:
        """Make `a ~ b` a call that is bounded; Jinja's own joins without limit."""
        self.write("environment.concat((")
        for part in node.nodes:
            self.write("str(")
            self.visit(part, frame)
            self.write("), ")
        self.write("))")


class TemplateEnvironment(ImmutableSandboxedEnvironment):
    """What chat templates are compiled by."""

    code_generator_class = _BoundedCode
    intercepted_binops = frozenset({"+", "*", "**", "%"})

    def __init__(self) -> None:
        super().__init__(trim_blocks=True, lstrip_blocks=True, extensions=[GenerationTag, loopcontrols])
        self.concat = _concat
        filters = cast("dict[str, Callable[..., Any]]", self.filters)
        for name in _REMOVED_FILTERS:
            del filters[name]
        for name, function in filters.items():
            filters[name] = _bounded_filter(name, function)
        filters["tojson"] = tojson
        variables = cast("dict[str, Any]", self.globals)
        del variables["lipsum"]
        variables.update(raise_exception=raise_exception, strftime_now=strftime_now)

    def call_binop(self, context: Context, operator: str, left: Any, right: Any) -> Any:
        """Compute a binary operation whose result is bounded."""
        if operator == "*":
            _check_repeat(left, right)
            _check_repeat(right, left)
        elif operator == "**":
            _check_power(left, right)
        elif operator == "%" and isinstance(left, str):
            _check_format(left)
        return _checked(super().call_binop(context, operator, left, right))

    def is_safe_attribute(self, obj: Any, attr: str, value: Any) -> bool:
        """Let a template append to the lists that it made itself: some keep a queue of call ids in one."""
        if type(obj) is list and attr in ("append", "pop"):
            return True
        return super().is_safe_attribute(obj, attr, value)

    def call(__self, __context: Context, __obj: Any, *args: Any, **kwargs: Any) -> Any:
        """Call from a template. Methods of texts are bounded; the names are Jinja's, against clashes."""
        owner = getattr(__obj, "__self__", None)
        if isinstance(owner, str | bytes | int):
            _check_arguments(__obj.__name__, owner, args, kwargs)
        if isinstance(owner, list):
            _checked(cast("list[Any]", owner))
        return _checked(super().call(__context, __obj, *args, **kwargs))

    def wrap_str_format(self, value: Any) -> Callable[..., str] | None:
        """Wrap `str.format`, whose widths are bounded."""
        wrapped = super().wrap_str_format(value)
        if wrapped is not None:
            _check_format(value.__self__)
        return wrapped


class _Given(list[Any]):
    """A list that the template was given, and must not change."""


def given(value: Any) -> Any:
    """`value` as a template may be given it: none of its lists can be changed."""
    match value:
        case dict():
            return {key: given(item) for key, item in cast("dict[Any, Any]", value).items()}
        case list() | tuple():
            return _Given(given(item) for item in cast("list[Any]", value))
        case _:
            return value


def raise_exception(message: str) -> NoReturn:
    """The template refuses its input, and says why."""
    raise TemplateError(message)


def strftime_now(format: str) -> str:
    """The local time by a strftime format."""
    _check_format(format)
    return datetime.now().strftime(format)


def tojson(
    value: Any,
    ensure_ascii: bool = False,
    indent: int | None = None,
    separators: tuple[str, str] | None = None,
    sort_keys: bool = False,
) -> str:
    """JSON as models have seen it in training: readable characters, and no HTML escapes."""
    _check_width(indent)
    return json.dumps(
        value, ensure_ascii=ensure_ascii, indent=indent, separators=separators, sort_keys=sort_keys
    )


def _refuse(what: str) -> NoReturn:
    raise SecurityError(f"the template builds {what}")


def _concat(parts: Iterable[str]) -> str:
    kept: list[str] = []
    length = 0
    for part in parts:
        length += len(part)
        if length > MAX_TEXT:
            _refuse(f"a text of more than {MAX_TEXT} characters")
        kept.append(part)
    return "".join(kept)


def _checked(value: Any) -> Any:
    match value:
        case str() | bytes() if len(value) > MAX_TEXT:
            _refuse(f"a text of more than {MAX_TEXT} characters")
        case list() | tuple() if len(cast("list[Any]", value)) > MAX_ITEMS:
            _refuse(f"a list of more than {MAX_ITEMS} items")
        case int() if value.bit_length() > MAX_BITS:
            _refuse(f"a number of more than {MAX_BITS} bits")
        case _:
            return value


def _check_repeat(value: Any, times: Any) -> None:
    if not isinstance(times, int):
        return
    if isinstance(value, str | bytes) and len(value) * times > MAX_TEXT:
        _refuse(f"a text of more than {MAX_TEXT} characters")
    if isinstance(value, list | tuple) and len(cast("list[Any]", value)) * times > MAX_ITEMS:
        _refuse(f"a list of more than {MAX_ITEMS} items")


def _check_power(base: Any, exponent: Any) -> None:
    if isinstance(base, int) and isinstance(exponent, int) and base.bit_length() * exponent > MAX_BITS:
        _refuse(f"a number of more than {MAX_BITS} bits")


def _check_width(value: Any) -> None:
    if isinstance(value, int) and abs(value) > MAX_WIDTH:
        _refuse(f"something {value} wide; at most {MAX_WIDTH}")


def _check_format(format: str) -> None:
    if _WIDE_FORMAT.search(format):
        _refuse(f"something by the format {format[:40]!r}; widths are at most 4 digits")


def _check_arguments(name: str, subject: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
    """Refuse a filter or text method whose result would grow with a number or a product of lengths."""
    if name in _WIDENING:
        for value in (*args, *kwargs.values()):
            _check_width(value)
    if name == "format" and isinstance(subject, str):
        _check_format(subject)
    if name == "replace" and isinstance(subject, str) and len(args) >= 2:
        count = subject.count(str(args[0])) if args[0] else len(subject) + 1
        if count * len(str(args[1])) > MAX_TEXT:
            _refuse(f"a text of more than {MAX_TEXT} characters")
    if name == "join":
        _check_join(subject, args)


def _check_join(subject: Any, args: tuple[Any, ...]) -> None:
    glue, items = (
        (subject, args[0]) if isinstance(subject, str) and args else (args[0] if args else "", subject)
    )
    if isinstance(items, str | list | tuple | dict):
        count = len(cast("list[Any]", items))
        longest = max((len(item) for item in cast("list[Any]", items) if isinstance(item, str)), default=0)
        if count * (len(str(glue)) + longest) > 4 * MAX_TEXT:
            _refuse(f"a text of more than {MAX_TEXT} characters")


def _bounded_filter(name: str, function: Callable[..., Any]) -> Callable[..., Any]:
    # Jinja passes the context, evaluation context or environment first to the filters marked for it.
    skipped = 1 if hasattr(function, "jinja_pass_arg") else 0

    def bounded(*args: Any, **kwargs: Any) -> Any:
        given = args[skipped:]
        if given:
            _check_arguments(name, given[0], given[1:], kwargs)
        return _checked(function(*args, **kwargs))

    if skipped:
        bounded.jinja_pass_arg = function.jinja_pass_arg  # pyright: ignore[reportFunctionMemberAccess]
    return bounded
