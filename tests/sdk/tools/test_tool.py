"""Tools as objects: how they are made, called and shown to a model."""

from __future__ import annotations

import asyncio
import contextvars
import functools
import logging
import subprocess
import sys
import threading
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import date
from enum import Enum
from pathlib import Path
from typing import Annotated, Any

import pytest
from pydantic import BaseModel, Field
from sdk.tools.callable_rows import SHOP, Shop

from agentkit._context import RunContext
from agentkit._errors import DefinitionError, ToolArgumentsError, ToolError, ToolTimeout
from agentkit._result import result_text
from agentkit._tool import Tool, as_tool, tool


def add(a: int, b: int = 1) -> int:
    """Adds."""
    return a + b


DEFINITION = {
    "type": "function",
    "function": {
        "name": "add",
        "description": "Adds.",
        "parameters": {
            "type": "object",
            "properties": {"a": {"type": "integer"}, "b": {"type": "integer", "default": 1}},
            "required": ["a"],
            "additionalProperties": False,
        },
    },
}


def call(given: Any, arguments: dict[str, Any], context: RunContext[Any] | None = None) -> Any:
    return asyncio.run(as_tool(given).call(arguments, context))


def test_a_function_becomes_its_wire_form() -> None:
    made = tool(add)
    assert made.definition() == DEFINITION
    assert made.returns == {"type": "integer"}


def test_a_tool_is_still_the_function_for_python() -> None:
    assert tool(add)(2, b=3) == 5
    assert SHOP.decorated("x") is None


def test_defaults_of_a_tool() -> None:
    made = tool(add)
    assert (made.requires_approval, made.timeout, made.retries, made.raises, made.sequential) == (
        False,
        None,
        1,
        (),
        False,
    )


def test_the_decorator_takes_options() -> None:
    def risky(context: RunContext[Any], arguments: Any) -> bool:
        return arguments["a"] > 1

    @tool(
        name="plus",
        description="Sums.",
        requires_approval=risky,
        timeout=2.5,
        retries=0,
        raises=(OSError,),
        sequential=True,
    )
    def add(a: int) -> int:
        """Adds."""
        return a

    assert (add.name, add.description, add.timeout, add.retries) == ("plus", "Sums.", 2.5, 0)
    assert (add.requires_approval, add.raises, add.sequential) == (risky, (OSError,), True)
    assert add(1) == 1


def test_as_tool_leaves_a_tool_as_it_is() -> None:
    made = tool(add)
    assert as_tool(made) is made


def test_a_definition_is_a_tool_that_cannot_be_run() -> None:
    made = as_tool(DEFINITION)
    assert made.definition() == DEFINITION
    with pytest.raises(ToolArgumentsError, match="a: is required"):
        made.validate({})
    with pytest.raises(DefinitionError, match="nothing here can run it"):
        call(made, {"a": 1})


def test_a_definition_without_parameters_takes_none() -> None:
    made = as_tool({"type": "function", "function": {"name": "now"}})
    assert made.parameters == {"type": "object", "properties": {}}


@pytest.mark.parametrize(
    ("given", "words"),
    [
        (3, "3 is no function"),
        (Path, "is no function"),
        ({"name": "x"}, "is no tool"),
        ({"type": "function", "function": {"name": "x", "parameters": {"type": 3}}}, "no JSON Schema"),
        (lambda x: x, "a lambda has no name"),
        (functools.partial(lambda x: x, 1), "a lambda has no name"),
        (max, "has no signature"),
    ],
)
def test_what_cannot_be_a_tool_is_refused(given: Any, words: str) -> None:
    with pytest.raises(DefinitionError, match=words):
        as_tool(given)


def items() -> Iterator[int]:
    yield 1


async def rows():
    yield 1


class Opaque:
    pass


def takes_opaque(fine: int, bad: Opaque): ...


def takes_opaque_keywords(fine: int, **bad: Opaque): ...


def takes_a_name_that_is_not_there(a: Missing): ...  # noqa: F821


def takes_one_alias_twice(
    a: Annotated[int, Field(alias="x")],
    b: Annotated[int, Field(alias="x")],
): ...


@pytest.mark.parametrize(
    ("function", "words"),
    [
        (items, "'items' is a generator"),
        (rows, "'rows' is a generator"),
        (takes_opaque, "the type of parameter 'bad' has no JSON Schema"),
        (takes_opaque_keywords, "the type of parameter 'bad' has no JSON Schema"),
        (takes_one_alias_twice, "two of the parameters a, b have the same alias"),
        (takes_a_name_that_is_not_there, "cannot be resolved: name 'Missing' is not defined"),
    ],
)
def test_a_function_that_a_model_cannot_call_is_refused(function: Any, words: str) -> None:
    with pytest.raises(DefinitionError, match=words) as raised:
        tool(function)
    assert "http" not in str(raised.value)


def größe(a: int): ...


