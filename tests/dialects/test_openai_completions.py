"""POST /v1/completions on a scripted engine."""

from __future__ import annotations

from typing import Any

import anyio
import httpx
import pytest
from support.sse import events

from agentkit_server.runner.scripted import ScriptedLauncher

pytestmark = pytest.mark.anyio


async def complete(http: httpx.AsyncClient, prompt: Any = "hi", **parameters: Any) -> httpx.Response:
    return await http.post("/v1/completions", json={"model": "tiny", "prompt": prompt, **parameters})


class Meeting:
    """A gate that opens once `count` generations stand before it."""

    def __init__(self, count: int) -> None:
        self._missing = count
        self._open = anyio.Event()

    def is_set(self) -> bool:
        return self._open.is_set()

    async def wait(self) -> None:
        self._missing -= 1
        if not self._missing:
            self._open.set()
        await self._open.wait()


def shout(prompt: str) -> str:
    return prompt.upper()


async def test_a_prompt_is_continued_as_it_stands(
    http: httpx.AsyncClient, launcher: ScriptedLauncher
) -> None:
    launcher.script = " there"
    answer = (await complete(http)).json()
    assert answer["id"].startswith("cmpl-")
    assert answer["object"] == "text_completion"
    assert answer["choices"] == [{"index": 0, "text": " there", "logprobs": None, "finish_reason": "stop"}]
    assert (answer["usage"]["prompt_tokens"], answer["usage"]["completion_tokens"]) == (2, 6)


async def test_sixteen_tokens_are_the_default_limit(
    http: httpx.AsyncClient, launcher: ScriptedLauncher
) -> None:
    launcher.script = "x" * 40
    choice = (await complete(http)).json()["choices"][0]
    assert (choice["text"], choice["finish_reason"]) == ("x" * 16, "length")
    assert (await complete(http, max_tokens=20)).json()["choices"][0]["text"] == "x" * 20


async def test_token_ids_are_taken_as_they_stand(http: httpx.AsyncClient, launcher: ScriptedLauncher) -> None:
    launcher.script = shout
    answer = (await complete(http, list(b"one"))).json()
    assert [choice["text"] for choice in answer["choices"]] == ["ONE"]
    assert launcher.requests[0].prompt == list(b"one")


@pytest.mark.parametrize("prompts", [["a", "bb", "c"], [[97], [98, 98], [99]]])
async def test_several_prompts_are_answered_in_order_with_n_each(
    http: httpx.AsyncClient, launcher: ScriptedLauncher, prompts: list[Any]
) -> None:
    launcher.script = shout
    answer = (await complete(http, prompts, n=2)).json()
    assert [choice["index"] for choice in answer["choices"]] == [0, 1, 2, 3, 4, 5]
    assert [choice["text"] for choice in answer["choices"]] == ["A", "A", "BB", "BB", "C", "C"]
    assert (answer["usage"]["prompt_tokens"], answer["usage"]["completion_tokens"]) == (4, 8)


async def test_several_prompts_run_at_the_same_time(
    http: httpx.AsyncClient, launcher: ScriptedLauncher
) -> None:
    launcher.hold = Meeting(3)
    with anyio.fail_after(10):
        answer = await complete(http, ["a", "b", "c"])
    assert [choice["text"] for choice in answer.json()["choices"]] == ["Hello, world!"] * 3


async def test_several_prompts_stream_under_their_own_index(
    http: httpx.AsyncClient, launcher: ScriptedLauncher
) -> None:
    launcher.script = shout
    response = await complete(http, ["abcd", "efgh"], stream=True, stream_options={"include_usage": True})
    *chunks, last, done = events(response.text)
    assert done == "[DONE]"
    choices = [chunk["choices"][0] for chunk in chunks]
    texts = ["".join(each["text"] for each in choices if each["index"] == index) for index in range(2)]
    assert texts == ["ABCD", "EFGH"]
    assert [each["finish_reason"] for each in choices if each["finish_reason"]] == ["stop", "stop"]
    assert (last["choices"], last["usage"]["total_tokens"]) == ([], 16)


