"""What a function gets of a model's arguments, and what the model reads when they do not fit."""

from __future__ import annotations

import asyncio
import re
from datetime import date, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Annotated, Any, Literal
from uuid import UUID

import pytest
from pydantic import BaseModel, Field, field_validator, model_validator
from sdk.tools import callable_rows as callables
from sdk.tools import type_rows as types
from sdk.tools.type_rows import Box, Cat, Colour, Dog, Level, Place, Point, Unit

from agentkit._context import RunContext
from agentkit._errors import ToolArgumentsError
from agentkit._tool import Tool, as_tool, tool


def refused(function: Any, arguments: dict[str, Any]) -> str:
    with pytest.raises(ToolArgumentsError) as raised:
        as_tool(function).validate(arguments)
    return str(raised.value).partition(" are not valid: ")[2]


VALUES = [
    (types.scalars, {"a": "x", "b": "3", "c": 1, "d": "true", "e": None}, {"a": "x", "b": 3, "c": 1.0}),
    (types.scalars, {"a": 12, "b": 3.0, "c": "1.5", "d": True, "e": None}, {"a": "12", "b": 3, "c": 1.5}),
    (types.defaults, {}, {"a": 3, "b": "x", "c": 0.5}),
    (types.optionals, {"a": None}, {"a": None, "b": None, "c": None}),
    (types.unions, {"a": "3", "b": 3, "c": ["4"]}, {"a": "3", "b": 3, "c": [4]}),
    (types.enums, {"a": "red", "b": 2}, {"a": Colour.RED, "b": Level.HIGH, "c": Unit.C}),
    (types.sets, {"a": [1, 1, 2], "b": ["x"], "c": []}, {"a": {1, 2}, "b": frozenset({"x"}), "c": set()}),
    (types.tuples, {"a": [1, "x"], "b": [1, 2], "c": []}, {"a": (1, "x"), "b": (1, 2), "c": ()}),
    (types.named_tuple, {"a": [1]}, {"a": Place(1.0, "here")}),
    (types.plain_dataclass, {"a": {"x": "1"}, "b": 2}, {"a": Point(1), "b": 2}),
    (types.only_a_dataclass, {"a": {"x": 1, "tags": ["t"]}}, {"a": Point(1, tags=["t"])}),
    (types.typed_dicts, {"a": {"title": "x"}, "b": {"title": "y"}}, {"a": {"title": "x"}}),
    (types.discriminated_union, {"a": {"kind": "dog", "name": "Rex"}, "b": 1}, {"a": Dog(name="Rex")}),
    (types.plain_union_of_models, {"a": {"kind": "cat"}}, {"a": Cat(kind="cat")}),
    (types.generic_models, {"a": {"content": "1"}, "b": {"content": "1"}}, {"a": Box[int](content=1)}),
    (types.dicts, {"a": {"x": "1"}, "b": {}, "c": {}, "d": {"1": 2}}, {"a": {"x": 1.0}, "d": {1: 2}}),
    (types.times, {"a": "2030-01-02", "b": "2030-01-02T03:04:05Z", "c": "03:04", "d": "PT5M"},
     {"a": date(2030, 1, 2), "d": timedelta(minutes=5), "e": date(2030, 1, 2)}),
    (types.texts_with_a_form, {"a": "x", "b": "12345678123456781234567812345678", "c": "a/b",
     "d": "https://example.org", "e": "127.0.0.1"},
     {"a": b"x", "b": UUID("12345678123456781234567812345678"), "c": Path("a/b"), "f": Path()}),
    (types.decimal, {"a": "0.10"}, {"a": Decimal("0.10")}),
    (types.root_model, {"names": ["a"]}, {"names": types.Names(["a"])}),
    (callables.one_model, {"text": "x"}, {"query": callables.Query(text="x")}),
    (callables.one_open_model, {"text": "x", "y": 1}, {"query": callables.Open(text="x", y=1)}),
    (callables.one_model_with_aliases, {"TEXT": "x"}, {"query": callables.Renamed(TEXT="x")}),
    (callables.aliases, {"from": "x", "either": 2}, {"from_": "x", "class_": 1, "other": 2}),
    (callables.positionals, {"a": "x", "rest": ["1"]}, {"a": "x", "rest": [1]}),
    (callables.keywords, {"a": "x", "b": "1"}, {"a": "x", "more": {"b": 1.0}}),
    (callables.keywords, {"a": "x"}, {"a": "x", "more": {}}),
    (callables.only_keywords_of_a_model, {"a": {"text": "x"}}, {"queries": {"a": callables.Query(text="x")}}),
]  # fmt: skip