@pytest.mark.parametrize("options", [{}, {"name": "two words"}, {"name": "x" * 65}, {"name": ""}])
def test_a_name_that_cannot_be_sent_is_refused(options: Any) -> None:
    with pytest.raises(DefinitionError, match="is no name for a tool; give name="):
        tool(größe, **options)
    assert tool(größe, name="size-of_1").name == "size-of_1"


@pytest.mark.parametrize("options", [{"timeout": 0}, {"timeout": -1.0}, {"retries": -1}])
def test_options_have_bounds(options: Any) -> None:
    with pytest.raises(DefinitionError, match=r"above 0|0 or more"):
        tool(add, **options)


def test_a_synchronous_function_runs_in_a_thread_with_the_callers_context() -> None:
    user = contextvars.ContextVar[str]("user")

    def who(context: RunContext[str]) -> tuple[str, bool, str]:
        return user.get(), threading.current_thread() is threading.main_thread(), context.deps

    async def main() -> Any:
        user.set("ada")
        return await as_tool(who).call({}, RunContext("deps"))

    assert asyncio.run(main()) == ("ada", False, "deps")


def test_an_asynchronous_function_runs_in_the_loop() -> None:
    async def where(context: RunContext[str], suffix: str) -> str:
        assert asyncio.get_running_loop()
        return threading.current_thread().name + suffix

    assert call(where, {"suffix": "!"}, RunContext("")) == threading.current_thread().name + "!"


def test_a_synchronous_wrapper_of_an_asynchronous_function_is_awaited() -> None:
    async def slow(a: int) -> int:
        return a

    def wrapper(a: int) -> Any:
        return slow(a)

    assert call(wrapper, {"a": "3"}) == 3
    assert call(functools.partial(slow, a=4), {}) == 4


def test_many_synchronous_calls_run_beside_each_other() -> None:
    together = threading.Barrier(40, timeout=30)

    def meet() -> None:
        together.wait()

    async def main() -> None:
        await asyncio.gather(*(as_tool(meet).call({}) for _ in range(40)))

    asyncio.run(main())


@pytest.mark.parametrize(
    ("instance", "arguments", "wanted"),
    [
        (SHOP.sell, {"what": "tea", "price": "2"}, "shop tea 2.0"),
        (functools.partial(SHOP.sell, "tea"), {}, "shop tea 1.0"),
        (Shop.tax, {"price": 1}, None),
        (SHOP.decorated, {"what": "x"}, None),
        (Shop.class_decorated, {"name": "x"}, None),
        (Shop.decorated_class, {"name": "x"}, None),
        (Shop.decorated_static, {"price": 1}, None),
    ],
)
def test_methods_are_called_on_their_object(instance: Any, arguments: Any, wanted: Any) -> None:
    assert call(instance, arguments) == wanted


def test_a_decorated_method_is_bound_to_each_object() -> None:
    class Counter:
        def __init__(self, start: int) -> None:
            self.count = start

        @tool(timeout=5)
        def add(self, by: int) -> int:
            """Counts."""
            self.count += by
            return self.count

        @tool
        @classmethod
        def named(cls) -> str:
            return cls.__name__

    one, two = Counter(1), Counter(10)
    assert (call(one.add, {"by": 1}), call(two.add, {"by": 1}), one.add(by=1)) == (2, 11, 3)
    assert one.add.timeout == 5
    assert "self" not in one.add.parameters["properties"]
    assert call(Counter.named, {}) == call(one.named, {}) == "Counter"


def test_a_context_that_is_missing_is_the_callers_mistake() -> None:
    def needs(context: RunContext[int]) -> int:
        return context.deps

    def may_have(context: RunContext[int] | None) -> bool:
        return context is None

    with pytest.raises(DefinitionError, match="'context' needs a RunContext"):
        call(needs, {})
    assert call(may_have, {}) is True


@pytest.mark.parametrize("kind", [ToolError, OSError, KeyError, TimeoutError])
@pytest.mark.parametrize("asynchronous", [True, False])
def test_what_a_function_raises_comes_out(kind: type[Exception], asynchronous: bool) -> None:
    def fails() -> None:
        raise kind("broken")

    async def fails_too() -> None:
        raise kind("broken")

    with pytest.raises(kind, match="broken") as raised:
        call(tool(fails_too if asynchronous else fails, timeout=60), {})
    assert not isinstance(raised.value, ToolTimeout)


def test_a_stop_iteration_does_not_hang_the_call() -> None:
    def first() -> Any:
        return next(iter([]))

    with pytest.raises(RuntimeError, match="StopIteration"):
        call(first, {})


def test_an_asynchronous_tool_that_takes_too_long_is_cancelled() -> None:
    cancelled: list[bool] = []

    async def wait() -> None:
        try:
            await asyncio.Event().wait()
        except asyncio.CancelledError:
            cancelled.append(True)
            raise

    with pytest.raises(ToolTimeout, match=r"wait took longer than 0\.01 s"):
        call(tool(wait, timeout=0.01), {})
    assert cancelled == [True]


