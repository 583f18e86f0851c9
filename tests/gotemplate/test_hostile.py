"""Templates that try to use up time, memory or the stack, or to reach what they were not given."""

from __future__ import annotations

import sys
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import pytest

from agentkit_server.gotemplate.limits import MAX_NESTING, MAX_SOURCE
from agentkit_server.gotemplate.template import GoStruct, GoTemplate, GoTemplateError, Limits

SMALL = Limits(steps=5_000, depth=50, characters=10_000)
DOUBLING = '{{$x := "ab"}}{{range 40}}{{$x = %s}}{{end}}{{len $x}}'


def refusal(source: str, data: Any = None, limits: Limits = SMALL) -> str:
    with pytest.raises(GoTemplateError) as caught:
        GoTemplate.parse(source).render(data, limits=limits)
    return caught.value.reason


@pytest.mark.parametrize(
    "source",
    [
        "{{range 1000000000000}}{{end}}",
        "{{range 9223372036854775807}}{{continue}}{{end}}",
        "{{range 100}}{{range 100}}{{range 100}}{{end}}{{end}}{{end}}",
        "{{range .L}}{{range $.L}}{{range $.L}}{{$x := .}}{{end}}{{end}}{{end}}",
        "{{range .L}}{{$x := print $.L}}{{end}}",
        "{{range .L}}{{if eq 1 2 3 4 5 6 7 8 9}}{{end}}{{range $.L}}{{end}}{{end}}",
        "{{range .L}}{{len (slice $.L)}}{{end}}",
        "{{range 1000000}}{{range $.M}}{{break}}{{end}}{{end}}",
        '{{range 1000000}}{{if lt $.S "a"}}{{end}}{{end}}',
        '{{define "u"}}{{range 1000}}{{end}}{{end}}{{range 10}}{{template "u"}}{{end}}',
        "{{range $.L}}" * 20 + "{{end}}" * 20,
    ],
)
def test_steps_are_bounded(source: str) -> None:
    data = {"L": list(range(100)), "M": {str(key): 1 for key in range(100)}, "S": "é" * 500}
    assert refusal(source, data) == "the template takes more than 5000 steps"


@pytest.mark.parametrize(
    "source",
    [
        "{{range 1000}}0123456789ABCDEF{{end}}",
        "{{range 1000}}{{$}}{{end}}",
        "{{range 50}}{{template `t` $}}{{end}}",
    ],
)
def test_output_is_bounded(source: str) -> None:
    source += "{{define `t`}}{{range 30}}{{$}}{{end}}{{end}}"
    assert refusal(source, "x" * 20) == "the template writes more than 10000 characters"


@pytest.mark.parametrize(
    "doubled",
    [
        "print $x $x",
        'printf "%s%s" $x $x',
        'printf "%[1]s%[1]s" $x',
        "println $x $x",
        "html $x $x",
        "js $x $x",
        "urlquery $x $x",
        'printf "%x" $x',
        'printf "%q" (printf "%q" $x)',
        'printf "%*s" (len (print $x $x)) $x',
    ],
)
def test_texts_that_double_are_bounded_before_they_are_built(doubled: str) -> None:
    assert refusal(DOUBLING % doubled) in (
        "the template builds texts of more than 10000 characters",
        "the template takes more than 5000 steps",
    )


def test_all_texts_together_are_bounded() -> None:
    source = '{{$s := printf "%5000s" ""}}{{range 100}}{{$x := print $s "!"}}{{end}}'
    assert "builds texts of more than 10000 characters" in refusal(source)


def test_slices_of_a_text_count_as_texts() -> None:
    source = '{{$s := printf "%5000s" ""}}{{range 100}}{{$x := slice $s 1}}{{end}}'
    assert "builds texts of more than 10000 characters" in refusal(source)


