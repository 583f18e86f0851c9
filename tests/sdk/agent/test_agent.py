"""Agents on a scripted model: flows, limits, approvals, hooks, outputs, events."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from typing import Any, Literal

import pytest
from pydantic import BaseModel, field_validator

from agentkit import (
    Agent,
    DefinitionError,
    Hooks,
    LimitReached,
    Limits,
    OutputInvalid,
    PartialOutput,
    PendingCall,
    RequestError,
    Run,
    RunContext,
    RunEnded,
    RunEvent,
    RunPaused,
    ToolArgumentsDelta,
    ToolError,
    ToolFailed,
    ToolResult,
    TurnEnded,
    tool,
)
from agentkit.testing import Hang, ScriptedModel, answer, calls, cut, hanging


def add(a: int, b: int) -> int:
    """Adds."""
    return a + b


def shout(text: str) -> str:
    """Shouts."""
    return text.upper()


def agent_of(*steps: Any, output: Any = None, **options: Any) -> tuple[Agent[Any], ScriptedModel]:
    model = ScriptedModel(steps)
    options.setdefault("tools", [add, shout])
    return Agent("any", output, backend=model, **options), model


def contents(run: Run) -> list[tuple[str, str | None]]:
    return [(message.role, message.content) for message in run.messages]


async def events_of(agent: Agent[Any], prompt: str, **options: Any) -> list[RunEvent]:
    async with agent.run_stream(prompt, **options) as stream:
        return [event async for event in stream]


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


def test_no_more_calls_run_at_once_than_allowed() -> None:
    inside = 0
    most = 0

    async def work(n: int) -> int:
        nonlocal inside, most
        inside += 1
        most = max(most, inside)
        for _ in range(5):
            await asyncio.sleep(0)
        inside -= 1
        return n

    agent, _ = agent_of(
        calls(*(("work", {"n": n}) for n in range(9))), "Done.", tools=[work], max_concurrency=3
    )
    agent.run_sync("Go")
    assert most == 3


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


def test_a_tool_that_fails_too_often_in_a_row_is_closed() -> None:
    @tool(retries=1)
    def flaky() -> None:
        raise ValueError("no")

    agent, model = agent_of(calls(("flaky", {})), calls(("flaky", {})), "I give up.", tools=[flaky, add])
    assert agent.run_sync("Go").output == "I give up."
    assert [request.allowed for request in model.requests] == [None, None, ["add"]]


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


def test_text_that_is_cut_off_says_so_and_json_that_is_is_an_error() -> None:
    agent, _ = agent_of(cut("A long story", after=1), tools=[])
    result = agent.run_sync("Tell")
    assert (result.output, result.reason) == ("A long s", "length")
    agent, _ = agent_of(cut('{"name": "Oslo", "people": 7}', after=1), output=City, tools=[])
    with pytest.raises(OutputInvalid, match="the answer was cut off"):
        agent.run_sync("Where?")
    agent, _ = agent_of(cut(calls(("add", '{"a": 1, "b": 2}')), after=2))
    with pytest.raises(OutputInvalid, match="a call of add was cut off"):
        agent.run_sync("Go")


LIMITED: list[tuple[Limits, list[Any], str]] = [
    (Limits(turns=2), [calls(("add", {"a": 1, "b": 1}))] * 3, "turns"),
    (Limits(tool_calls=1), [calls(("add", {"a": 1, "b": 1}))] * 3, "tool_calls"),
    (Limits(tokens=2), [calls(("add", {"a": 1, "b": 1}))] * 3, "tokens"),
    (Limits(seconds=60), [cut("Slow", after=0, reason="deadline")], "seconds"),
]


@pytest.mark.parametrize(("limits", "steps", "limit"), LIMITED, ids=lambda value: str(value))
def test_a_limit_ends_the_run_and_names_itself(limits: Limits, steps: list[Any], limit: str) -> None:
    agent, _ = agent_of(*steps, limits=limits)
    with pytest.raises(LimitReached) as caught:
        agent.run_sync("Go")
    assert caught.value.limit == limit
    assert caught.value.run.status == "failed"


@pytest.mark.parametrize(("limits", "steps", "limit"), LIMITED, ids=lambda value: str(value))
def test_with_wrap_up_the_model_answers_with_what_it_has(
    limits: Limits, steps: list[Any], limit: str
) -> None:
    from dataclasses import replace

    def wrapped(request: Any) -> Any:
        return "All I know." if request.tool_choice == "none" else steps[0]

    agent, model = agent_of(*[wrapped] * 4, limits=replace(limits, wrap_up=True))
    if limit == "seconds":
        agent, model = agent_of(steps[0], wrapped, limits=replace(limits, wrap_up=True))
    assert agent.run_sync("Go").output == "All I know."
    assert model.requests[-1].tool_choice == "none"
    assert model.requests[-1].tools == model.requests[0].tools


def test_what_is_left_of_tokens_and_seconds_is_sent_with_every_turn() -> None:
    agent, model = agent_of(calls(("add", {"a": 1, "b": 1})), "Two.", limits=Limits(tokens=100, seconds=50))
    agent.run_sync("Go")
    first, second = model.requests
    assert first.max_tokens == 100
    assert second.max_tokens is not None and second.max_tokens < 100
    assert first.max_seconds is not None and second.max_seconds is not None
    assert second.max_seconds <= first.max_seconds <= 50


def test_calls_beyond_the_limit_are_not_run_and_the_model_is_told() -> None:
    agent, _ = agent_of(
        calls(*(("add", {"a": n, "b": 0}) for n in range(3))),
        "Enough.",
        limits=Limits(tool_calls=2, wrap_up=True),
    )
    events = asyncio.run(events_of(agent, "Go"))
    assert [e.outcome for e in events if isinstance(e, ToolResult)] == ["returned", "returned", "not_run"]


@tool(requires_approval=True)
def wipe(name: str) -> str:
    """Wipes a disk."""
    return f"{name} is empty"


def paused_run() -> Run:
    agent, _ = agent_of(
        calls(("wipe", {"name": "a"}), ("add", {"a": 1, "b": 1}), ("wipe", {"name": "b"})),
        tools=[wipe, add],
    )
    result = agent.run_sync("Go")
    assert result.paused
    assert [call.arguments for call in result.pending] == [{"name": "a"}, {"name": "b"}]
    return result.run


def test_a_call_that_needs_approval_pauses_the_run_and_it_goes_on_from_its_json() -> None:
    run = Run.model_validate_json(paused_run().model_dump_json())
    first, second = (call.call_id for call in run.pending)
    run.approve(first)
    run.deny(second, reason="keep it")
    agent, model = agent_of("Done.", tools=[wipe, add])
    result = agent.run_sync(run=run)
    assert [content for role, content in contents(result.run) if role == "tool"] == [
        "a is empty",
        "2",
        "this call was denied: keep it",
    ]
    assert result.output == "Done."
    assert len(model.requests) == 1


def test_a_run_that_is_resumed_without_decisions_pauses_again_and_runs_nothing_twice() -> None:
    agent, model = agent_of(tools=[wipe, add])
    again = agent.run_sync(run=paused_run())
    assert [call.arguments for call in again.pending] == [{"name": "a"}, {"name": "b"}]
    assert next(iter(again.run.results.values())).content == "2"
    assert model.requests == []


def test_an_unknown_call_cannot_be_decided_on() -> None:
    with pytest.raises(RequestError, match="no call 'call_9' waits"):
        paused_run().approve("call_9")


def test_a_paused_run_takes_no_new_prompt() -> None:
    agent, _ = agent_of(tools=[wipe, add])
    with pytest.raises(RequestError, match="resume it without a prompt"):
        agent.run_sync("And now?", run=paused_run())


@pytest.mark.parametrize(("decision", "read"), [(True, "a is empty"), ("no!", "this call was denied: no!")])
def test_a_hook_may_decide_on_the_spot(decision: bool | str, read: str) -> None:
    async def approve(context: RunContext[Any], call: PendingCall) -> bool | str:
        return decision

    agent, _ = agent_of(calls(("wipe", {"name": "a"})), "Done.", tools=[wipe], hooks=Hooks(approve=approve))
    assert contents(agent.run_sync("Go").run)[2] == ("tool", read)


def test_approval_may_depend_on_the_arguments() -> None:
    @tool(requires_approval=lambda context, arguments: arguments["amount"] > 10)
    def pay(amount: int) -> str:
        return "paid"

    agent, _ = agent_of(calls(("pay", {"amount": 5}), ("pay", {"amount": 50})), tools=[pay])
    result = agent.run_sync("Go")
    assert [call.arguments for call in result.pending] == [{"amount": 50}]


def test_hooks_change_arguments_and_results_and_may_refuse() -> None:
    def before(context: RunContext[Any], call: PendingCall) -> Mapping[str, Any] | None:
        if call.name == "shout":
            raise ToolError("not so loud")
        return {"a": 40, "b": 2}

    async def after(context: RunContext[Any], call: PendingCall, result: ToolResult) -> ToolResult:
        from dataclasses import replace

        return replace(result, content=f"[{result.content}]")

    agent, _ = agent_of(
        calls(("add", {"a": 1, "b": 1}), ("shout", {"text": "x"})),
        "Done.",
        hooks=Hooks(before_tool=before, after_tool=after),
    )
    run = agent.run_sync("Go").run
    assert [content for role, content in contents(run) if role == "tool"] == [
        "[42]",
        "[error: not so loud]",
    ]


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


def test_the_prefix_is_released_at_the_end_and_kept_over_a_pause() -> None:
    agent, model = agent_of(calls(("wipe", {"name": "a"})), "Done.", tools=[wipe])
    run = agent.run_sync("Go").run
    assert model.released == []
    run.approve()
    agent.run_sync(run=run)
    assert model.released == [run.id]


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


def test_a_paused_run_says_so_last() -> None:
    agent, _ = agent_of(calls(("wipe", {"name": "a"})), tools=[wipe])
    assert isinstance(asyncio.run(events_of(agent, "Go"))[-1], RunPaused)
