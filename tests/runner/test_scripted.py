"""The scripted runner behaves as a real one does, so that what is tested on it holds."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

import anyio
import pytest
from anyio import wait_all_tasks_blocked

from agentkit_server.engine.types import Delta, Finished, Generate, LoadSpec, Sampling
from agentkit_server.errors import (
    BadRequest,
    InsufficientMemory,
    InvalidGrammar,
    LoadFailed,
    PromptTooLong,
    RunnerDied,
)
from agentkit_server.runner.protocol import Launcher, Runner
from agentkit_server.runner.scripted import (
    Script,
    Scripted,
    ScriptedLauncher,
    ScriptedModel,
    ScriptLeftGrammar,
)

pytestmark = pytest.mark.anyio

SPEC = LoadSpec(path="model.gguf", n_ctx=100, n_cells=400)


def scripted(script: Script = "hello", model: ScriptedModel | None = None) -> Scripted:
    return Scripted(script, SPEC, model)


def ask(text: str = "hi", **fields: object) -> Generate:
    return Generate(id=0, prompt=list(text.encode()), **fields)  # pyright: ignore[reportArgumentType]


async def collect(stream: AsyncIterator[Delta | Finished]) -> tuple[list[Delta], list[Finished]]:
    deltas: list[Delta] = []
    ends: list[Finished] = []
    with anyio.fail_after(10):
        async for message in stream:
            if isinstance(message, Delta):
                deltas.append(message)
            else:
                ends.append(message)
    return deltas, ends


async def answer(runner: Runner, request: Generate) -> tuple[str, Finished]:
    deltas, ends = await collect(runner.generate(request))
    return "".join(delta.text for delta in deltas), ends[0]


async def test_a_text_is_replayed_one_token_a_delta() -> None:
    deltas, ends = await collect(scripted("hello").generate(ask()))
    assert [delta.text for delta in deltas] == list("hello")
    assert ends[0].reason == "stop"
    assert (ends[0].usage.prompt_tokens, ends[0].usage.completion_tokens) == (2, 5)


async def test_a_list_of_pieces_is_replayed_one_piece_a_delta() -> None:
    deltas, ends = await collect(scripted(["Hel", "lo"]).generate(ask()))
    assert [delta.text for delta in deltas] == ["Hel", "lo"]
    assert ends[0].usage.completion_tokens == 5


async def test_a_callable_script_answers_the_text_of_the_prompt() -> None:
    assert (await answer(scripted(lambda prompt: prompt.upper()), ask("abc")))[0] == "ABC"


async def test_an_empty_script_ends_at_once() -> None:
    text, end = await answer(scripted(""), ask())
    assert (text, end.reason, end.usage.completion_tokens) == ("", "stop", 0)


async def test_text_comes_in_whole_characters_whatever_the_tokens() -> None:
    deltas, _ = await collect(scripted("é😀").generate(ask()))
    assert [delta.text for delta in deltas if delta.text] == ["é", "😀"]
    assert sum(len(delta.tokens) for delta in deltas) == len("é😀".encode())


async def test_an_end_token_ends_the_answer_and_is_not_shown() -> None:
    text, end = await answer(scripted("a<|im_end|>b"), ask())
    assert (text, end.reason, end.usage.completion_tokens) == ("a", "stop", 1)


async def test_ignore_eos_goes_on_past_an_end_token() -> None:
    text, end = await answer(scripted("a<|im_end|>b"), ask(ignore_eos=True))
    assert (text, end.usage.completion_tokens) == ("ab", 3)


async def test_control_tokens_are_shown_only_when_special_is_asked_for() -> None:
    assert (await answer(scripted("a<|im_start|>b"), ask()))[0] == "ab"
    assert (await answer(scripted("a<|im_start|>b"), ask(special=True)))[0] == "a<|im_start|>b"


@pytest.mark.parametrize("pieces", ["hello world", ["hello ", "world"]])
async def test_max_tokens_ends_the_answer_with_reason_length(pieces: Script) -> None:
    text, end = await answer(scripted(pieces), ask(max_tokens=4))
    assert (text, end.reason, end.usage.completion_tokens) == ("hell", "length", 4)


async def test_the_context_ends_the_answer_with_reason_length() -> None:
    text, end = await answer(scripted("x" * 200), ask("p" * 90))
    assert (len(text), end.reason) == (10, "length")


async def test_shift_goes_on_past_the_context_and_says_how_much_was_dropped() -> None:
    text, end = await answer(scripted("x" * 200), ask("p" * 90, shift=True))
    assert (len(text), end.reason) == (200, "stop")
    assert end.shifted >= 190 - 90


async def test_a_stop_string_across_tokens_is_held_back_and_not_shown() -> None:
    deltas, ends = await collect(scripted("one STOP two").generate(ask(stop=["STOP"])))
    assert "".join(delta.text for delta in deltas) == "one "
    assert (ends[0].reason, ends[0].stop_string) == ("stop", "STOP")


async def test_text_held_back_for_a_stop_string_that_does_not_come_is_shown() -> None:
    text, end = await answer(scripted("one STO"), ask(stop=["STOP"]))
    assert (text, end.stop_string) == ("one STO", None)


MARKED = "a é<|tool|>b<|end|>c"
TOOL_MODEL = ScriptedModel(control=("<|end|>", "<|tool|>"), bos="<|end|>", eog=("<|end|>",))


@pytest.mark.parametrize(
    ("script", "marks"), [(MARKED, [(3, 257), (4, 256)]), ([MARKED], [(3, 257), (4, 256)])]
)
@pytest.mark.parametrize("stop", [[], ["é!", "bc"]])
async def test_marks_say_where_control_tokens_were_as_far_as_they_were_asked_for(
    script: Script, marks: list[tuple[int, int]], stop: list[str]
) -> None:
    runner = scripted(script, TOOL_MODEL)
    deltas, ends = await collect(runner.generate(ask(marks=[256, 257], stop=stop)))
    placed: list[tuple[int, int]] = []
    text = ""
    for delta in deltas:
        placed += [(len(text) + offset, token) for offset, token in delta.marks]
        text += delta.text
    assert (text, placed, ends[0].reason) == ("a éb", marks, "stop")
    deltas, _ = await collect(scripted(script, TOOL_MODEL).generate(ask(stop=stop)))
    assert not any(delta.marks for delta in deltas)


async def test_a_stop_string_does_not_reach_across_a_mark() -> None:
    request = ask(marks=[257], stop=["ab"])
    assert (await answer(scripted("a<|tool|>b", TOOL_MODEL), request))[0] == "ab"


COUNT = 'start: "n=" /[0-9]+/ (<[257]> "!")?'


@pytest.mark.parametrize("script", ["n=12", "n=1<|tool|>!", "n=3<|end|>", ["n=", "4"]])
async def test_a_script_that_follows_the_grammar_is_replayed(script: Script) -> None:
    _, end = await answer(scripted(script, TOOL_MODEL), ask(grammar=COUNT))
    assert end.reason == "stop"


@pytest.mark.parametrize(
    ("script", "words"),
    [
        ("n=x", "leaves the grammar after 'n=': 'x' is not allowed"),
        ("hello", "leaves the grammar after '': 'h'"),
        (["n=1", "<|tool|>?"], r"after 'n=1<\|tool\|>': '\?'"),
        ("n=1<|tool|>!!", r"after 'n=1<\|tool\|>!': '!'"),
        ("n=", "ends after 'n=', where the grammar goes on"),
        ("n=<|end|>", r"after 'n=': '<\|end\|>'"),
    ],
)
async def test_a_script_that_leaves_the_grammar_is_an_error_that_says_where(
    script: Script, words: str
) -> None:
    with pytest.raises(ScriptLeftGrammar, match=words):
        await answer(scripted(script, TOOL_MODEL), ask(grammar=COUNT))


async def test_a_script_may_be_cut_off_before_its_grammar_ends() -> None:
    text, end = await answer(scripted("n=12", TOOL_MODEL), ask(grammar=COUNT, max_tokens=2))
    assert (text, end.reason) == ("n=", "length")


async def test_each_completion_follows_the_grammar_for_itself() -> None:
    _, ends = await collect(scripted("n=1", TOOL_MODEL).generate(ask(grammar=COUNT, n=3)))
    assert [end.reason for end in ends] == ["stop"] * 3


@pytest.mark.parametrize("model", [ScriptedModel(), ScriptedModel(control=(), bos="", eog=())])
async def test_every_scripted_vocabulary_can_be_constrained(model: ScriptedModel) -> None:
    assert (await answer(scripted('{"a":1}', model), ask(grammar="start: %json {}")))[1].reason == "stop"
    with pytest.raises(InvalidGrammar, match="cannot be compiled"):
        await answer(scripted("x", model), ask(grammar="nonsense"))


async def test_n_completions_each_end_once() -> None:
    deltas, ends = await collect(scripted("ab").generate(ask(n=3)))
    assert sorted(end.index for end in ends) == [0, 1, 2]
    assert "".join(delta.text for delta in deltas if delta.index == 2) == "ab"


async def test_logprobs_come_with_as_many_alternatives_as_asked() -> None:
    deltas, _ = await collect(scripted("a").generate(ask(logprobs=3)))
    assert deltas[0].logprobs is not None
    entry = deltas[0].logprobs[0]
    assert (entry.token, entry.id, len(entry.top)) == ("a", ord("a"), 3)
    assert entry.logprob < 0
    assert (await collect(scripted("a").generate(ask())))[0][0].logprobs is None


async def test_a_prompt_that_repeats_an_earlier_exchange_is_cached() -> None:
    runner = scripted("hello")
    _, first = await answer(runner, ask("question "))
    _, second = await answer(runner, ask("question hello again"))
    assert (first.usage.cached_tokens, second.usage.cached_tokens) == (0, len("question hello"))


async def test_the_last_prompt_token_is_never_cached() -> None:
    runner = scripted("hello")
    await answer(runner, ask("same"))
    assert (await answer(runner, ask("same")))[1].usage.cached_tokens == 3


async def test_drop_cache_forgets_and_stats_count() -> None:
    runner = scripted("hello")
    await answer(runner, ask("same"))
    assert (await runner.stats()).sequences_cached == 1
    assert (await runner.drop_cache()).cells_used == 0
    assert (await answer(runner, ask("same")))[1].usage.cached_tokens == 0


async def test_requests_are_recorded_as_sent() -> None:
    runner = scripted()
    await answer(runner, ask("abc", sampling=Sampling(temperature=0.25)))
    assert [r.sampling.temperature for r in runner.requests] == [0.25]
    assert runner.requests[0].prompt == list(b"abc")


async def test_closing_the_stream_cancels_the_request() -> None:
    runner = scripted()
    stream = runner.generate(ask())
    await anext(stream)
    assert (await runner.stats()).sequences_running == 1
    await stream.aclose()
    assert runner.cancelled == [runner.requests[0].id]
    assert (await runner.stats()).sequences_running == 0


async def test_hold_keeps_a_generation_waiting() -> None:
    runner = scripted()
    gate = asyncio.Event()
    runner.hold, runner.hold_after = gate, 2
    stream = runner.generate(ask())
    await anext(stream)
    await anext(stream)
    third = asyncio.ensure_future(anext(stream))
    await wait_all_tasks_blocked()
    assert not third.done()
    gate.set()
    message = await third
    assert isinstance(message, Delta)
    assert message.text == "l"
    await stream.aclose()


async def test_a_held_generation_is_cancelled_with_its_task() -> None:
    runner = scripted()
    runner.hold = anyio.Event()
    task = asyncio.ensure_future(collect(runner.generate(ask())))
    await wait_all_tasks_blocked()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert runner.cancelled == [1]


async def test_die_after_ends_the_stream_with_runner_died() -> None:
    runner = scripted()
    runner.die_after = 2
    got: list[str] = []
    with pytest.raises(RunnerDied, match="unexpectedly stopped"):
        async for message in runner.generate(ask()):
            assert isinstance(message, Delta)
            got.append(message.text)
    assert got == ["h", "e"]
    assert not runner.alive
    await runner.wait_closed()


async def test_a_dead_runner_refuses_every_call() -> None:
    runner = scripted()
    runner.hold = asyncio.Event()
    held = asyncio.ensure_future(collect(runner.generate(ask())))
    await wait_all_tasks_blocked()
    runner.die("killed by signal 9")
    with pytest.raises(RunnerDied, match="killed by signal 9"):
        await held
    for call in (runner.tokenize("a"), runner.detokenize([1]), runner.embed([[1]]), runner.stats()):
        with pytest.raises(RunnerDied):
            await call


@pytest.mark.parametrize("text", ["", "plain", "é<|im_start|>user\nhi<|im_end|>"])
async def test_tokenising_is_reversible(text: str) -> None:
    runner = scripted()
    assert await runner.detokenize(await runner.tokenize(text)) == text
    assert await runner.detokenize(await runner.tokenize(text, parse_special=False)) == text


async def test_control_text_is_one_token_only_when_parsed() -> None:
    runner = scripted()
    assert await runner.tokenize("<|im_end|>") == [258]
    assert len(await runner.tokenize("<|im_end|>", parse_special=False)) == len("<|im_end|>")
    assert await runner.detokenize([97, 258], special=False) == "a"


async def test_bos_is_added_as_the_model_says() -> None:
    runner = scripted(model=ScriptedModel(add_bos=True))
    assert await runner.tokenize("a") == [256, 97]
    assert await runner.tokenize("a", add_special=False) == [97]


async def test_facts_follow_the_spec_and_the_model() -> None:
    control = ("<s>", "</s>", "<PRE>", "<SUF>", "<MID>")
    model = ScriptedModel(control=control, bos="<s>", eog=("</s>",), fim=("<PRE>", "<SUF>", "<MID>"))
    facts = scripted(model=model).facts
    assert (facts.n_ctx, facts.bos, facts.eos, facts.eog) == (100, "<s>", "</s>", [257])
    assert facts.fim == (258, 259, 260)
    assert facts.control == {text: 256 + i for i, text in enumerate(control)}


async def test_embeddings_depend_on_the_tokens_only() -> None:
    runner = scripted()
    embedded = await runner.embed([[1, 2], [1, 2], [1, 3]])
    assert embedded.vectors[0] == embedded.vectors[1] != embedded.vectors[2]
    assert (len(embedded.vectors[0]), embedded.prompt_tokens) == (8, 6)


async def test_what_does_not_fit_or_exist_is_refused() -> None:
    runner = scripted()
    with pytest.raises(PromptTooLong):
        await answer(runner, ask("x" * 101))
    with pytest.raises(PromptTooLong):
        await runner.embed([[1] * 101])
    with pytest.raises(BadRequest, match="no tokens"):
        await answer(runner, ask(""))
    with pytest.raises(BadRequest, match="99999"):
        await runner.detokenize([99999])


async def test_the_launcher_satisfies_the_protocols_and_reports_progress() -> None:
    launcher: Launcher = ScriptedLauncher("hello", scripts={"other.gguf": "bye"})
    seen: list[float] = []
    runner: Runner = await launcher.launch(SPEC, seen.append)
    assert seen == [0.0, 1.0]
    assert (await answer(runner, ask()))[0] == "hello"
    other = await launcher.launch(LoadSpec(path="other.gguf", n_ctx=8, n_cells=8))
    assert (await answer(other, ask()))[0] == "bye"


async def test_a_load_can_be_made_to_fail() -> None:
    launcher = ScriptedLauncher()
    launcher.fail("bad magic")
    launcher.fail(InsufficientMemory("too big"))
    with pytest.raises(LoadFailed, match="bad magic"):
        await launcher.launch(SPEC)
    with pytest.raises(InsufficientMemory):
        await launcher.launch(SPEC)
    assert (await launcher.launch(SPEC)).alive


async def test_a_load_can_be_made_to_wait() -> None:
    launcher = ScriptedLauncher()
    launcher.gates["model.gguf"] = gate = asyncio.Event()
    load = asyncio.ensure_future(launcher.launch(SPEC))
    with anyio.fail_after(10):
        await launcher.wait_launches(1)
    assert not load.done()
    gate.set()
    assert (await load).alive


async def test_a_cancelled_load_is_noted() -> None:
    launcher = ScriptedLauncher()
    launcher.gate = asyncio.Event()
    load = asyncio.ensure_future(launcher.launch(SPEC))
    await launcher.wait_launches(1)
    load.cancel()
    with pytest.raises(asyncio.CancelledError):
        await load
    assert launcher.abandoned == [SPEC]
    assert launcher.runners == []


async def test_close_ends_it_politely_and_can_be_repeated() -> None:
    runner = scripted()
    await runner.close()
    await runner.close()
    assert runner.closed_politely
    assert not runner.alive