@pytest.mark.parametrize(
    "verb",
    [
        "%1000000s",
        "%1000000d",
        "%.1000000d",
        "%.1000000f",
        "%1000000v",
        "%.1000000e",
        "%.1000000x",
        "%1000000t",
        "%.1000000U",
    ],
)
def test_widths_and_precisions_are_bounded(verb: str) -> None:
    value = {"f": 1.5, "e": 1.5, "x": 1.5, "s": "", "t": True}.get(verb[-1], 7)
    assert "builds texts of more than 10000 characters" in refusal(f'{{{{printf "{verb}" .}}}}', value)


def nested(opening: str, inside: str, closing: str, depth: int) -> str:
    return opening * depth + inside + closing * depth


NESTINGS: dict[str, Callable[[int], str]] = {
    "parentheses": lambda depth: "{{" + nested("(", "1", ")", depth) + "}}",
    "calls": lambda depth: "{{" + nested("print (", "1", ")", depth) + "}}",
    "if": lambda depth: nested("{{if true}}", "x", "{{end}}", depth),
    "else": lambda depth: nested("{{if false}}{{else}}", "x", "{{end}}", depth),
    "with": lambda depth: nested("{{with 1}}", "x", "{{end}}", depth),
    "range": lambda depth: nested("{{range 1}}", "x", "{{end}}", depth),
    "block": lambda depth: "".join(f"{{{{block `{name}` .}}}}" for name in range(depth)) + "{{end}}" * depth,
    "conditions": lambda depth: "{{if " + nested("not (", "1", ")", depth) + "}}{{end}}",
}


@pytest.mark.parametrize("kind", NESTINGS)
@pytest.mark.parametrize("depth", [MAX_NESTING + 1, 3_000])
def test_a_source_is_not_nested_without_end(kind: str, depth: int) -> None:
    with pytest.raises(GoTemplateError, match=f"actions are nested more than {MAX_NESTING} deep"):
        GoTemplate.parse(NESTINGS[kind](depth))


@pytest.mark.parametrize("kind", NESTINGS)
def test_what_may_be_read_needs_no_more_of_the_stack_than_there_is(kind: str) -> None:
    template = GoTemplate.parse(NESTINGS[kind](MAX_NESTING - 2))
    template.render(None)
    assert template.fields == frozenset()


def test_a_chain_of_else_if_is_not_nested() -> None:
    chain = "{{if false}}" + "{{else if false}}" * 5_000 + "{{else}}x{{end}}"
    assert GoTemplate.parse(chain).render(None) == "x"


@pytest.mark.parametrize(
    "source",
    [
        '{{define "t"}}{{template "t"}}{{end}}{{template "t"}}',
        '{{define "t"}}{{if true}}{{with 1}}{{template "t"}}{{end}}{{end}}{{end}}{{template "t"}}',
        '{{define "a"}}{{template "b"}}{{end}}{{define "b"}}{{template "a"}}{{end}}{{template "a"}}',
        '{{template ""}}',
        '{{define "t"}}{{template "t" (print (print (print 1)))}}{{end}}{{template "t"}}',
    ],
)
def test_recursion_is_bounded(source: str) -> None:
    assert refusal(source, limits=Limits()) == "exceeded maximum template depth (100)"


def deep(depth: int, inside: Any = 1) -> Any:
    for _ in range(depth):
        inside = [{"a": inside}]
    return inside


@pytest.mark.parametrize("source", ["{{.}}", '{{printf "%#v" .}}', '{{printf "%d" .}}', "{{html .}}"])
def test_data_nested_without_end_is_not_printed(source: str) -> None:
    assert "exceeded maximum template depth (100)" in refusal(source, deep(10_000), Limits())


def test_data_that_holds_itself_is_not_printed() -> None:
    circle: list[Any] = []
    circle.append(circle)
    assert "exceeded maximum template depth" in refusal("{{.}}", circle)
    ring: dict[str, Any] = {}
    struct = GoStruct(ring)
    ring["A"] = struct
    assert "exceeded maximum template depth" in refusal("{{eq . .}}", struct)