@pytest.mark.parametrize(("function", "arguments", "wanted"), VALUES)
def test_a_function_gets_python_values(function, arguments, wanted) -> None:
    got = as_tool(function).validate(arguments)
    assert {name: got[name] for name in wanted} == wanted
    for name, value in wanted.items():
        assert type(got[name]) is type(value)


def test_a_mutable_default_is_a_new_one_for_each_call() -> None:
    made = as_tool(types.mutable_defaults)
    made.validate({})["a"].append("x")
    assert made.validate({})["a"] == []


def test_a_default_that_json_cannot_say_is_the_same_object() -> None:
    nothing = object()

    def search(after: Any = nothing): ...

    assert as_tool(search).validate({})["after"] is nothing


async def weather(city: str, days: Annotated[int, Field(le=7)] = 1, unit: Literal["c", "f"] = "c") -> str:
    return f"{city} {days} {unit}"


class Span(BaseModel):
    start: int
    end: int

    @field_validator("start")
    @classmethod
    def _even(cls, value: int) -> int:
        if value % 2:
            raise ValueError("must be even")
        return value

    @model_validator(mode="after")
    def _ordered(self) -> Span:
        if self.end < self.start:
            raise ValueError("end must not be before start")
        return self


def span(span: Span): ...


def spans(spans: list[Span], note: str = ""): ...


REFUSALS = [
    (weather, {"city": "Oslo", "days": 12}, "days: must be at most 7 (got 12)"),
    (weather, {}, "city: is required"),
    (weather, {"city": None}, "city: must be a valid string (got null)"),
    (weather, {"city": "Oslo", "days": "many"}, 'days: must be a valid integer (got "many")'),
    (weather, {"city": "Oslo", "unit": "k"}, "unit: must be 'c' or 'f' (got \"k\")"),
    (weather, {"town": "Oslo"}, "town: not known; the arguments are: city, days, unit; city: is required"),
    (weather, {"city": "Oslo", "a": 1, "b": 2}, "a, b: not known; the arguments are: city, days, unit"),
    (callables.no_parameters, {"a": 1}, "a: not known; the arguments are: none"),
    (callables.keywords, {"a": "x", "b": "y"}, 'b: must be a valid number (got "y")'),
    (callables.positionals, {"a": "x", "rest": [1, "y"]}, 'rest.1: must be a valid integer (got "y")'),
    (callables.one_model, {"txt": "x"}, "txt: not known; the arguments are: text; text: is required"),
    (span, {"start": 4, "end": 2}, "end must not be before start"),
    (spans, {"spans": [{"start": 1, "end": 2}]}, "spans.0.start: must be even (got 1)"),
    (spans, {"spans": [{"start": 2}]}, "spans.0.end: is required"),
    (types.unions, {"a": [], "b": 1, "c": 1}, "a: must be a valid integer or a valid string (got [])"),
    (types.unions, {"a": 1, "b": 1, "c": ["x"]},
     'c: must be a valid integer (got ["x"]); c.0: must be a valid integer (got "x")'),
    (types.discriminated_union, {"a": {"kind": "bird"}, "b": 1},
     "a: 'kind' must be one of 'cat', 'dog' (got {\"kind\": \"bird\"})"),
    (types.discriminated_union, {"a": {"name": "Rex"}, "b": 1},
     "a: 'kind' is required (got {\"name\": \"Rex\"})"),
    (types.discriminated_union, {"a": {"kind": "dog"}, "b": 1}, "a.name: is required"),
    (types.lengths, {"a": "", "b": "A"},
     'a: must have at least 1 characters (got ""); b: must match ^[a-z]+$ (got "A")'),
    (types.bounded_lists, {"a": ["x"] * 4, "b": []},
     'a: must have at most 3 items (got ["x", "x", "x", "x"])'),
    (types.properties_called_as_keywords_are, {"a": {"title": "x", "y": 1}, "b": 1},
     "a.y: is not known (got 1)"),
    (types.tuples, {"a": [1], "b": [], "c": []}, "a.1: is required"),
]  # fmt: skip