async def test_one_prompt_that_does_not_fit_refuses_all_before_the_first_byte(
    http: httpx.AsyncClient, launcher: ScriptedLauncher
) -> None:
    launcher.script = shout
    for stream in (False, True):
        answer = await complete(http, ["a", "x" * 600], num_ctx=512, stream=stream)
        assert answer.status_code == 400
        assert answer.json()["error"]["param"] == "prompt"
    assert (await complete(http, "ok")).json()["choices"][0]["text"] == "OK"


async def test_an_error_in_one_of_several_streams_ends_all_with_an_event(
    http: httpx.AsyncClient, launcher: ScriptedLauncher
) -> None:
    launcher.script, launcher.die_after, launcher.hold = "abcdef", 4, Meeting(2)
    *chunks, last = events((await complete(http, ["a", "b"], stream=True)).text)
    assert last["error"]["code"] == "runner_died"
    assert all(chunk["choices"][0]["finish_reason"] is None for chunk in chunks)


async def test_echo_puts_the_prompt_before_the_text(
    http: httpx.AsyncClient, launcher: ScriptedLauncher
) -> None:
    launcher.script = "!"
    answer = (await complete(http, ["a", "b"], echo=True)).json()
    assert [choice["text"] for choice in answer["choices"]] == ["a!", "b!"]
    *chunks, _ = events((await complete(http, "a", echo=True, stream=True)).text)
    assert [chunk["choices"][0]["text"] for chunk in chunks] == ["a", "!", ""]


async def test_a_suffix_asks_for_the_text_between(
    http: httpx.AsyncClient, launcher: ScriptedLauncher
) -> None:
    refused = await complete(http, "def f(", suffix=")")
    assert refused.status_code == 400
    assert refused.json()["error"]["code"] == "missing_capability"
    assert (await complete(http, "a", suffix="")).status_code == 200


async def test_logprobs_have_the_legacy_shape(http: httpx.AsyncClient, launcher: ScriptedLauncher) -> None:
    launcher.script = "aé!"
    table = (await complete(http, logprobs=2)).json()["choices"][0]["logprobs"]
    assert len(table["tokens"]) == len(table["token_logprobs"]) == len(table["top_logprobs"]) == 4
    assert table["text_offset"] == [0, 1, 1, 2]
    assert table["top_logprobs"][0]["a"] == table["token_logprobs"][0]
    *chunks, _ = events((await complete(http, logprobs=2, stream=True)).text)
    tables = [chunk["choices"][0]["logprobs"] for chunk in chunks if chunk["choices"][0]["logprobs"]]
    assert [offset for each in tables for offset in each["text_offset"]] == table["text_offset"]


@pytest.mark.parametrize(
    ("parameters", "status", "param"),
    [
        ({"prompt": []}, 400, "prompt"),
        ({"prompt": None}, 400, "prompt"),
        ({"prompt": ["a", 1]}, 400, "prompt"),
        ({"prompt": [[]]}, 400, "prompt"),
        ({"prompt": [-1]}, 400, "prompt"),
        ({"prompt": [1.5]}, 400, "prompt"),
        ({"prompt": [100_000]}, 400, "prompt"),
        ({"prompt": ""}, 400, "prompt"),
        ({"prompt": {"text": "a"}}, 400, "prompt"),
        ({"prompt": ["a"] * 2049}, 400, "prompt"),
        ({"logprobs": 6}, 400, "logprobs"),
        ({"logprobs": True}, 400, "logprobs"),
        ({"best_of": 3}, 501, "best_of"),
        ({"n": 2, "best_of": 3}, 501, "best_of"),
        ({"echo": True, "logprobs": 0}, 501, "echo"),
        ({"echo": True, "prompt": [1]}, 501, "echo"),
        ({"suffix": "x", "prompt": [1]}, 400, "suffix"),
        ({"messages": []}, 400, "messages"),
    ],
)
async def test_what_cannot_be_served_is_refused_by_name(
    http: httpx.AsyncClient, parameters: dict[str, Any], status: int, param: str
) -> None:
    answer = await http.post("/v1/completions", json={"model": "tiny", "prompt": "hi", **parameters})
    assert (answer.status_code, answer.json()["error"]["param"]) == (status, param)


async def test_best_of_equal_to_n_is_what_happens_anyway(http: httpx.AsyncClient) -> None:
    assert len((await complete(http, n=2, best_of=2)).json()["choices"]) == 2