def test_a_caller_deep_in_the_stack_gets_an_error_of_the_template() -> None:
    source = NESTINGS["range"](MAX_NESTING - 2)
    template = GoTemplate.parse(source)

    def descend(levels: int, work: Callable[[], object]) -> object:
        return descend(levels - 1, work) if levels else work()

    frame, used = sys._getframe(), 0
    while frame.f_back is not None:
        frame, used = frame.f_back, used + 1
    for work in (lambda: template.render(None), lambda: GoTemplate.parse(source)):
        with pytest.raises(GoTemplateError, match="nested too deeply"):
            descend(sys.getrecursionlimit() - used - 60, work)


def test_a_source_is_not_longer_than_it_may_be() -> None:
    assert len(GoTemplate.parse("x" * MAX_SOURCE).render(None)) == MAX_SOURCE
    with pytest.raises(
        GoTemplateError, match=f"has {MAX_SOURCE + 1} characters; at most {MAX_SOURCE} are read"
    ):
        GoTemplate.parse("x" * (MAX_SOURCE + 1))


@dataclass
class Secret:
    password: str = "hunter2"


@pytest.mark.parametrize(
    "source",
    [
        "{{.__class__}}",
        "{{.upper}}",
        "{{.V.__class__.__mro__}}",
        "{{.V.format}}",
        "{{.N.real}}",
        "{{.N.bit_length}}",
        "{{.L.append 1}}",
        "{{.L.__len__}}",
        "{{.S.fields}}",
        "{{.S.__class__}}",
        "{{.S.name}}",
        "{{.F.__globals__}}",
        "{{(.F).__code__}}",
        '{{call .F.__init__ "x"}}',
        "{{.T.__class__}}",
    ],
)
def test_no_attribute_of_python_can_be_reached(source: str) -> None:
    data = {"V": "x", "N": 5, "L": [1], "S": GoStruct({"A": 1}), "F": lambda: "text", "T": True}
    try:
        assert GoTemplate.parse(source).render(data) == "<no value>"
    except GoTemplateError as error:
        assert (
            "can't evaluate field" in error.reason
            or "nil pointer" in error.reason
            or "not a function" in error.reason
        )


@pytest.mark.parametrize("value", [Secret(), Secret, object(), {1}, b"x", 1j, range(3), str, len.__class__])
@pytest.mark.parametrize(
    "source",
    ["{{.V}}", "{{.V.password}}", "{{range .V}}{{end}}", "{{len .V}}", "{{if .V}}{{end}}", "{{eq .V 1}}"],
)
def test_an_object_of_python_is_no_value(value: Any, source: str) -> None:
    assert "is not a value of a template" in refusal(source, {"V": value})


def test_a_dataclass_is_a_struct_when_it_is_wrapped() -> None:
    data = GoStruct.of(Secret())
    assert GoTemplate.parse("{{.password}} {{.}}").render(data) == "hunter2 {hunter2}"
    with pytest.raises(TypeError, match="is not an instance of a dataclass"):
        GoStruct.of(Secret)


def test_a_key_that_is_no_text_is_an_error() -> None:
    assert "the key 1 of a map is not a string" in refusal("{{range .}}{{end}}", {1: 2})


def test_half_surrogates_in_data_and_source_become_replacement_characters() -> None:
    template = GoTemplate.parse("\ud800{{.}}{{len .}}{{slice . 0 3}}")
    assert template.render("\udfffa") == "\ufffd\ufffda4\ufffd"


def test_a_message_is_short_however_long_the_name_in_it_is() -> None:
    with pytest.raises(GoTemplateError) as caught:
        GoTemplate.parse("{{" + "a" * 100_000 + "}}")
    assert len(str(caught.value)) < 600


def test_an_exception_of_a_function_never_passes_as_it_is() -> None:
    def fail(error: str) -> None:
        raise {"recursion": RecursionError, "memory": MemoryError, "key": KeyError}[error](error)

    for error in ("recursion", "memory", "key"):
        with pytest.raises(GoTemplateError, match=f"error calling fail: '?{error}"):
            GoTemplate.parse("{{fail .}}", {"fail": fail}).render(error)
