"""Turns on a scripted engine: events, prompts, cuts, cancellation."""

from __future__ import annotations

from contextlib import aclosing
from dataclasses import replace
from typing import Any

import anyio
import pytest

from agentkit_server.errors import BadRequest, LoadFailed, PromptTooLong, RunnerDied
from agentkit_server.models.model import Adapter, Model
from agentkit_server.models.store import Store
from agentkit_server.residency.types import LoadOptions
from agentkit_server.runner.scripted import ScriptedLauncher, ScriptedModel
from agentkit_server.turn.events import Event, Finish, Started, TextDelta
from agentkit_server.turn.run import Backend, load, run_turn, unload
from agentkit_server.turn.types import Chat, Text, Tokens, Turn

pytestmark = pytest.mark.anyio


def user(content: str) -> dict[str, Any]:
    return {"role": "user", "content": content}


def answered(content: str) -> dict[str, Any]:
    return {"role": "assistant", "content": content}


def chat(*messages: dict[str, Any], **fields: Any) -> Turn:
    return Turn(model="tiny", prompt=Chat(messages or (user("hi"),)), **fields)


async def run(backend: Backend, turn: Turn) -> list[Event]:
    with anyio.fail_after(10):
        async with aclosing(run_turn(backend, turn)) as events:
            return [event async for event in events]


def prompt(launcher: ScriptedLauncher) -> str:
    return launcher.model.decode(launcher.requests[-1].prompt)


def chatml(*messages: dict[str, Any]) -> str:
    written = "".join(f"<|im_start|>{m['role']}\n{m['content']}<|im_end|>\n" for m in messages)
    return written + "<|im_start|>assistant\n"


async def test_a_turn_starts_then_tells_then_finishes(backend: Backend) -> None:
    first, *middle, last = await run(backend, chat())
    assert isinstance(first, Started) and isinstance(last, Finish)
    assert first.prompt_tokens == len(first.prompt) == last.usage.prompt_tokens
    assert "".join(event.text for event in middle if isinstance(event, TextDelta)) == "Hello!"
    assert last.reason == "stop"


async def test_each_of_n_completions_finishes_on_its_own(backend: Backend) -> None:
    events = await run(backend, chat(n=3))
    assert sorted(event.index for event in events if isinstance(event, Finish)) == [0, 1, 2]
    assert sum(isinstance(event, Started) for event in events) == 1


async def test_the_second_request_of_a_conversation_reads_only_what_is_new(backend: Backend) -> None:
    *_, first = await run(backend, chat(user("hi")))
    *_, second = await run(backend, chat(user("hi"), answered("Hello!"), user("more")))
    assert isinstance(first, Finish) and isinstance(second, Finish)
    assert second.usage.cached_tokens == first.usage.prompt_tokens + first.usage.completion_tokens


async def test_bos_is_written_once_whoever_writes_it(backend: Backend, launcher: ScriptedLauncher) -> None:
    launcher.model = ScriptedModel(bos="<|endoftext|>", add_bos=True)
    await run(backend, Turn(model="tiny", prompt=Text("x")))
    assert prompt(launcher) == "<|endoftext|>x"
    await run(backend, Turn(model="tiny", prompt=Text("<|endoftext|>x")))
    assert prompt(launcher) == "<|endoftext|>x"
    writes_bos = Chat((user("x"),), template="{{ bos_token }}{{ messages[0].content }}")
    await run(backend, Turn(model="tiny", prompt=writes_bos))
    assert prompt(launcher) == "<|endoftext|>x"
    await run(backend, Turn(model="tiny", prompt=Tokens((65,), then=writes_bos)))
    assert prompt(launcher) == "Ax"


async def test_a_last_assistant_message_is_continued(backend: Backend, launcher: ScriptedLauncher) -> None:
    await run(backend, Turn(model="tiny", prompt=Chat((user("hi"), answered("So ")), continue_last=True)))
    assert prompt(launcher) == chatml(user("hi")) + "So "


async def test_a_prompt_must_leave_a_cell_to_generate_into(backend: Backend) -> None:
    options = LoadOptions(num_ctx=64)
    events = await run(backend, Turn(model="tiny", prompt=Text("x" * 63), load=options))
    assert isinstance(events[-1], Finish) and events[-1].reason == "length"
    with pytest.raises(PromptTooLong) as refusal:
        await run(backend, Turn(model="tiny", prompt=Text("x" * 64), load=options))
    assert (refusal.value.prompt_tokens, refusal.value.context_length) == (64, 64)


async def test_a_chat_that_is_cut_loses_its_oldest_turns_and_keeps_the_system_message(
    backend: Backend, launcher: ScriptedLauncher
) -> None:
    system = {"role": "system", "content": "S"}
    talk = [message for i in range(20) for message in (user(f"question {i}"), answered(f"answer {i}"))]
    turn = chat(system, *talk, user("last"), load=LoadOptions(num_ctx=256), truncate=True)
    started, *_ = await run(backend, turn)
    assert isinstance(started, Started)
    kept = (41 + 1) - started.truncated_messages - 2
    assert prompt(launcher) == chatml(system, *talk[-kept:], user("last"))
    assert kept % 2 == 0 and kept > 0
    whole = launcher.model.encode(chatml(system, *talk, user("last")))
    assert started.truncated_tokens == len(whole) - started.prompt_tokens
    assert started.prompt_tokens <= 192


