"""What a turn demands of its answer, on a scripted engine: tools, schemas, thinking, stops, retries."""

from __future__ import annotations

import itertools
import json
from collections.abc import AsyncIterator
from contextlib import aclosing
from pathlib import Path
from typing import Any

import anyio
import msgspec
import pytest
from support.thinking_template import THINKING_TOOLS
from support.tiny_gguf import write_tiny_gguf

from agentkit_server.engine.types import Delta, Finished, Generate
from agentkit_server.errors import (
    AgentkitError,
    BadRequest,
    ConstraintFailed,
    MissingCapability,
    SchemaRefused,
)
from agentkit_server.models.store import Store
from agentkit_server.residency.residency import Residence
from agentkit_server.runner.scripted import Scripted, ScriptedLauncher
from agentkit_server.settings import Settings
from agentkit_server.turn.events import (
    Event,
    Finish,
    Started,
    TextDelta,
    ThinkingDelta,
    ToolArgumentsDelta,
    ToolCallEnd,
    ToolCallStart,
)
from agentkit_server.turn.run import Backend, run_turn
from agentkit_server.turn.types import Chat, ResponseFormat, Text, Tool, ToolChoice, Turn

pytestmark = pytest.mark.anyio

WEATHER = Tool(
    name="weather",
    parameters={"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]},
)
CLOCK = Tool(name="clock", parameters={"type": "object", "properties": {}})
NUMBER = ResponseFormat(
    kind="json_schema",
    value={
        "type": "object",
        "properties": {"n": {"type": "integer"}},
        "required": ["n"],
        "additionalProperties": False,
    },
)
# `not` over a nested object is beyond the grammar: the answer is checked.
ANY_ITEMS = ResponseFormat(kind="json_schema", value={"type": "array", "items": {"type": "integer"}})
UNLIKE = ResponseFormat(
    kind="json_schema",
    value={
        "type": "array",
        "items": {"type": "integer"},
        "uniqueItems": True,
        "minItems": 2,
    },
)
CALL = '<tool_call>\n{"name": "weather", "arguments": {"city": "Oslo"}}\n</tool_call>'


@pytest.fixture
async def backend(tmp_path: Path, launcher: ScriptedLauncher) -> AsyncIterator[Backend]:
    settings = Settings(models=tmp_path / "models")
    store = Store(tmp_path / "models")
    store.link_file("thinker", write_tiny_gguf(tmp_path / "thinker.gguf", chat_template=THINKING_TOOLS))
    store.link_file("tiny", write_tiny_gguf(tmp_path / "tiny.gguf"))
    residency = Residence(launcher, settings)
    yield Backend(store, residency, settings)
    await residency.close()


def ask(model: str = "thinker", **fields: Any) -> Turn:
    return Turn(model=model, prompt=Chat(({"role": "user", "content": "hi"},)), **fields)


async def run(backend: Backend, turn: Turn) -> list[Event]:
    with anyio.fail_after(20):
        async with aclosing(run_turn(backend, turn)) as events:
            return [event async for event in events]


def text(events: list[Event]) -> str:
    return "".join(event.text for event in events if isinstance(event, TextDelta))


def thoughts(events: list[Event]) -> str:
    return "".join(event.text for event in events if isinstance(event, ThinkingDelta))


def calls(events: list[Event]) -> list[tuple[str, Any]]:
    return [(event.name, json.loads(event.arguments)) for event in events if isinstance(event, ToolCallEnd)]


def finish(events: list[Event]) -> Finish:
    assert isinstance(events[-1], Finish)
    return events[-1]


async def test_thinking_and_text_are_told_apart(backend: Backend, launcher: ScriptedLauncher) -> None:
    launcher.script = "<think>\nHm, hi.\n</think>\n\nHello!"
    events = await run(backend, ask())
    assert thoughts(events).strip() == "Hm, hi."
    assert text(events) == "Hello!"
    assert finish(events).thinking_tokens > len("Hm, hi.")


async def test_a_call_is_told_as_it_grows_and_once_it_is_complete(
    backend: Backend, launcher: ScriptedLauncher
) -> None:
    launcher.script = f"Let me look.\n{CALL}"
    events = await run(backend, ask(tools=(WEATHER, CLOCK)))
    started, *_ = events
    assert isinstance(started, Started) and started.constraint == "exact"
    assert text(events).strip() == "Let me look."
    [begin] = [event for event in events if isinstance(event, ToolCallStart)]
    grown = [event.text for event in events if isinstance(event, ToolArgumentsDelta)]
    [end] = [event for event in events if isinstance(event, ToolCallEnd)]
    assert (begin.name, begin.id, begin.call) == ("weather", end.id, 0)
    assert "".join(grown) == end.arguments and len(grown) > 5
    assert json.loads(end.arguments) == {"city": "Oslo"}
    assert finish(events).tool_calls == 1 and finish(events).reason == "stop"


async def test_calls_of_one_turn_have_ids_of_their_own(backend: Backend, launcher: ScriptedLauncher) -> None:
    launcher.script = f"{CALL}\n{CALL}"
    events = await run(backend, ask(tools=(WEATHER,)))
    starts = [event for event in events if isinstance(event, ToolCallStart)]
    assert [event.call for event in starts] == [0, 1]
    assert len({event.id for event in starts}) == 2


SCRIPTS_THAT_LEAVE_THE_GRAMMAR = {
    "none": (ToolChoice(mode="none"), CALL),
    "required": (ToolChoice(mode="required"), "I would rather talk."),
    "named": (ToolChoice(mode="required", names=("clock",)), CALL),
    "one": (ToolChoice(parallel=False), f"{CALL}\n{CALL}"),
    "unknown": (ToolChoice(), CALL.replace("weather", "storm")),
    "arguments": (ToolChoice(), CALL.replace('"Oslo"', "7")),
}


@pytest.mark.parametrize(
    ("choice", "script"), SCRIPTS_THAT_LEAVE_THE_GRAMMAR.values(), ids=SCRIPTS_THAT_LEAVE_THE_GRAMMAR
)
async def test_what_the_choice_forbids_cannot_be_written(
    backend: Backend, launcher: ScriptedLauncher, choice: ToolChoice, script: str
) -> None:
    launcher.script = script
    with pytest.raises(AgentkitError, match="grammar"):
        await run(backend, ask(tools=(WEATHER, CLOCK), tool_choice=choice))


async def test_tools_stay_in_the_prompt_when_none_may_be_called(
    backend: Backend, launcher: ScriptedLauncher
) -> None:
    launcher.script = "Hello!"
    await run(backend, ask(tools=(WEATHER,)))
    await run(backend, ask(tools=(WEATHER,), tool_choice=ToolChoice(mode="none")))
    free, forbidden = launcher.requests
    assert free.prompt == forbidden.prompt


async def test_a_schema_binds_the_answer_and_not_the_thoughts(
    backend: Backend, launcher: ScriptedLauncher
) -> None:
    launcher.script = '<think>\nAny text {"n": "x"}\n</think>\n\n{"n": 3}'
    events = await run(backend, ask(response_format=NUMBER))
    assert json.loads(text(events)) == {"n": 3}
    assert len(launcher.requests) == 1


async def test_tools_and_a_schema_go_together(backend: Backend, launcher: ScriptedLauncher) -> None:
    answers = iter((CALL, '{"n": 3}'))
    launcher.script = lambda _: next(answers)
    turn = ask(tools=(WEATHER,), response_format=NUMBER)
    assert calls(await run(backend, turn)) == [("weather", {"city": "Oslo"})]
    assert json.loads(text(await run(backend, turn))) == {"n": 3}


async def test_an_answer_that_is_checked_is_tried_again_and_told_once_it_is_valid(
    backend: Backend, launcher: ScriptedLauncher
) -> None:
    answers = iter(("[1, 1]", "[1, 2]"))
    launcher.script = lambda _: next(answers)
    events = await run(backend, ask(response_format=UNLIKE))
    started, *_ = events
    assert isinstance(started, Started) and started.constraint == "checked"
    assert any("uniqueItems" in note for note in started.notes)
    assert json.loads(text(events)) == [1, 2]
    first, second = launcher.requests
    assert first.sampling.temperature <= second.sampling.temperature


async def test_the_engine_is_told_what_may_not_be_repeated_and_where_it_begins(
    backend: Backend, launcher: ScriptedLauncher
) -> None:
    launcher.script = "[1, 2]"
    await run(backend, ask(response_format=UNLIKE))
    await run(backend, ask(response_format=UNLIKE, think=False))
    await run(backend, ask(response_format=ANY_ITEMS))
    free, quiet, exact = launcher.requests
    assert free.distinct is not None and free.distinct.lead.opening == b"<think>"
    assert quiet.distinct is not None and not quiet.distinct.lead.opening
    assert exact.distinct is None
    assert msgspec.msgpack.decode(msgspec.msgpack.encode(free), type=Generate) == free


async def test_the_engine_is_told_what_the_arguments_of_calls_may_not_repeat(
    backend: Backend, launcher: ScriptedLauncher
) -> None:
    call = '<tool_call>\n{"name": "label", "arguments": {"tags": ["a"]}}\n</tool_call>'
    answers = iter((call, call, "Hello!"))
    launcher.script = lambda _: next(answers)
    tags = {"type": "array", "items": {"type": "string"}, "uniqueItems": True}
    label = Tool(name="label", parameters={"type": "object", "properties": {"tags": tags}})
    await run(backend, ask(tools=(WEATHER, label), tool_choice=ToolChoice(mode="required")))
    await run(backend, ask(tools=(WEATHER, label)))
    await run(backend, ask(tools=(WEATHER, label), tool_choice=ToolChoice(mode="none")))
    required, auto, none = (request.distinct for request in launcher.requests)
    assert none is None
    assert required is not None and auto is not None
    assert [call.place for call in required.lead.calls] == [-1, 1]
    assert not required.lead.triggers and auto.lead.triggers
    assert required.places[1].names and required.places[required.places[1].names["tags"]].unique
    first = launcher.requests[0]
    assert msgspec.msgpack.decode(msgspec.msgpack.encode(first), type=Generate) == first


async def test_an_answer_that_could_only_repeat_itself_is_tried_again(
    backend: Backend, launcher: ScriptedLauncher, monkeypatch: pytest.MonkeyPatch
) -> None:
    launcher.script = "[1, 2]"
    replay, ends = Scripted.generate, ["stuck"]

    async def generate(self: Scripted, request: Generate) -> AsyncIterator[Delta | Finished]:
        async for reply in replay(self, request):
            if isinstance(reply, Finished) and ends:
                reply = msgspec.structs.replace(
                    reply, reason="error", error=ends.pop(), code="constraint_failed"
                )
            yield reply

    monkeypatch.setattr(Scripted, "generate", generate)
    assert json.loads(text(await run(backend, ask(response_format=UNLIKE)))) == [1, 2]
    assert len(launcher.requests) == 2


async def test_an_answer_that_never_becomes_valid_is_an_error(
    backend: Backend, launcher: ScriptedLauncher
) -> None:
    launcher.script = "[1, 1]"
    with pytest.raises(ConstraintFailed, match="3 attempts"):
        async with aclosing(run_turn(backend, ask(response_format=UNLIKE))) as stream:
            async for event in stream:
                assert isinstance(event, Started)
    assert len(launcher.requests) == 3


async def test_thoughts_are_closed_at_their_budget_and_the_answer_follows(
    backend: Backend, launcher: ScriptedLauncher
) -> None:
    script = itertools.chain(["<think>\n" + "Hm. " * 100 + "</think>\n\nnever"], itertools.repeat("Hello!"))
    launcher.script = lambda _: next(script)
    events = await run(backend, ask(thinking_budget=40))
    assert text(events) == "Hello!"
    assert 40 <= finish(events).thinking_tokens <= 48
    first, second = launcher.requests
    assert second.prompt[: len(first.prompt)] == first.prompt
    assert launcher.model.decode(second.prompt).rstrip().endswith("</think>")
    usage = finish(events).usage
    assert usage.prompt_tokens == len(first.prompt)
    assert usage.completion_tokens == len(second.prompt) - len(first.prompt) + len("Hello!")


async def test_thinking_can_be_switched_off(backend: Backend, launcher: ScriptedLauncher) -> None:
    launcher.script = "Hello!"
    events = await run(backend, ask(think=False))
    assert thoughts(events) == "" and text(events) == "Hello!"
    assert "</think>" in launcher.model.decode(launcher.requests[0].prompt)


async def test_a_model_that_cannot_think_says_so(backend: Backend) -> None:
    with pytest.raises(MissingCapability, match='"tiny" does not support thinking'):
        await run(backend, ask("tiny", think=True))


async def test_a_model_without_tool_support_is_told_how_to_call(
    backend: Backend, launcher: ScriptedLauncher
) -> None:
    launcher.script = CALL
    events = await run(backend, ask("tiny", tools=(WEATHER,), tool_choice=ToolChoice(mode="required")))
    assert calls(events) == [("weather", {"city": "Oslo"})]
    assert '"weather"' in launcher.model.decode(launcher.requests[0].prompt)


async def test_stop_strings_end_the_text_and_mean_nothing_in_thoughts(
    backend: Backend, launcher: ScriptedLauncher
) -> None:
    launcher.script = "<think>\none END two\n</think>\n\nHello END there"
    events = await run(backend, ask(options={"stop": ["END"]}))
    assert "END" in thoughts(events)
    assert text(events) == "Hello "
    assert finish(events).stop_string == "END" and finish(events).reason == "stop"


def one_logprob_each(events: list[Event]) -> str:
    told = [one for event in events if isinstance(event, TextDelta) for one in event.logprobs]
    return "".join(one.token for one in told)


def in_pieces(words: str, size: int) -> list[str]:
    return [words[at : at + size] for at in range(0, len(words), size)]


@pytest.mark.parametrize("size", [1, 3, 7, 100])
async def test_tokens_that_come_together_are_counted_each_where_it_belongs(
    backend: Backend, launcher: ScriptedLauncher, size: int
) -> None:
    launcher.script = in_pieces("<think>\nHm.\n</think>\n\nHello, you!", size)
    events = await run(backend, ask(logprobs=0))
    assert text(events) == one_logprob_each(events) == "Hello, you!"
    assert finish(events).thinking_tokens == len(">\nHm.\n</think>")
    # In one piece what can be told in one.
    told = [event for event in events if isinstance(event, TextDelta | ThinkingDelta)]
    assert len(told) <= len(launcher.script) + 1


async def test_thoughts_that_are_empty_leave_no_logprobs(
    backend: Backend, launcher: ScriptedLauncher
) -> None:
    launcher.script = "<think>\n\n</think>\n\nHello!"
    assert one_logprob_each(await run(backend, ask(logprobs=0))) == "Hello!"


@pytest.mark.parametrize("size", [1, 3, 7, 100])
async def test_nothing_behind_a_stop_string_is_told_or_counted(
    backend: Backend, launcher: ScriptedLauncher, size: int
) -> None:
    launcher.script = in_pieces("<think>\nHm.\n</think>\n\nHello END there and more", size)
    events = await run(backend, ask(options={"stop": ["END"]}, logprobs=0, verb="generate"))
    assert text(events) == one_logprob_each(events) == "Hello "
    tokens = [token for event in events if isinstance(event, TextDelta) for token in event.tokens]
    assert bytes(tokens) == b"<think>\nHm.\n</think>\n\nHello END"
    assert finish(events).usage.completion_tokens == len(tokens)


@pytest.mark.parametrize("size", [3, 16, 1000])
async def test_a_budget_is_kept_where_tokens_come_together(
    backend: Backend, launcher: ScriptedLauncher, size: int
) -> None:
    thoughts = in_pieces("<think>\n" + "Hm. " * 100 + "</think>\n\nnever", size)
    script = itertools.chain([thoughts], itertools.repeat(["Hello!"]))
    launcher.script = lambda _: next(script)
    events = await run(backend, ask(thinking_budget=40))
    assert text(events) == "Hello!"
    first, second = launcher.requests
    kept = launcher.model.decode(second.prompt[len(first.prompt) :])
    assert kept.startswith("<think>\n" + "Hm. " * 9)
    assert kept.count("Hm.") == 9


async def test_stop_strings_do_not_cut_a_bound_answer(backend: Backend, launcher: ScriptedLauncher) -> None:
    launcher.script = '{"n": 3}'
    assert json.loads(text(await run(backend, ask(response_format=NUMBER, options={"stop": ["3"]})))) == {
        "n": 3
    }


async def test_only_a_token_limit_leaves_an_answer_unfinished(
    backend: Backend, launcher: ScriptedLauncher
) -> None:
    launcher.script = '{"n": 3}'
    events = await run(backend, ask(response_format=NUMBER, options={"num_predict": 4}))
    assert finish(events).reason == "length" and text(events) == '{"n"'


async def test_text_that_looks_like_a_marker_is_not_lost(
    backend: Backend, launcher: ScriptedLauncher
) -> None:
    launcher.script = "a <tool_ca"
    assert text(await run(backend, ask(tools=(WEATHER,)))) == "a <tool_ca"


async def test_a_raw_prompt_can_be_bound_too(backend: Backend, launcher: ScriptedLauncher) -> None:
    launcher.script = '{"n": 3}'
    turn = Turn(model="thinker", prompt=Text("n is "), response_format=NUMBER, verb="generate")
    assert json.loads(text(await run(backend, turn))) == {"n": 3}


BAD = {
    "two of a name": ({"tools": (CLOCK, CLOCK)}, BadRequest, "clock"),
    "unknown name": ({"tools": (CLOCK,), "tool_choice": ToolChoice(names=("x",))}, BadRequest, "'x'"),
    "nothing to call": ({"tool_choice": ToolChoice(mode="required")}, BadRequest, "no tools"),
    "no schema": (
        {"response_format": ResponseFormat(kind="json_schema", value={"type": 5})},
        BadRequest,
        "type",
    ),
    "unsatisfiable": (
        {"response_format": ResponseFormat(kind="json_schema", value={"type": "string", "enum": [1]})},
        SchemaRefused,
        "satisf",
    ),
    "remote": (
        {"tools": (Tool(name="x", parameters={"properties": {"a": {"$ref": "http://example.com/a"}}}),)},
        SchemaRefused,
        "ref",
    ),
    "no regex": ({"response_format": ResponseFormat(kind="regex", value="(")}, BadRequest, "regex"),
}


@pytest.mark.parametrize(("fields", "kind", "words"), BAD.values(), ids=BAD)
async def test_what_cannot_be_enforced_is_refused_before_a_model_is_loaded(
    backend: Backend, launcher: ScriptedLauncher, fields: dict[str, Any], kind: type[Exception], words: str
) -> None:
    with pytest.raises(kind, match=words):
        await run(backend, ask(**fields))
    assert launcher.launches == []
