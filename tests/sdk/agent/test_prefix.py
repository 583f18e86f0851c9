"""A run reads each token once: turn n+1 computes only what came after the prompt of turn n."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path
from typing import Annotated, Any

import pytest
from pydantic import Field
from support import smollm2
from support.scripted_server import Replies, scripted_app, serving

from agentkit import Agent, LimitReached, Limits, Run, Server, ThinkingDelta, TurnEnded, Usage

MINIMIND = Path(__file__).parents[4] / "shared" / "models" / "minimind2-small-q8.gguf"
Key = Annotated[str, Field(max_length=12)]
LongText = Annotated[str, Field(min_length=5_000)]


def look_up(key: Key) -> str:
    """Looks a key up.

    Args:
        key: what to look up
    """
    return f"the value of {key} is {len(key)}"


@pytest.fixture(scope="module")
def real_server() -> Iterator[Server]:
    with smollm2.serving(smollm2.models_folder(), AGENTKIT_CONTEXT_LENGTH="4096") as url:
        yield Server(url)


def assert_each_token_is_read_once(turns: list[Usage]) -> None:
    for before, after in pairwise(turns):
        assert after.cached_tokens >= before.prompt_tokens - 1
        assert after.prompt_tokens - after.cached_tokens <= after.prompt_tokens - before.prompt_tokens + 1


async def turns_of(agent: Agent[Any], prompts: list[str], run: Run) -> tuple[list[Usage], int]:
    """The usage of every turn, and how many pieces of thoughts there were."""
    turns: list[Usage] = []
    thoughts = 0
    for prompt in prompts:
        async with agent.run_stream(prompt, run=run) as events:
            async for event in events:
                thoughts += isinstance(event, ThinkingDelta)
                if isinstance(event, TurnEnded):
                    turns.append(event.usage)
    return turns, thoughts


def test_ten_turns_on_smollm2_read_each_token_once(real_server: Server) -> None:
    agent = Agent(
        "smollm2",
        tools=[look_up],
        flow="single",
        backend=real_server,
        instructions="You look things up.",
        options={"temperature": 0, "num_predict": 60},
        keep_prefix=True,
    )
    prompts = [f"Look up key number {n}." for n in range(5)]
    run = Run(model="smollm2")
    turns, _ = asyncio.run(turns_of(agent, prompts, run))
    assert len(turns) == 10
    assert_each_token_is_read_once(turns)
    assert [message.role for message in run.messages].count("tool") == 5


def test_ten_turns_of_a_thinking_model_read_each_token_once(tmp_path: Path) -> None:
    def look() -> int:
        return 7

    # A token of this model is a character, and its context holds 2,048.
    call = '<tool_call>\n{"name": "look", "arguments": {}}\n</tool_call>'
    replies = Replies([f"<think>\nTurn {n}\n</think>\n\n{call}" for n in range(9)])
    replies.texts.append("<think>\nNow I know.\n</think>\n\nDone.")
    app, _ = scripted_app(tmp_path, replies)
    with serving(app) as url:
        agent = Agent("thinker", tools=[look], backend=Server(url), think=True)
        run = Run(model="thinker")
        turns, thoughts = asyncio.run(turns_of(agent, ["Look!"], run))
    assert len(turns) == 10
    assert thoughts >= 10
    first = next(message for message in run.messages if message.role == "assistant")
    assert (first.thinking or "").strip() == "Turn 0"
    assert_each_token_is_read_once(turns)


@pytest.mark.skipif(not MINIMIND.exists(), reason="the model of the shared folder is not here")
def test_ten_turns_with_thinking_on_read_each_token_once_on_a_live_model(tmp_path: Path) -> None:
    from agentkit_server.models.store import Store

    Store(tmp_path).link_file("minimind", MINIMIND)
    with smollm2.serving(tmp_path, AGENTKIT_CONTEXT_LENGTH="4096") as url:
        agent = Agent(
            "minimind",
            tools=[look_up],
            flow="single",
            backend=Server(url),
            think=True,
            thinking_budget=40,
            options={"temperature": 0, "num_predict": 60},
            keep_prefix=True,
        )
        prompts = [f"Look up key number {n}." for n in range(5)]
        turns, _ = asyncio.run(turns_of(agent, prompts, Run(model="minimind")))
    assert len(turns) == 10
    assert_each_token_is_read_once(turns)


def test_the_second_branch_of_a_fork_finds_the_common_part_computed(real_server: Server) -> None:
    agent = Agent(
        "smollm2",
        backend=real_server,
        instructions="Be brief. " * 40,
        options={"temperature": 0, "num_predict": 8},
        keep_prefix=True,
    )

    async def branches() -> tuple[Usage, list[Usage]]:
        first = await agent.run("Name a river.")
        asked = ["And a lake?", "And a sea?"]
        forks = zip(first.run.fork(2), asked, strict=True)
        results = await asyncio.gather(*(agent.run(prompt, run=run) for run, prompt in forks))
        return first.usage, [result.usage for result in results]

    before, after = asyncio.run(branches())
    for usage in after:
        assert usage.cached_tokens - before.cached_tokens >= before.prompt_tokens - 1


def test_a_deadline_ends_a_run_in_the_midst_of_an_answer(real_server: Server) -> None:
    # No answer can be over before.
    agent = Agent("smollm2", LongText, backend=real_server, limits=Limits(seconds=4))

    async def tell() -> LimitReached:
        # A first run loads the model.
        await Agent("smollm2", backend=real_server, options={"num_predict": 1}).run("Hi")
        with pytest.raises(LimitReached) as caught:
            await agent.run("Tell a long story.")
        return caught.value

    error = asyncio.run(tell())
    assert error.limit == "seconds"
    assert error.run.usage.completion_tokens > 0
    assert error.run.usage.turns == 1