def test_a_synchronous_tool_that_takes_too_long_is_left_behind() -> None:
    release, ended = threading.Event(), threading.Event()

    def wait() -> str:
        release.wait(30)
        ended.set()
        return "late"

    with pytest.raises(ToolTimeout):
        call(tool(wait, timeout=0.01), {})
    # The loop is closed by now: the late result has nowhere to go, and disturbs nobody.
    assert not ended.is_set()
    release.set()
    assert ended.wait(30)


def test_a_program_ends_while_a_tool_hangs() -> None:
    program = """
import asyncio, threading
from agentkit._tool import tool
from agentkit._errors import ToolTimeout

@tool(timeout=0.01)
def hang() -> None:
    threading.Event().wait()

try:
    asyncio.run(hang.call({}))
except ToolTimeout:
    print("given up")
"""
    command = [sys.executable, "-c", program]
    ran = subprocess.run(command, capture_output=True, text=True, timeout=60, check=True)
    assert ran.stdout == "given up\n"


class Colour(Enum):
    RED = "red"


class Answer(BaseModel):
    text: str
    when: date


@dataclass
class Pair:
    left: int
    right: set[int]


@pytest.mark.parametrize(
    ("value", "wanted"),
    [
        ("as it is\n", "as it is\n"),
        (None, "null"),
        (True, "true"),
        (3, "3"),
        (0.5, "0.5"),
        (float("nan"), '"NaN"'),
        (Colour.RED, "red"),
        (["ü", 1, None], '["ü",1,null]'),
        ({"a": (1, 2), 3: {4}}, '{"a":[1,2],"3":[4]}'),
        (Answer(text="x", when=date(2030, 1, 2)), '{"text":"x","when":"2030-01-02"}'),
        (Pair(1, {2}), '{"left":1,"right":[2]}'),
        ([Answer(text="x", when=date(2030, 1, 2)), Colour.RED], '[{"text":"x","when":"2030-01-02"},"red"]'),
        (Path("a/b"), '"a/b"'),
        (b"text", "text"),
        (b"\xff\x00", "_wA="),
        ([b"\xff\x00"], '["_wA="]'),
        (10**30, "1" + "0" * 30),
        ("name \udcff", "name ?"),
        (["name \udcff"], '["name ?"]'),
    ],
)
def test_the_model_reads_text_or_compact_json(value: Any, wanted: str) -> None:
    assert result_text(value) == wanted


def test_what_json_cannot_say_is_told_by_str() -> None:
    class Thing:
        def __str__(self) -> str:
            return "a thing"

    assert result_text(Thing()) == '"a thing"'
    assert result_text([Thing()]) == '["a thing"]'
    loop: list[Any] = []
    loop.append(loop)
    assert result_text(loop) == "[[...]]"


def test_a_reference_to_another_document_is_never_fetched() -> None:
    async def run(arguments: dict[str, Any]) -> None: ...

    made = Tool.from_schema("x", "", {"properties": {"a": {"$ref": "http://127.0.0.1:9/schema"}}}, run)
    with pytest.raises(DefinitionError, match="cannot be used"):
        made.validate({"a": 1})


def test_a_tool_of_a_schema_can_be_called_with_keywords() -> None:
    async def run(arguments: dict[str, Any]) -> Any:
        return arguments

    made = Tool.from_schema("x", "Does.", {"type": "object"}, run)
    assert asyncio.run(made(a=1)) == {"a": 1}
    assert made.definition()["function"]["description"] == "Does."


def test_griffe_is_imported_for_a_docstring_with_sections_alone() -> None:
    program = """
import sys
from agentkit._tool import tool

@tool
def plain(a: int):
    "Plain: no sections."

print("griffe" in sys.modules, "jsonschema" in sys.modules)

@tool
def sections(a: int):
    '''Sections.

    Args:
        a: one
    '''

print("griffe" in sys.modules)
"""
    ran = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert ran.stdout == "False False\nTrue\n"


def test_a_docstring_that_does_not_fit_is_no_warning(caplog: pytest.LogCaptureFixture) -> None:
    def odd(a: int):
        """Odd.

        Args:
            a without a colon
            b: there is no b
        """

    with caplog.at_level(logging.DEBUG):
        assert as_tool(odd).description == "Odd."
    assert caplog.records == []


def test_chat_sends_functions_and_tools(wire: Any) -> None:
    wire.answers(json={"model": "m", "message": {"role": "assistant", "content": ""}, "done": True})
    wire.call("chat", "m", [], tools=[add, tool(add), DEFINITION])
    assert wire.body()["tools"] == [DEFINITION] * 3


def test_chat_refuses_what_cannot_be_a_tool_before_sending(wire: Any) -> None:
    with pytest.raises(DefinitionError, match="lambda"):
        wire.call("chat", "m", [], tools=[lambda x: x])
    assert wire.requests == []
