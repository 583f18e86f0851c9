"""The testing kit: what its models do, and what it does not let happen."""

from __future__ import annotations

import asyncio
import json
from dataclasses import dataclass
from datetime import date
from enum import Enum
from itertools import pairwise
from pathlib import Path
from typing import Annotated, Any, Literal

import httpx
import pytest
from hypothesis import given
from hypothesis import strategies as st
from jsonschema import Draft202012Validator
from pydantic import BaseModel, Field

from agentkit import AsyncClient, Client
from agentkit._agent import Agent
from agentkit._backends import OpenAICompatible, Server
from agentkit._errors import AgentkitError, ConnectionError, OutputInvalid, ResponseError
from agentkit._events import ToolArgumentsDelta, ToolCallClosed
from agentkit._tool import tool
from agentkit._turn import TurnRequest
from agentkit.testing import (
    Hang,
    Recorder,
    ScriptedModel,
    answer,
    broken,
    calls,
    cut,
    forbid_requests,
    hanging,
    thinking,
)
from agentkit.testing._examples import example

pytestmark = pytest.mark.anyio
CALL = calls(("weather", {"city": "Oslo"}))


@tool
def weather(city: str) -> str:
    """What it is like there."""
    return f"rain in {city}"


def agent(model: Any, output_type: Any = None, **options: Any) -> Agent[Any]:
    return Agent("any", output_type, backend=model, **{"tools": [weather], **options})


# ScriptedModel


async def test_steps_are_taken_one_after_the_other_and_requests_are_kept() -> None:
    model = ScriptedModel([CALL, thinking("Hm.", "Rain.")])
    result = await agent(model).run("Weather?")
    assert (result.output, result.messages[-1].thinking) == ("Rain.", "Hm.")
    assert [request.messages[-1].content for request in model.requests] == ["Weather?", "rain in Oslo"]
    assert model.released == [result.run.id]
    model.assert_complete()


async def test_a_step_may_depend_on_the_request() -> None:
    def echo(request: TurnRequest) -> str:
        return str(request.messages[-1].content).upper()

    assert (await agent(ScriptedModel([CALL, echo])).run("?")).output == "RAIN IN OSLO"


async def test_steps_left_over_and_steps_that_lack_are_errors() -> None:
    model = ScriptedModel(["One.", "Two."])
    await agent(model).run("?")
    with pytest.raises(
        AssertionError, match=r"1 steps of the script were not asked for; the next is 'Two\.'"
    ):
        model.assert_complete()
    await agent(model).run("?")
    with pytest.raises(AgentkitError, match="the script has no step for request 3"):
        await agent(model).run("?")


@pytest.mark.parametrize("after", [0, 1, 2])
async def test_a_connection_breaks_after_as_many_pieces_as_one_says(after: int) -> None:
    model = ScriptedModel([broken("twenty characters or so", after=after)])
    count = 0
    with pytest.raises(ConnectionError):
        async with model.connect() as session:
            async for _ in session.turn(TurnRequest(model="any", messages=())):
                count += 1
    assert count == after


async def test_a_step_that_is_an_exception_is_raised() -> None:
    with pytest.raises(ResponseError, match="busy"):
        await agent(ScriptedModel([ResponseError("busy", 503)])).run("?")


async def test_a_call_can_be_cut_off_in_its_arguments() -> None:
    model = ScriptedModel([cut(calls(("weather", ['{"ci', 'ty": "Oslo"}'])), after=2)])
    with pytest.raises(OutputInvalid, match="cut off"):
        await agent(model).run("?")


async def test_a_turn_that_hangs_waits_until_it_is_cancelled() -> None:
    hang = Hang()
    run = asyncio.create_task(agent(ScriptedModel([hanging(hang, "Well", after=1)])).run("?"))
    async with asyncio.timeout(20):
        await hang.reached.wait()
    assert not hang.cancelled
    run.cancel()
    with pytest.raises(asyncio.CancelledError):
        await run
    assert hang.cancelled


