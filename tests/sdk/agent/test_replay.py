"""Run files, and what replaying them finds."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import httpx
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from pydantic import BaseModel, field_validator

from agentkit._agent import Agent
from agentkit._backends import Server
from agentkit._errors import (
    AgentkitError,
    ConnectionError,
    LimitReached,
    OutputInvalid,
    RequestError,
    ToolError,
    ToolFailed,
)
from agentkit._events import TextDelta
from agentkit._replay import Replay, areplay, replay
from agentkit._tool import tool
from agentkit._usage import Limits
from agentkit.testing import ScriptedModel, answer, broken, calls, cut, forbid_requests

CALLS = calls(("weather", {"city": "Oslo"}), ("weather", {"city": "Nowhere"}), thinking="Let me look.")


@tool
def weather(city: str) -> str:
    """What it is like there."""
    if city == "Nowhere":
        raise ToolError("there is no such city")
    return f"rain in {city}"


@tool(name="weather", requires_approval=True)
def approved_weather(city: str) -> str:
    """What it is like there, once a person has agreed."""
    return f"rain in {city}"


class Even(BaseModel):
    number: int

    @field_validator("number")
    @classmethod
    def is_even(cls, value: int) -> int:
        if value % 2:
            raise ValueError("it is odd")
        return value


def agent(*steps: Any, output_type: Any = None, **options: Any) -> Agent[Any]:
    return Agent("any", output_type, backend=ScriptedModel(steps), **{"tools": [weather], **options})


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "run.jsonl"


@pytest.fixture
def recorded(path: Path) -> Path:
    agent(CALLS, answer("Rain.", thinking="I see.")).run_sync("Weather?", record=path)
    return path


def lines(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text().splitlines()]


def changed(path: Path, change: Callable[[dict[str, Any]], None], kind: str, at: int = 0) -> Replay:
    """The replay of the file with its `at`th line of `kind` changed."""
    found = lines(path)
    change([line for line in found if line["kind"] == kind][at])
    path.write_text("".join(json.dumps(line) + "\n" for line in found))
    return replay(path)


def seen(replayed: Replay) -> tuple[int, str, Any, Any]:
    found = replayed.difference
    assert found is not None
    return found.turn, found.kind, found.expected, found.got


def test_a_recorded_run_is_built_again_without_a_model(recorded: Path) -> None:
    with forbid_requests():
        replayed = replay(recorded)
    assert (replayed.difference, replayed.complete, replayed.notes) == (None, True, ())
    assert replayed.run.status == "done"
    assert [m.content for m in replayed.run.messages] == [
        "Weather?",
        "",
        "rain in Oslo",
        "error: there is no such city",
        "Rain.",
    ]


def test_a_file_has_all_that_happened_in_its_order(recorded: Path) -> None:
    kinds = [line["kind"] for line in lines(recorded) if line["kind"] != "piece"]
    turn = ["request", "message"]
    assert kinds == ["header", *turn, "result", "result", "message", "message", *turn, "output", "end"]
    header = lines(recorded)[0]
    assert (header["format"], header["version"], header["model"]) == ("agentkit.run", 1, "any")
    assert [one["function"]["name"] for one in header["tools"]] == ["weather"]


def test_a_changed_tool_result_is_the_first_difference(recorded: Path) -> None:
    found = changed(recorded, lambda line: line.update(content="sun in Oslo"), "result")
    assert seen(found) == (1, "result", "rain in Oslo", "sun in Oslo")
    assert str(found.difference) == "turn 1, result: expected 'rain in Oslo', got 'sun in Oslo'"


@pytest.mark.parametrize(
    ("of", "fields", "difference"),
    [
        ("thought", {"text": "Let him l"}, (1, "thinking", "Let me look.", "Let him look.")),
        ("call", {"name": "climate"}, (1, "call", ["weather", "weather"], ["climate", "weather"])),
    ],
)
def test_a_changed_piece_is_the_first_difference(
    recorded: Path, of: str, fields: dict[str, str], difference: Any
) -> None:
    at = [line["piece"] for line in lines(recorded) if line["kind"] == "piece"].index(of)
    assert seen(changed(recorded, lambda line: line.update(fields), "piece", at)) == difference


def test_changed_text_and_arguments_are_found(recorded: Path) -> None:
    text = recorded.read_text()
    recorded.write_text(text.replace('"piece": "text", "text": "Rain."', '"piece": "text", "text": "Sun."'))
    assert seen(replay(recorded)) == (2, "text", "Rain.", "Sun.")
    recorded.write_text(text.replace(r'\"Oslo\"}"', r'\"Rome\"}"'))
    assert seen(replay(recorded)) == (1, "arguments", {"city": "Oslo"}, {"city": "Rome"})


def test_a_changed_request_names_what_differs(recorded: Path) -> None:
    def change(line: dict[str, Any]) -> None:
        line["fields"]["tool_choice"] = "none"

    found = changed(recorded, change, "request", 1)
    assert seen(found) == (2, "request", {"tool_choice": "none"}, {"tool_choice": "auto"})


def test_another_end_is_a_difference(recorded: Path) -> None:
    assert seen(changed(recorded, lambda line: line.update(output="Sun."), "end"))[1:] == (
        "end",
        "Sun.",
        "Rain.",
    )


def test_what_the_output_type_refused_is_refused_again_without_the_type(path: Path) -> None:
    asked = agent('{"number": 3}', '{"number": 4}', output_type=Even, tools=[])
    assert asked.run_sync("An even number.", record=path).output == Even(number=4)
    replayed = replay(path)
    assert replayed.difference is None
    assert [m.role for m in replayed.run.messages] == ["user", "assistant", "user", "assistant"]


@pytest.mark.parametrize(
    ("steps", "options", "error"),
    [
        ([CALLS, CALLS], {"limits": Limits(turns=2)}, LimitReached),
        (['{"number": 1}'] * 3, {"output_type": Even, "tools": []}, OutputInvalid),
        ([cut('{"number": 1}', after=1)], {"output_type": Even, "tools": []}, OutputInvalid),
        ([CALLS, broken("Rain.", after=1)], {}, ConnectionError),
        ([calls(("weather", '{"city": '), ("nothing", {})), "Hm."], {}, None),
    ],
)
def test_a_run_that_failed_is_built_again_as_far_as_it_went(
    path: Path, steps: list[Any], options: dict[str, Any], error: type[Exception] | None
) -> None:
    asked = agent(*steps, **options)
    if error is None:
        asked.run_sync("?", record=path)
    else:
        with pytest.raises(error):
            asked.run_sync("?", record=path)
    replayed = replay(path)
    assert (replayed.difference, replayed.complete) == (None, True)


def test_a_tool_that_ended_the_run_ends_the_replay_there(path: Path) -> None:
    @tool(raises=(ValueError,))
    def fail() -> str:
        """Fails."""
        raise ValueError("no")

    asked = agent(calls(("fail", {})), tools=[fail])
    with pytest.raises(ToolFailed):
        asked.run_sync("?", record=path)
    assert replay(path).difference is None
    assert replay(path, agent(calls(("fail", {})), tools=[fail]), with_tools=True).difference is None


def test_a_pause_and_what_comes_after_it_are_two_files(path: Path, tmp_path: Path) -> None:
    asked = agent(calls(("weather", {"city": "Oslo"})), "Rain.", tools=[approved_weather])
    paused = asked.run_sync("?", record=path)
    paused.run.approve_all()
    asked.run_sync(run=paused.run, record=tmp_path / "rest.jsonl")
    for file, status in ((path, "paused"), (tmp_path / "rest.jsonl", "done")):
        replayed = replay(file)
        assert (replayed.difference, replayed.run.status) == (None, status)


@pytest.mark.anyio
async def test_a_run_that_was_left_is_compared_as_far_as_it_went(path: Path) -> None:
    async with agent(CALLS, "It will rain all day.").run_stream("?", record=path) as stream:
        async for event in stream:
            if isinstance(event, TextDelta):
                break
    replayed = await areplay(path)
    assert (replayed.difference, replayed.complete) == (None, True)
    with pytest.raises(RequestError, match="use `await areplay"):
        replay(path)


@pytest.mark.anyio
async def test_a_stream_that_is_never_read_leaves_a_file_that_can_be_replayed(path: Path) -> None:
    async with agent().run_stream("?", record=path):
        assert [line["kind"] for line in lines(path)] == ["header"]
    assert (await areplay(path)).complete is False


# Against a model


def test_a_model_that_does_the_same_shows_no_difference(recorded: Path) -> None:
    # Its ids are others, and so are its pieces.
    same = calls(
        ("weather", ['{"city"', ': "Oslo"}']), ("weather", {"city": "Nowhere"}), thinking="Let me look."
    )
    model = ScriptedModel([same, answer("Rain.", thinking="I see.")])
    ran: list[str] = []

    @tool(name="weather", description=weather.description)
    def other(city: str) -> str:
        """What it is like there."""
        ran.append(city)
        return "sun"

    assert replay(recorded, Agent("any", tools=[other], backend=model)).difference is None
    assert ran == []
    model.assert_complete()


def test_with_tools_they_run_and_their_results_are_compared(recorded: Path) -> None:
    @tool(name="weather", description=weather.description)
    def other(city: str) -> str:
        """What it is like there."""
        return f"sun in {city}"

    asked = agent(CALLS, answer("Rain.", thinking="I see."), tools=[other])
    assert seen(replay(recorded, asked, with_tools=True)) == (1, "result", "rain in Oslo", "sun in Oslo")


@pytest.mark.parametrize(
    ("steps", "difference"),
    [
        ([calls(("weather", {"city": "Rome"}), text="Hm.")], (1, "thinking", "Let me look.", "")),
        ([answer("Rain.", thinking="Let me look.")], (1, "text", "", "Rain.")),
        ([CALLS, answer("Sun.", thinking="I see.")], (2, "text", "Rain.", "Sun.")),
        ([CALLS, calls(("weather", {"city": "Rome"}), thinking="I see.")], (2, "text", "Rain.", "")),
    ],
)
def test_a_model_that_does_something_else_is_found_out(
    recorded: Path, steps: list[Any], difference: Any
) -> None:
    assert seen(replay(recorded, agent(*steps))) == difference


def test_an_agent_with_other_settings_asks_something_else(recorded: Path) -> None:
    asked = agent(options={"temperature": 2})
    assert seen(replay(recorded, asked)) == (
        1,
        "request",
        {"options": {}},
        {"options": {"temperature": 2}},
    )


def test_a_server_is_asked_which_model_it_has(path: Path) -> None:
    digest = "sha256:1"

    def answers(request: httpx.Request) -> httpx.Response:
        match request.url.path:
            case "/api/show":
                return httpx.Response(200, json={"template": "{{ .Prompt }}"})
            case "/api/tags":
                return httpx.Response(200, json={"models": [{"name": "any:latest", "digest": digest}]})
            case "/api/version":
                return httpx.Response(200, json={"version": "1.2"})
            case "/v1/chat/completions":
                chunk = {"choices": [{"delta": {"content": "Hi."}, "finish_reason": "stop"}]}
                return httpx.Response(200, content=f"data: {json.dumps(chunk)}\n\n")
            case _:
                return httpx.Response(200, json={})

    asked = Agent("any", backend=Server(transport=httpx.MockTransport(answers)))
    asked.run_sync("Hello?", record=path)
    header = lines(path)[0]
    assert (header["model_digest"], header["server_version"]) == ("sha256:1", "1.2")
    assert len(header["template_sha256"]) == 64
    digest = "sha256:2"
    replayed = replay(path, asked)
    assert replayed.difference is None
    assert replayed.notes == (
        "model_digest is 'sha256:2', and was 'sha256:1'",
        "no seed and no temperature of 0 were set: the model may answer otherwise each time",
    )


# Files


def test_what_is_no_run_file_is_an_error(tmp_path: Path, recorded: Path) -> None:
    for content in ("", "x", "[]", '{"a": 1}\n'):
        (tmp_path / "other").write_text(content)
        with pytest.raises(AgentkitError, match="is no run file; make one with"):
            replay(tmp_path / "other")
    with pytest.raises(AgentkitError, match="there is no run file at"):
        replay(tmp_path / "none")
    with pytest.raises(AgentkitError, match="cannot be recorded in"):
        agent("x").run_sync("?", record=tmp_path / "none" / "run.jsonl")
    text = recorded.read_text()
    recorded.write_text(text.replace('"version": 1', '"version": 2', 1))
    with pytest.raises(AgentkitError, match="has version 2, and this agentkit reads 1"):
        replay(recorded)
    recorded.write_text(text.replace('{"kind": "result"', '{"kind": ', 1))
    with pytest.raises(AgentkitError, match=r"line \d+ of .* is no line of a run file"):
        replay(recorded)


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_a_file_that_is_cut_at_any_byte_is_replayed_as_far_as_it_goes(
    data: st.DataObject, recorded: Path
) -> None:
    whole = recorded.with_suffix(".whole")
    if not whole.exists():
        whole.write_bytes(recorded.read_bytes())
    content = whole.read_bytes()
    size = data.draw(st.integers(0, len(content)))
    recorded.write_bytes(content[:size])
    if b"\n" not in content[: size + 1]:
        with pytest.raises(AgentkitError, match="is no run file"):
            replay(recorded)
        return
    replayed = replay(recorded)
    assert replayed.difference is None
    last = content[:size].rpartition(b"\n")[2]
    whole_line = not last or content[size : size + 1] in (b"\n", b"")
    number = content[:size].count(b"\n") + 1
    assert replayed.notes == (() if whole_line else (f"line {number} is cut off",))
    assert replayed.complete == (size >= len(content) - 1)
