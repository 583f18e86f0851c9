"""Agents on a scripted model: flows, results, outputs, events."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from typing import Any, Literal

import pytest
from pydantic import BaseModel, field_validator
from support.agents import add, agent_of, contents, events_of, shout

from agentkit import (
    Agent,
    DefinitionError,
    OutputInvalid,
    PartialOutput,
    RequestError,
    Run,
    RunContext,
    RunEnded,
    RunEvent,
    ToolArgumentsDelta,
    ToolError,
    ToolFailed,
    ToolResult,
    TurnEnded,
    tool,
)
from agentkit.testing import Hang, answer, calls, hanging


def test_a_loop_runs_until_the_model_answers() -> None:
    agent, model = agent_of(
        calls(("add", {"a": 1, "b": 2})), calls(("shout", {"text": "three"})), "It is THREE."
    )
    result = agent.run_sync("What is 1 + 2?")
    assert result.output == "It is THREE."
    assert contents(result.run)[2] == ("tool", "3")
    assert (result.usage.turns, result.usage.tool_calls) == (3, 2)
    assert [request.tool_choice for request in model.requests] == ["auto"] * 3
    assert result.run.status == "done"
    model.assert_complete()


def test_instructions_come_first_and_may_depend_on_the_run() -> None:
    def instructions(context: RunContext[str]) -> str:
        return f"Serve {context.deps}."

    agent, _ = agent_of("Yes.", instructions=instructions)
    result = agent.run_sync("Hello", deps="Ada", history=[{"role": "user", "content": "Before"}])
    assert contents(result.run) == [
        ("system", "Serve Ada."),
        ("user", "Before"),
        ("user", "Hello"),
        ("assistant", "Yes."),
    ]


def test_single_is_one_tool_and_one_answer() -> None:
    agent, model = agent_of(calls(("add", {"a": 1, "b": 2})), "Three.", flow="single")
    assert agent.run_sync("1 + 2?").output == "Three."
    assert [(r.tool_choice, r.parallel) for r in model.requests] == [("required", False), ("none", False)]
    assert model.requests[0].tools == model.requests[1].tools


def test_parallel_runs_the_calls_of_a_turn_at_once_and_keeps_their_order() -> None:
    arrived: list[str] = []
    both = asyncio.Event()

    async def meet(name: str) -> str:
        """Waits for the other one."""
        arrived.append(name)
        if len(arrived) == 2:
            both.set()
        async with asyncio.timeout(10):
            await both.wait()
        return name

    agent, model = agent_of(
        calls(("meet", {"name": "first"}), ("meet", {"name": "second"})),
        "Both came.",
        tools=[meet],
        flow="parallel",
    )
    run = agent.run_sync("Go").run
    assert [content for role, content in contents(run) if role == "tool"] == ["first", "second"]
    assert [request.tool_choice for request in model.requests] == ["required", "none"]


def test_a_sequential_tool_never_runs_beside_another() -> None:
    inside = 0
    most = 0

    async def work() -> None:
        nonlocal inside, most
        inside += 1
        most = max(most, inside)
        for _ in range(5):
            await asyncio.sleep(0)
        inside -= 1

    @tool(sequential=True)
    async def alone() -> str:
        await work()
        return "ok"

    @tool
    async def beside() -> str:
        await work()
        return "ok"

    agent, _ = agent_of(calls(("alone", {}), ("beside", {}), ("alone", {})), "Done.", tools=[alone, beside])
    agent.run_sync("Go")
    assert most == 1


@pytest.mark.parametrize(
    ("call", "read", "outcome"),
    [
        (("add", {"a": "x", "b": 2}), "arguments of add are not valid", "invalid"),
        (("add", '{"a": 1, "b"'), "arguments of add are not valid", "invalid"),
        (("nothing", {}), "there is no tool 'nothing'; the tools are: add", "invalid"),
        (("fails", {}), "error: ValueError: no luck", "failed"),
        (("refuses", {}), "error: try tomorrow", "failed"),
        (("hangs", {}), "error: hangs took longer than 0.01 s", "timed_out"),
    ],
)
def test_what_goes_wrong_in_a_call_is_a_result_that_the_model_reads(
    call: tuple[str, Any], read: str, outcome: str
) -> None:
    def fails() -> None:
        raise ValueError("no luck")

    def refuses() -> None:
        raise ToolError("try tomorrow")

    @tool(timeout=0.01)
    async def hangs() -> None:
        await asyncio.Event().wait()

    agent, _ = agent_of(calls(call), "So be it.", tools=[add, fails, refuses, hangs])
    events = asyncio.run(events_of(agent, "Go"))
    [result] = [event for event in events if isinstance(event, ToolResult)]
    assert read in result.content
    assert result.outcome == outcome
    assert isinstance(events[-1], RunEnded)


def test_an_error_that_a_tool_declares_goes_up_the_stack_with_the_run() -> None:
    @tool(raises=(PermissionError,))
    def open_door() -> None:
        raise PermissionError("locked")

    agent, _ = agent_of(calls(("open_door", {}), ("add", {"a": 1, "b": 1})), tools=[open_door, add])
    with pytest.raises(ToolFailed, match="locked") as caught:
        agent.run_sync("Go")
    assert isinstance(caught.value.__cause__, PermissionError)
    run = caught.value.run
    assert run.status == "failed"
    # What the other call did has happened and is kept.
    assert [result.content for result in run.results.values()] == ["2"]
    assert [call.function.name for call in run.open_calls] == ["open_door"]


class City(BaseModel):
    name: str
    people: int

    @field_validator("people")
    @classmethod
    def some(cls, value: int) -> int:
        if value < 1:
            raise ValueError("nobody lives there")
        return value


def test_an_output_is_validated_and_grows_while_it_is_written() -> None:
    agent, model = agent_of('{"name": "Oslo", "people": 700000}', output=City, tools=[])
    events = asyncio.run(events_of(agent, "Where?"))
    assert events[-1] == RunEnded(
        model.requests[0].run_id, City(name="Oslo", people=700000), model_usage(events), "stop"
    )
    partial = [event.value for event in events if isinstance(event, PartialOutput)]
    assert partial[0] == {}
    assert {"name": "Oslo"} in partial
    demand = model.requests[0].demand
    assert demand is not None
    assert demand.value["additionalProperties"] is False


def model_usage(events: list[RunEvent]) -> Any:
    [usage] = [event.usage for event in events if isinstance(event, TurnEnded)]
    return usage


def test_an_answer_that_a_validator_refuses_is_asked_for_again_within_bounds() -> None:
    bad, good = '{"name": "Atlantis", "people": 0}', '{"name": "Oslo", "people": 7}'
    agent, _ = agent_of(bad, good, output=City, tools=[])
    result = agent.run_sync("Where?")
    assert result.output.name == "Oslo"
    assert "people: nobody lives there" in (result.messages[2].content or "")
    agent, _ = agent_of(bad, bad, bad, output=City, tools=[], output_retries=1)
    with pytest.raises(OutputInvalid, match="nobody lives there") as caught:
        agent.run_sync("Where?")
    assert caught.value.run.usage.turns == 2


@pytest.mark.parametrize(
    ("kind", "text", "value"),
    [
        (Literal["a", "b"], '"a"', "a"),
        (list[int], "[1, 2]", [1, 2]),
        (bool, "true", True),
        (int | None, "null", None),
        ({"type": "object", "properties": {"x": {"type": "integer"}}}, '{"x": 1}', {"x": 1}),
        (str, "any text", "any text"),
    ],
)
def test_outputs_may_be_of_many_types(kind: Any, text: str, value: Any) -> None:
    agent, _ = agent_of(text, output=kind, tools=[])
    assert agent.run_sync("Go").output == value


@pytest.mark.parametrize("kind", [lambda: 1, {"type": 7}, object()])
def test_what_cannot_be_an_output_is_refused_at_once(kind: Any) -> None:
    with pytest.raises(DefinitionError, match="output"):
        Agent("any", kind)


@pytest.mark.parametrize(
    ("options", "text"),
    [
        ({"tools": [add, add]}, "two tools are named 'add'"),
        ({"flow": "spiral"}, "no flow 'spiral'"),
        ({"tools": [lambda: 1]}, "lambda"),
    ],
)
def test_agents_that_cannot_be_are_refused_at_once(options: Mapping[str, Any], text: str) -> None:
    with pytest.raises(DefinitionError, match=text):
        Agent("any", **options)


def test_arguments_can_be_seen_while_they_grow() -> None:
    pieces = ['{"a', '": 1, "b"', ": 23}"]
    agent, _ = agent_of(calls(("add", pieces)), "24.")
    events = asyncio.run(events_of(agent, "Go"))
    grown = [event for event in events if isinstance(event, ToolArgumentsDelta)]
    assert [event.text for event in grown] == pieces
    assert [event.partial for event in grown] == [{}, {"a": 1}, {"a": 1, "b": 23}]


def test_every_event_has_a_json_form_that_says_its_kind() -> None:
    import json

    agent, _ = agent_of(calls(("add", {"a": 1, "b": 1})), '{"name": "Oslo", "people": 7}', output=City)
    events = asyncio.run(events_of(agent, "Go"))
    told = [json.loads(json.dumps(event.to_dict())) for event in events]
    assert [one["kind"] for one in told] == [event.kind for event in events]
    assert told[-1]["output"] == {"name": "Oslo", "people": 7}


def test_leaving_the_events_early_cancels_the_turn() -> None:
    async def leave() -> tuple[Hang, Run]:
        hang = Hang()
        agent, _ = agent_of(hanging(hang, "One two three four", after=1))
        async with asyncio.timeout(10), asyncio.TaskGroup() as group:
            task = group.create_task(events_of(agent, "Go", run=(run := Run(model="any"))))
            await hang.reached.wait()
            task.cancel()
        return hang, run

    hang, run = asyncio.run(leave())
    assert hang.cancelled
    assert run.status == "failed"
    assert contents(run) == [("user", "Go")]


def test_forks_go_on_from_the_same_history_each_on_its_own() -> None:
    agent, model = agent_of("First.", "A.", "B.")
    run = agent.run_sync("Start").run
    left, right = run.fork(2)
    assert left.parent == right.parent == run.id
    assert len({run.id, left.id, right.id}) == 3
    assert agent.run_sync("Left?", run=left).output == "A."
    assert agent.run_sync("Right?", run=right).output == "B."
    assert contents(run) == [("user", "Start"), ("assistant", "First.")]
    assert list(model.requests[1].messages)[:2] == list(model.requests[2].messages)[:2]


def test_run_sync_inside_of_an_event_loop_says_what_to_do() -> None:
    async def inside() -> None:
        agent, _ = agent_of("x")
        with pytest.raises(RequestError, match=r"await agent\.run"):
            agent.run_sync("Go")

    asyncio.run(inside())


def test_a_run_without_anything_to_answer_is_refused() -> None:
    agent, _ = agent_of("x", instructions="Be brief.")
    with pytest.raises(RequestError, match="nothing to answer"):
        agent.run_sync()


def test_thoughts_are_events_and_stay_in_the_conversation() -> None:
    agent, _ = agent_of(answer("42.", thinking="Hm, let me see."))
    result = agent.run_sync("Why?")
    assert result.messages[-1].thinking == "Hm, let me see."
    assert result.output == "42."


def test_calls_that_wait_are_not_begun_after_another_has_ended_the_run() -> None:
    ran: list[str] = []

    @tool(raises=(PermissionError,))
    async def open_door() -> None:
        raise PermissionError("locked")

    async def walk(to: str) -> str:
        ran.append(to)
        return to

    agent, _ = agent_of(
        calls(("open_door", {}), ("walk", {"to": "a"}), ("walk", {"to": "b"})),
        tools=[open_door, walk],
        max_concurrency=1,
    )
    with pytest.raises(ToolFailed) as caught:
        agent.run_sync("Go")
    assert ran == []
    assert len(caught.value.run.open_calls) == 3
    assert caught.value.run.begun == []


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (lambda: Agent("m", instruction="x"), "did you mean 'instructions'"),  # pyright: ignore
        (lambda: Agent("m").run_stream("q", sesion=None), "did you mean 'session'"),  # pyright: ignore
        (lambda: Agent("m", max_concurrency=0), "1 or more"),
    ],
)
def test_options_that_there_are_not_are_refused(make: Any, words: str) -> None:
    with pytest.raises((DefinitionError, RequestError), match=words):
        make()


def test_tools_may_come_from_a_generator() -> None:
    agent, _ = agent_of("x", tools=(one for one in [add, shout]))
    assert [one.name for one in agent.tools] == ["add", "shout"]