async def test_a_cut_chat_is_rendered_a_few_times_only(
    backend: Backend, launcher: ScriptedLauncher, monkeypatch: pytest.MonkeyPatch
) -> None:
    talk = [message for i in range(400) for message in (user(f"question {i}"), answered(f"answer {i}"))]
    await load(backend, "tiny", LoadOptions(num_ctx=256))
    tokenize, lengths = launcher.runners[0].tokenize, list[int]()

    async def counted(text: str, **flags: bool) -> list[int]:
        lengths.append(len(text))
        return await tokenize(text, **flags)

    monkeypatch.setattr(launcher.runners[0], "tokenize", counted)
    await run(backend, chat(*talk, user("last"), load=LoadOptions(num_ctx=256), truncate=True))
    assert len(lengths) <= 11


async def test_a_newest_turn_that_does_not_fit_cannot_be_cut(backend: Backend) -> None:
    turn = chat(user("old"), answered("a"), user("x" * 300), load=LoadOptions(num_ctx=128), truncate=True)
    with pytest.raises(PromptTooLong, match="cannot be truncated further"):
        await run(backend, turn)


async def test_a_text_that_is_cut_keeps_its_head_and_its_end(
    backend: Backend, launcher: ScriptedLauncher
) -> None:
    text = "HEAD" + "x" * 300 + "END"
    turn = Turn(model="tiny", prompt=Text(text), load=LoadOptions(num_ctx=100), truncate=True)
    started, *_ = await run(backend, turn)
    assert prompt(launcher) == "HEAD" + "x" * (75 - 7) + "END"
    assert isinstance(started, Started) and started.truncated_tokens == len(text) - 75


async def test_leaving_the_events_early_cancels_the_request(
    backend: Backend, launcher: ScriptedLauncher
) -> None:
    async with aclosing(run_turn(backend, chat())) as events:
        async for event in events:
            if isinstance(event, TextDelta):
                break
    assert len(launcher.runners[0].cancelled) == 1


async def test_a_runner_that_dies_raises_out_of_the_events(
    backend: Backend, launcher: ScriptedLauncher
) -> None:
    launcher.die_after = 2
    seen: list[Event] = []
    with pytest.raises(RunnerDied):
        async for event in run_turn(backend, chat()):
            seen.append(event)  # noqa: PERF401 - what came before the error counts
    assert len(seen) == 3


async def test_an_empty_prompt_and_foreign_token_ids_are_refused(backend: Backend) -> None:
    with pytest.raises(BadRequest, match="no tokens"):
        await run(backend, Turn(model="tiny", prompt=Text("")))
    with pytest.raises(BadRequest, match="token id 100000 is outside the vocabulary"):
        await run(backend, Turn(model="tiny", prompt=Tokens((100000,))))


async def test_loading_and_unloading_are_counted_once(backend: Backend, launcher: ScriptedLauncher) -> None:
    await load(backend, "tiny", LoadOptions())
    await load(backend, "tiny", LoadOptions())
    assert len(launcher.launches) == 1
    assert await unload(backend, "tiny") is True
    assert await unload(backend, "tiny") is False


class Changed(Store):
    """A store whose models differ from their files in `changes`."""

    changes: dict[str, Any]

    def resolve(self, name: Any) -> Model:
        return replace(super().resolve(name), **self.changes)


def changed(backend: Backend, **changes: Any) -> Backend:
    store = Changed(backend.store.root)
    store.changes = changes
    return replace(backend, store=store)


async def test_the_models_own_messages_lead_unless_the_caller_brings_a_system_message(
    backend: Backend, launcher: ScriptedLauncher
) -> None:
    example = (user("q"), answered("a"))
    backend = changed(backend, system="Be kind.", messages=example)
    await run(backend, chat(user("hi")))
    system = {"role": "system", "content": "Be kind."}
    assert prompt(launcher) == chatml(system, *example, user("hi"))
    own = {"role": "system", "content": "Be brief."}
    await run(backend, chat(own, user("hi")))
    assert prompt(launcher) == chatml(own, user("hi"))


async def test_the_models_parameters_hold_where_the_caller_says_nothing(
    backend: Backend, launcher: ScriptedLauncher
) -> None:
    backend = changed(backend, parameters={"num_ctx": 128, "temperature": 0.1, "stop": ["!"]})
    await run(backend, chat(options={"temperature": 0.2}))
    request = launcher.requests[-1]
    assert (request.sampling.temperature, request.stop) == (0.2, ["!"])
    assert launcher.launches[-1].n_ctx == 128


async def test_an_adapter_that_is_none_is_refused_and_a_bare_go_template_is_run(backend: Backend) -> None:
    model = backend.store.resolve("tiny")
    bare = replace(model.gguf, chat_template=None)
    with pytest.raises(LoadFailed, match="it is no adapter"):
        await run(changed(backend, adapters=(Adapter(model.path),)), chat())
    assert await run(changed(backend, gguf=bare, go_template="{{ .Prompt }}"), chat())