@given(cuts=st.sets(st.integers(0, 30)))
def test_arguments_may_be_split_anywhere(cuts: set[int]) -> None:
    text = json.dumps({"city": 'Tromsø "N"'}, ensure_ascii=False)
    places = [0, *sorted(cuts), len(text)]
    pieces = [text[a:b] for a, b in pairwise(places)]

    async def closed() -> list[Any]:
        model = ScriptedModel([calls(("weather", pieces)), "Rain."])
        async with agent(model).run_stream("?") as stream:
            kinds = (ToolArgumentsDelta, ToolCallClosed)
            return [event async for event in stream if isinstance(event, kinds)]

    *deltas, last = asyncio.run(closed())
    assert "".join(delta.text for delta in deltas) == text
    assert last.arguments == {"city": 'Tromsø "N"'}


# auto


class Kind(Enum):
    A = "a"
    B = "b"


@dataclass
class Point:
    x: float
    label: Literal["here"] | None


class Report(BaseModel):
    title: Annotated[str, Field(min_length=3)]
    day: date
    kind: Kind
    points: Annotated[list[Point], Field(min_length=2)]
    share: Annotated[float, Field(gt=0, lt=1)]
    next: Report | None = None


async def test_auto_calls_every_tool_once_and_answers_what_fits() -> None:
    seen: list[tuple[int, Kind]] = []

    @tool
    def count(number: Annotated[int, Field(ge=5, multiple_of=3)], kind: Kind) -> None:
        """Counts."""
        seen.append((number, kind))

    result = await agent(ScriptedModel.auto(), Report, tools=[weather, count]).run("?")
    assert seen == [(6, Kind.A)]
    assert [m.role for m in result.messages] == ["user", "assistant", "tool", "tool", "assistant"]
    assert isinstance(result.output, Report)
    assert len(result.output.points) == 2


async def test_auto_keeps_to_what_may_be_called() -> None:
    for options in ({"tool_choice": "none"}, {"flow": "single", "tools": [weather]}):
        result = await agent(ScriptedModel.auto("first", text="enough"), **options).run("?")
        assert result.output == "first"
    result = await agent(ScriptedModel.auto(), Literal["yes", "no"], tools=[]).run("?")
    assert result.output == "yes"
    result = await agent(ScriptedModel.auto(text="enough"), tool_choice="none").run("?")
    assert result.output == "enough"


@pytest.mark.parametrize(
    "schema",
    [
        {"type": "integer", "exclusiveMinimum": 5},
        {"type": "integer", "maximum": -3},
        {"type": "number", "exclusiveMaximum": 0, "minimum": -0.5},
        {"type": "integer", "minimum": -7, "maximum": -6},
        {"type": "array", "prefixItems": [{"type": "string"}, {"const": 4}], "minItems": 2},
        {"allOf": [{"properties": {"a": {"type": "string"}}, "required": ["a"]}], "type": "object"},
        {"anyOf": [{"type": "object", "required": ["x"]}, {"type": "null"}]},
        {"type": ["string", "null"], "format": "uuid"},
        {"$ref": "#/$defs/a~1b", "$defs": {"a/b": {"enum": [[1]]}}},
        {"type": "boolean"},
        {},
        {
            "$ref": "#/$defs/tree",
            "$defs": {
                "tree": {
                    "type": "object",
                    "properties": {"kids": {"type": "array", "items": {"$ref": "#/$defs/tree"}}},
                    "required": ["kids"],
                }
            },
        },
    ],
)
def test_examples_fit_their_schemas(schema: dict[str, Any]) -> None:
    Draft202012Validator(schema).validate(example(schema))


@pytest.mark.parametrize(
    "schema",
    [
        {"type": "string", "pattern": "^x{4}$"},
        {"type": "integer", "minimum": 3, "maximum": 2},
        {"$ref": "#"},
        {
            "type": "object",
            "properties": {"self": {"$ref": "#"}},
            "required": ["self"],
        },
    ],
)
def test_a_schema_without_a_known_example_is_an_error(schema: dict[str, Any]) -> None:
    with pytest.raises(AgentkitError, match="auto\\(\\) knows no value"):
        example(schema)


