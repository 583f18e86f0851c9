"""The published `openai` client, unchanged, against a live server."""

from __future__ import annotations

from collections.abc import AsyncIterator

import anyio
import pytest
from openai import AsyncOpenAI, BadRequestError, InternalServerError, NotFoundError
from openai.types.chat import ChatCompletionMessageParam

from agentkit_server.runner.scripted import ScriptedLauncher

pytestmark = pytest.mark.anyio

MESSAGES: list[ChatCompletionMessageParam] = [{"role": "user", "content": "hi"}]


@pytest.fixture
async def openai(live_server: str) -> AsyncIterator[AsyncOpenAI]:
    async with AsyncOpenAI(base_url=f"{live_server}/v1", api_key="unused", max_retries=0) as client:
        yield client


async def test_chat(openai: AsyncOpenAI, launcher: ScriptedLauncher) -> None:
    launcher.script = "blue"
    async with openai:
        answer = await openai.chat.completions.create(model="tiny", messages=MESSAGES, n=2, seed=1)
    assert [choice.message.content for choice in answer.choices] == ["blue", "blue"]
    assert answer.usage is not None
    assert answer.usage.prompt_tokens_details is not None
    assert answer.usage.prompt_tokens_details.cached_tokens == 0


async def test_chat_streamed_with_logprobs_and_usage(openai: AsyncOpenAI, launcher: ScriptedLauncher) -> None:
    launcher.script = "blue"
    text, tokens, usage = "", list[str](), None
    async with openai:
        stream = await openai.chat.completions.create(
            model="tiny",
            messages=MESSAGES,
            stream=True,
            logprobs=True,
            top_logprobs=1,
            stream_options={"include_usage": True},
        )
        async for chunk in stream:
            usage = chunk.usage or usage
            for choice in chunk.choices:
                text += choice.delta.content or ""
                if choice.logprobs and choice.logprobs.content:
                    tokens += [item.token for item in choice.logprobs.content]
    assert (text, tokens) == ("blue", list("blue"))
    assert usage is not None
    assert usage.completion_tokens == 4


async def test_an_error_in_a_stream_is_raised_by_the_client(
    openai: AsyncOpenAI, launcher: ScriptedLauncher
) -> None:
    launcher.script, launcher.die_after = "blue", 2
    async with openai:
        stream = await openai.chat.completions.create(model="tiny", messages=MESSAGES, stream=True)
        with pytest.raises(Exception, match="model runner has unexpectedly stopped"):
            async for _ in stream:
                pass


class Held:
    """A gate that never opens, and tells when `count` generations stand before it and when they have all
    been sent away."""

    def __init__(self, count: int) -> None:
        self._standing = 0
        self._count = count
        self.full = anyio.Event()
        self.empty = anyio.Event()

    def is_set(self) -> bool:
        return False

    async def wait(self) -> None:
        self._standing += 1
        if self._standing == self._count:
            self.full.set()
        try:
            await anyio.sleep_forever()
        finally:
            self._standing -= 1
            if not self._standing:
                self.empty.set()


@pytest.mark.parametrize("prompts", [1, 3])
async def test_closing_a_stream_cancels_its_turns_in_the_engine(
    openai: AsyncOpenAI, launcher: ScriptedLauncher, prompts: int
) -> None:
    gate = Held(prompts)
    launcher.hold, launcher.hold_after = gate, 1
    async with openai:
        stream = await openai.completions.create(model="tiny", prompt=["hi"] * prompts, stream=True)
        assert (await anext(stream)).choices[0].text
        with anyio.fail_after(10):
            await gate.full.wait()
            await stream.close()
            await gate.empty.wait()
    assert len(launcher.requests) == prompts


async def test_errors_become_the_clients_own_exceptions(openai: AsyncOpenAI) -> None:
    async with openai:
        with pytest.raises(NotFoundError) as missing:
            await openai.chat.completions.create(model="nope", messages=MESSAGES)
        with pytest.raises(BadRequestError) as unknown:
            await openai.chat.completions.create(model="tiny", messages=MESSAGES, extra_body={"top_kk": 1})
        with pytest.raises(InternalServerError) as later:
            await openai.chat.completions.create(model="tiny", messages=MESSAGES, modalities=["audio"])
    assert missing.value.code == "model_not_found"
    assert unknown.value.param == "top_kk"
    assert later.value.status_code == 501


async def test_completions_of_texts_and_tokens(openai: AsyncOpenAI, launcher: ScriptedLauncher) -> None:
    launcher.script = str.upper
    async with openai:
        texts = await openai.completions.create(model="tiny", prompt=["ab", "cd"], echo=True)
        tokens = await openai.completions.create(model="tiny", prompt=[97, 98], logprobs=1)
        stream = await openai.completions.create(model="tiny", prompt="ef", stream=True)
        streamed = "".join([choice.text async for chunk in stream for choice in chunk.choices])
    assert [choice.text for choice in texts.choices] == ["abAB", "cdCD"]
    assert tokens.choices[0].logprobs is not None
    assert tokens.choices[0].logprobs.tokens == ["A", "B"]
    assert streamed == "EF"


async def test_embeddings_in_the_clients_default_encoding(openai: AsyncOpenAI) -> None:
    async with openai:
        packed = await openai.embeddings.create(model="embedder", input=["one", "two"])
        plain = await openai.embeddings.create(model="embedder", input="one", encoding_format="float")
    assert len(packed.data) == 2
    assert packed.data[0].embedding == pytest.approx(plain.data[0].embedding, abs=1e-6)


async def test_models(openai: AsyncOpenAI) -> None:
    async with openai:
        listed = [model.id async for model in openai.models.list()]
        one = await openai.models.retrieve("tiny")
    assert one.id == "tiny:latest"
    assert one.id in listed
