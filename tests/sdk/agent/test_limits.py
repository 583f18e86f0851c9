"""What a run may use, and what it does when that is used up."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from support.agents import add, agent_of, events_of, wipe

from agentkit import (
    Hooks,
    LimitReached,
    Limits,
    OutputInvalid,
    RunEnded,
    ToolResult,
    tool,
)
from agentkit.testing import calls, cut


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


def test_a_tool_that_fails_too_often_in_a_row_is_closed() -> None:
    @tool(retries=1)
    def flaky() -> None:
        raise ValueError("no")

    agent, model = agent_of(calls(("flaky", {})), calls(("flaky", {})), "I give up.", tools=[flaky, add])
    assert agent.run_sync("Go").output == "I give up."
    assert [request.allowed for request in model.requests] == [None, None, ["add"]]


def test_text_that_is_cut_off_says_so_and_json_that_is_is_an_error() -> None:
    agent, _ = agent_of(cut("A long story", after=1), tools=[])
    result = agent.run_sync("Tell")
    assert (result.output, result.reason) == ("A long s", "length")
    agent, _ = agent_of(cut("[1, 2, 3, 4]", after=1), output=list[int], tools=[])
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


@pytest.mark.parametrize(
    ("flow", "first", "outcomes"),
    [
        ("single", calls(("add", {"a": 1, "b": 1}), ("add", {"a": 2, "b": 2})), ["returned", "not_run"]),
        ("parallel", calls(("add", {"a": 1, "b": 1})), ["returned", "not_run"]),
    ],
)
def test_calls_that_were_not_to_be_made_are_not_run(flow: Any, first: Any, outcomes: list[str]) -> None:
    """A server that does not hold the model to the request may send them."""
    disobeys = [] if flow == "single" else [calls(("add", {"a": 3, "b": 3}))]
    agent, model = agent_of(first, *disobeys, "Done.", flow=flow)
    events = asyncio.run(events_of(agent, "Go"))
    results = [event for event in events if isinstance(event, ToolResult)]
    assert [result.outcome for result in results] == outcomes
    assert isinstance(events[-1], RunEnded)
    model.assert_complete()


def test_a_model_that_does_not_wrap_up_ends_with_the_limit() -> None:
    agent, model = agent_of(*[calls(("add", {"a": 1, "b": 1}))] * 9, limits=Limits(turns=2, wrap_up=True))
    with pytest.raises(LimitReached, match="does not wrap up"):
        agent.run_sync("Go")
    assert len(model.requests) == 3


def test_a_closed_tool_is_not_run_whatever_the_server_lets_through() -> None:
    ran: list[int] = []

    @tool(retries=1)
    def flaky() -> None:
        ran.append(1)
        raise ValueError("no")

    agent, _ = agent_of(*[calls(("flaky", {}))] * 4, "I give up.", tools=[flaky, add])
    assert agent.run_sync("Go").output == "I give up."
    assert len(ran) == 2


def test_the_seconds_of_a_run_bound_its_tools_too() -> None:
    async def hang() -> None:
        await asyncio.Event().wait()

    agent, _ = agent_of(calls(("hang", {})), tools=[hang], limits=Limits(seconds=0.1))
    with pytest.raises(LimitReached) as caught:
        agent.run_sync("Go")
    assert caught.value.limit == "seconds"
    assert "the run's time is used up" in (caught.value.run.messages[-1].content or "")


def test_an_old_answer_is_no_answer_to_a_turn_that_ran_out_of_time() -> None:
    agent, model = agent_of("First.")
    run = agent.run_sync("Go").run
    late, model = agent_of(
        cut("Sec", after=0, reason="deadline"), "Wrapped.", limits=Limits(seconds=60, wrap_up=True)
    )
    assert late.run_sync(run=run).output == "Wrapped."
    assert len(model.requests) == 2


def test_denied_calls_do_not_count_as_run() -> None:
    agent, _ = agent_of(
        calls(("wipe", {"name": "a"}), ("add", {"a": 1, "b": 1})),
        "Done.",
        tools=[wipe, add],
        hooks=Hooks(approve=lambda context, call: False),
        limits=Limits(tool_calls=1, wrap_up=True),
    )
    events = asyncio.run(events_of(agent, "Go"))
    assert [e.outcome for e in events if isinstance(e, ToolResult)] == ["denied", "returned"]
