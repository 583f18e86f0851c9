"""Approvals, pauses, and hooks around tools."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from typing import Any

import pytest
from support.agents import add, agent_of, contents, events_of, wipe

from agentkit import (
    Hooks,
    PendingCall,
    RequestError,
    Run,
    RunContext,
    RunPaused,
    ToolError,
    ToolResult,
    ToolStarted,
    tool,
)
from agentkit.testing import calls


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


def test_the_prefix_is_released_at_the_end_and_kept_over_a_pause() -> None:
    agent, model = agent_of(calls(("wipe", {"name": "a"})), "Done.", tools=[wipe])
    run = agent.run_sync("Go").run
    assert model.released == []
    run.approve_all()
    agent.run_sync(run=run)
    assert model.released == [run.id]


def test_a_paused_run_says_so_last() -> None:
    agent, _ = agent_of(calls(("wipe", {"name": "a"})), tools=[wipe])
    assert isinstance(asyncio.run(events_of(agent, "Go"))[-1], RunPaused)


def test_a_run_that_is_left_before_its_tools_begin_runs_them_when_it_is_resumed() -> None:
    async def leave(run: Run) -> None:
        agent, _ = agent_of(calls(("add", {"a": 1, "b": 1}), ("add", {"a": 2, "b": 2})))
        async with agent.run_stream("Go", run=run) as stream:
            async for event in stream:
                if isinstance(event, ToolStarted):
                    break

    run = Run(model="any")
    asyncio.run(leave(run))
    agent, _ = agent_of("Done.")
    done = agent.run_sync(run=run)
    assert [content for role, content in contents(done.run) if role == "tool"] == ["2", "4"]


def test_an_approval_that_depends_on_arguments_sees_only_valid_ones() -> None:
    @tool(requires_approval=lambda context, arguments: arguments["amount"] > 10)
    def pay(amount: int) -> str:
        return "paid"

    agent, _ = agent_of(calls(("pay", {}), ("pay", {"amount": "50"})), tools=[pay])
    result = agent.run_sync("Go")
    assert [call.arguments for call in result.pending] == [{"amount": "50"}]
    assert "amount: is required" in next(iter(result.run.results.values())).content


def test_a_hook_may_take_all_arguments_away() -> None:
    agent, _ = agent_of(
        calls(("add", {"a": 1, "b": 1})), "Done.", hooks=Hooks(before_tool=lambda context, call: {})
    )
    assert "is required" in (contents(agent.run_sync("Go").run)[2][1] or "")


def test_nothing_is_approved_by_an_empty_choice() -> None:
    run = paused_run()
    run.approve()
    assert len(run.pending) == 2