# Recorder


async def test_a_cassette_is_recorded_once_and_answers_afterwards(tmp_path: Path) -> None:
    path = tmp_path / "weather.json"
    real = ScriptedModel([CALL, answer("Rain.", thinking="Hm.")])
    first = await agent(Recorder(path, real)).run("Weather?")
    cassette = Recorder(path, real)
    assert cassette.recording is False
    with forbid_requests():
        second = await agent(cassette).run("Weather?")
    assert second.messages == first.messages
    assert second.usage == first.usage
    assert len(cassette.requests) == 2


async def test_a_request_that_is_not_in_the_cassette_says_what_is_new(tmp_path: Path) -> None:
    path = tmp_path / "weather.json"
    await agent(Recorder(path, ScriptedModel(["Hi."])), tools=[]).run("Hello?")
    with pytest.raises(AgentkitError, match=r"options is {'seed': 1}, and was {}; if it is meant to be new"):
        await agent(Recorder(path), tools=[], options={"seed": 1}).run("Hello?")
    cassette = Recorder(path)
    await agent(cassette, tools=[]).run("Hello?")
    with pytest.raises(AgentkitError, match="all of them are used up"):
        await agent(cassette, tools=[]).run("Hello?")


async def test_errors_of_a_server_are_recorded_too(tmp_path: Path) -> None:
    path = tmp_path / "weather.json"
    steps = [ResponseError("no such model", 404), broken("Hel", after=1)]
    recorder = Recorder(path, ScriptedModel(steps))
    for cassette in (recorder, None):
        used = cassette or Recorder(path)
        with pytest.raises(ResponseError) as refused:
            await agent(used).run("A?")
        assert refused.value.status_code == 404
        with pytest.raises(ConnectionError):
            await agent(used).run("B?")
        recorder.save()


def test_without_a_cassette_a_backend_is_needed(tmp_path: Path) -> None:
    with pytest.raises(AgentkitError, match=r"there is no cassette at .*; give a backend to record one from"):
        Recorder(tmp_path / "none.json")
    for content in ("{", "[]", '{"format": "agentkit.cassette", "version": 2}'):
        (tmp_path / "bad.json").write_text(content)
        with pytest.raises(AgentkitError, match="is no cassette"):
            Recorder(tmp_path / "bad.json")


async def test_a_cassette_of_a_real_protocol_keeps_what_the_server_said(tmp_path: Path) -> None:
    asked: list[str] = []

    def answers(request: httpx.Request) -> httpx.Response:
        asked.append(request.url.path)
        chunk = {"choices": [{"delta": {"content": "Hi."}, "finish_reason": "stop"}]}
        return httpx.Response(200, content=f"data: {json.dumps(chunk)}\n\n")

    path = tmp_path / "hello.json"
    backend = OpenAICompatible("http://server/v1", transport=httpx.MockTransport(answers))
    for _ in range(2):
        assert (await agent(Recorder(path, backend), tools=[]).run("Hello?")).output == "Hi."
    assert asked == ["/v1/chat/completions"]


# forbid_requests


async def test_nothing_connects_while_requests_are_forbidden() -> None:
    message = "wants to connect while requests are forbidden; give the agent backend=ScriptedModel"
    with forbid_requests():
        for backend in (Server(), OpenAICompatible("http://other/v1")):
            with pytest.raises(AgentkitError, match=message):
                await agent(backend).run("?")
        with pytest.raises(AgentkitError, match=r"a client of http://127\.0\.0\.1:11434 wants"):
            Client().list()
        with pytest.raises(AgentkitError, match=message):
            await AsyncClient().list()
        with forbid_requests():
            assert (await agent(ScriptedModel(["Hi."])).run("?")).output == "Hi."
        with pytest.raises(AgentkitError, match=message):
            Client("http://other").version()
    with Client(
        transport=httpx.MockTransport(lambda request: httpx.Response(200, json={"version": "1"}))
    ) as c:
        assert c.version().version == "1"