@pytest.mark.parametrize(("function", "arguments", "wanted"), REFUSALS)
def test_a_model_reads_what_is_wrong_with_its_arguments(function, arguments, wanted) -> None:
    assert refused(function, arguments) == wanted


def test_the_message_names_the_tool() -> None:
    with pytest.raises(ToolArgumentsError) as raised:
        tool(weather, name="get_weather").validate({"city": "Oslo", "days": 12})
    assert str(raised.value) == "arguments of get_weather are not valid: days: must be at most 7 (got 12)"


def test_many_problems_and_long_values_make_a_short_message() -> None:
    def many(items: list[int]): ...

    said = refused(many, {"items": ["x" * 500] * 100})
    assert said.count("must be a valid integer") == 5
    assert said.endswith("and 95 more")
    assert len(said) < 1200
    assert "http" not in refused(many, {"items": "x" * 10_000, "y" * 10_000: 1})
    assert len(refused(many, {"y" * 10_000: 1})) < 400


def test_what_is_not_json_is_refused() -> None:
    assert "not JSON" in refused(weather, {"city": "\ud800"})


def test_numbers_that_are_none_pass_where_a_float_may_be_one() -> None:
    def scale(by: float) -> None: ...

    assert as_tool(scale).validate({"by": float("inf")}) == {"by": float("inf")}


@pytest.mark.parametrize("name", ["key", "text", "context", "retries"])
def test_keywords_cannot_overwrite_what_is_no_keyword(name: str) -> None:
    import functools

    def send(key: str, text: str, *, context: RunContext[int], retries: int, **more: str): ...

    made = tool(functools.partial(send, "key", "text", retries=1))
    assert made.parameters["properties"] == {}
    with pytest.raises(ToolArgumentsError, match=f"{name}: not known"):
        made.validate({name: "other"})
    assert made.validate({"colour": "red"}) == {"more": {"colour": "red"}}


def test_a_call_binds_every_kind_of_parameter() -> None:
    def every(a: int, b: int = 2, /, c: int = 3, *rest: int, context: RunContext[str], d: int = 4, **e: int):
        return a, b, c, rest, context.deps, d, e

    called = as_tool(every).call({"a": "1", "rest": [5, 6], "e": 7}, RunContext("deps"))
    assert asyncio.run(called) == (1, 2, 3, (5, 6), "deps", 4, {"e": 7})


def schema_tool(schema: dict[str, Any]) -> Tool:
    async def run(arguments: dict[str, Any]) -> Any:
        return arguments

    return Tool.from_schema("lookup", "Looks up.", schema, run)


OBJECT = {
    "type": "object",
    "properties": {
        "id": {"type": "integer", "minimum": 1},
        "tags": {"type": "array", "items": {"enum": ["a", "b"]}},
    },
    "required": ["id", "tags"],
    "additionalProperties": False,
}


@pytest.mark.parametrize(
    ("arguments", "wanted"),
    [
        ({"id": 0, "tags": ["a"]}, "id: must be at least 1 (got 0)"),
        ({"id": "1", "tags": []}, 'id: must be of type "integer" (got "1")'),
        ({"id": 1, "tags": ["c"]}, 'tags.0: must be one of ["a", "b"] (got "c")'),
        ({"id": 1, "tags": [], "x": 1}, "x: not known; the arguments are: id, tags"),
        ({}, "id: is required; tags: is required"),
    ],
)
def test_arguments_of_a_schema_are_validated_too(arguments, wanted) -> None:
    with pytest.raises(ToolArgumentsError, match=re.escape(f"arguments of lookup are not valid: {wanted}")):
        schema_tool(OBJECT).validate(arguments)
    assert asyncio.run(schema_tool(OBJECT).call({"id": 1, "tags": ["a"]})) == {"id": 1, "tags": ["a"]}
