"""POST /v1/chat/completions on a scripted engine."""

from __future__ import annotations

import math
from typing import Any

import httpx
import pytest
from support.sse import events

from agentkit_server.errors import ServerBusy
from agentkit_server.runner.scripted import ScriptedLauncher

pytestmark = pytest.mark.anyio

ECHOED_ANSWER = {
    "role": "assistant",
    "content": "yes",
    "refusal": None,
    "annotations": [],
    "tool_calls": None,
}


async def chat(http: httpx.AsyncClient, *messages: dict[str, Any], **parameters: Any) -> httpx.Response:
    said = list(messages) or [{"role": "user", "content": "hi"}]
    return await http.post("/v1/chat/completions", json={"model": "tiny", "messages": said, **parameters})


async def prompt_of(
    http: httpx.AsyncClient, launcher: ScriptedLauncher, *messages: dict[str, Any], **parameters: Any
) -> str:
    answer = await chat(http, *messages, **parameters)
    assert answer.status_code == 200, answer.text
    return launcher.model.decode(launcher.requests[-1].prompt)


# --- the answer -------------------------------------------------------------------------------------


async def test_an_answer_has_every_field_that_clients_read(
    http: httpx.AsyncClient, launcher: ScriptedLauncher
) -> None:
    launcher.script = "blue"
    answer = (await chat(http)).json()
    assert answer.pop("id").startswith("chatcmpl-")
    assert answer.pop("created") > 1_700_000_000
    assert answer.pop("system_fingerprint").startswith("fp_agentkit_")
    assert answer.pop("usage") == {
        "prompt_tokens": len(launcher.requests[0].prompt),
        "completion_tokens": 4,
        "total_tokens": len(launcher.requests[0].prompt) + 4,
        "prompt_tokens_details": {"cached_tokens": 0},
        "completion_tokens_details": {"reasoning_tokens": 0},
    }
    assert answer == {
        "object": "chat.completion",
        "model": "tiny",
        "choices": [
            {
                "index": 0,
                "message": {"role": "assistant", "content": "blue", "refusal": None},
                "logprobs": None,
                "finish_reason": "stop",
            }
        ],
    }


async def test_a_second_answer_reports_the_cached_part_of_its_prompt(http: httpx.AsyncClient) -> None:
    first, second = (await chat(http)).json(), (await chat(http)).json()
    prompt_tokens = second["usage"]["prompt_tokens"]
    assert second["usage"]["prompt_tokens_details"]["cached_tokens"] == prompt_tokens - 1
    assert first["id"] != second["id"]
    assert first["system_fingerprint"] == second["system_fingerprint"]


async def test_a_stream_has_the_role_first_then_text_then_the_reason_then_done(
    http: httpx.AsyncClient, launcher: ScriptedLauncher
) -> None:
    launcher.script = ["Grü", "ße\n\n"]
    response = await chat(http, stream=True)
    assert response.headers["content-type"].startswith("text/event-stream")
    *chunks, done = events(response.text)
    assert done == "[DONE]"
    assert {(chunk["id"], chunk["object"], chunk["model"]) for chunk in chunks} == {
        (chunks[0]["id"], "chat.completion.chunk", "tiny")
    }
    choices = [chunk["choices"][0] for chunk in chunks]
    assert [choice["delta"] for choice in choices] == [
        {"role": "assistant", "content": ""},
        {"content": "Grü"},
        {"content": "ße\n\n"},
        {},
    ]
    assert [choice["finish_reason"] for choice in choices] == [None, None, None, "stop"]
    assert not any("usage" in chunk for chunk in chunks)


async def test_usage_comes_on_a_last_chunk_when_it_is_asked_for(http: httpx.AsyncClient) -> None:
    response = await chat(http, stream=True, stream_options={"include_usage": True})
    *chunks, last, done = events(response.text)
    assert done == "[DONE]"
    assert all(chunk["usage"] is None for chunk in chunks)
    assert last["choices"] == []
    assert (
        last["usage"]["total_tokens"] == last["usage"]["prompt_tokens"] + last["usage"]["completion_tokens"]
    )


async def test_n_choices_stream_interleaved_under_their_index(
    http: httpx.AsyncClient, launcher: ScriptedLauncher
) -> None:
    launcher.script = "ab"
    response = await chat(http, n=3, stream=True, stream_options={"include_usage": True})
    *chunks, last, _ = events(response.text)
    choices = [chunk["choices"][0] for chunk in chunks]
    assert [choice["index"] for choice in choices[:6]] == [0, 1, 2, 0, 1, 2]
    for index in range(3):
        own = [choice for choice in choices if choice["index"] == index]
        assert own[0]["delta"]["role"] == "assistant"
        assert "".join(choice["delta"].get("content", "") for choice in own) == "ab"
        assert [choice["finish_reason"] for choice in own if choice["finish_reason"]] == ["stop"]
    assert last["usage"]["completion_tokens"] == 6
    assert last["usage"]["prompt_tokens"] == len(launcher.requests[0].prompt)


async def test_n_choices_come_in_order_and_count_their_prompt_once(
    http: httpx.AsyncClient, launcher: ScriptedLauncher
) -> None:
    launcher.script = "ab"
    answer = (await chat(http, n=2)).json()
    assert [choice["index"] for choice in answer["choices"]] == [0, 1]
    assert answer["usage"]["prompt_tokens"] == len(launcher.requests[0].prompt)
    assert answer["usage"]["completion_tokens"] == 4


@pytest.mark.parametrize("name", ["max_tokens", "max_completion_tokens"])
async def test_an_answer_cut_by_its_limit_says_length(
    http: httpx.AsyncClient, launcher: ScriptedLauncher, name: str
) -> None:
    launcher.script = "abcdef"
    choice = (await chat(http, **{name: 3})).json()["choices"][0]
    assert (choice["message"]["content"], choice["finish_reason"]) == ("abc", "length")


async def test_a_stop_string_ends_the_answer_before_it(
    http: httpx.AsyncClient, launcher: ScriptedLauncher
) -> None:
    launcher.script = "one two three"
    for stop in (" three", ["never", " three"]):
        choice = (await chat(http, stop=stop)).json()["choices"][0]
        assert (choice["message"]["content"], choice["finish_reason"]) == ("one two", "stop")


async def test_logprobs_come_with_each_token_whole_and_streamed(
    http: httpx.AsyncClient, launcher: ScriptedLauncher
) -> None:
    launcher.script = "é"
    choice = (await chat(http, logprobs=True, top_logprobs=2)).json()["choices"][0]
    content = choice["logprobs"]["content"]
    assert [item["bytes"] for item in content] == [[0xC3], [0xA9]]
    assert content[0]["logprob"] == pytest.approx(-0.1)
    assert len(content[0]["top_logprobs"]) == 2
    assert set(content[0]["top_logprobs"][0]) == {"token", "logprob", "bytes"}
    *chunks, _ = events((await chat(http, logprobs=True, top_logprobs=2, stream=True)).text)
    streamed = [chunk["choices"][0]["logprobs"] for chunk in chunks]
    assert [item for each in streamed if each for item in each["content"]] == content


async def test_logprobs_alone_have_no_alternatives(
    http: httpx.AsyncClient, launcher: ScriptedLauncher
) -> None:
    launcher.script = "a"
    content = (await chat(http, logprobs=True)).json()["choices"][0]["logprobs"]["content"]
    assert [item["top_logprobs"] for item in content] == [[]]
    assert (await chat(http, logprobs=False)).json()["choices"][0]["logprobs"] is None


# --- what reaches the engine ------------------------------------------------------------------------


async def test_a_request_that_says_nothing_samples_from_the_model_as_it_is(
    http: httpx.AsyncClient, launcher: ScriptedLauncher
) -> None:
    await chat(http)
    request = launcher.requests[0]
    sampling = request.sampling
    assert (sampling.temperature, sampling.top_p, sampling.top_k, sampling.seed) == (1.0, 1.0, 0, -1)
    assert (request.n, request.max_tokens, request.stop, request.logprobs) == (1, -1, [], None)


async def test_every_sampling_parameter_reaches_the_engine(
    http: httpx.AsyncClient, launcher: ScriptedLauncher
) -> None:
    given: dict[str, Any] = {
        "temperature": 0,
        "top_p": 0.5,
        "seed": 7,
        "frequency_penalty": -2,
        "presence_penalty": 1.5,
        "top_k": 5,
        "min_p": 0.1,
        "typical_p": 0.9,
        "repeat_penalty": 1.1,
        "repeat_last_n": 8,
    }
    answer = await chat(http, **given, logit_bias={"1": -100, "2": 100, "3": 0.5})
    assert answer.status_code == 200
    sampling = launcher.requests[0].sampling
    assert {name: getattr(sampling, name) for name in given} == given
    assert sampling.logit_bias == {1: -math.inf, 2: 100, 3: 0.5}


async def test_a_context_length_is_a_load_option(http: httpx.AsyncClient, launcher: ScriptedLauncher) -> None:
    assert (await chat(http, num_ctx=512, keep_alive="1m")).status_code == 200
    assert launcher.launches[-1].n_ctx == 512


async def test_null_counts_as_not_given(http: httpx.AsyncClient, launcher: ScriptedLauncher) -> None:
    names = (
        "temperature",
        "stop",
        "n",
        "stream",
        "max_tokens",
        "logit_bias",
        "tools",
        "response_format",
        "seed",
    )
    assert (await chat(http, **dict.fromkeys(names))).status_code == 200
    assert launcher.requests[0].sampling.temperature == 1.0


async def test_messages_are_rendered_with_developer_as_system(
    http: httpx.AsyncClient, launcher: ScriptedLauncher
) -> None:
    prompt = await prompt_of(
        http,
        launcher,
        {"role": "developer", "content": "Be brief."},
        {"role": "user", "name": "ann", "content": "hi"},
        ECHOED_ANSWER,
        {"role": "user", "content": [{"type": "text", "text": "one"}, {"type": "text", "text": "two"}]},
    )
    assert prompt == (
        "<|im_start|>system\nBe brief.<|im_end|>\n<|im_start|>user\nhi<|im_end|>\n"
        "<|im_start|>assistant\nyes<|im_end|>\n<|im_start|>user\none\ntwo<|im_end|>\n<|im_start|>assistant\n"
    )


async def test_a_last_assistant_message_is_answered_unless_its_continuation_is_asked_for(
    http: httpx.AsyncClient, launcher: ScriptedLauncher
) -> None:
    messages = ({"role": "user", "content": "hi"}, {"role": "assistant", "content": "The sky"})
    assert (await prompt_of(http, launcher, *messages)).endswith("<|im_end|>\n<|im_start|>assistant\n")
    for extra in ({}, {"add_generation_prompt": False}):
        prompt = await prompt_of(http, launcher, *messages, continue_final_message=True, **extra)
        assert prompt.endswith("<|im_start|>assistant\nThe sky")


# --- what is refused --------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("message", "status", "param"),
    [
        ({"content": "hi"}, 400, "messages[0].role"),
        ({"role": "boss", "content": "hi"}, 400, "messages[0].role"),
        ({"role": ["user"], "content": "hi"}, 400, "messages[0].role"),
        ({"role": "user"}, 400, "messages[0].content"),
        ({"role": "user", "content": 7}, 400, "messages[0].content"),
        ({"role": "user", "content": []}, 400, "messages[0].content"),
        ({"role": "user", "content": ["hi"]}, 400, "messages[0].content[0]"),
        ({"role": "user", "content": [{"type": "text"}]}, 400, "messages[0].content[0]"),
        ({"role": "user", "content": [{"type": "poem", "text": "x"}]}, 400, "messages[0].content[0]"),
        ({"role": "user", "content": "hi", "mood": "good"}, 400, "messages[0].mood"),
        ({"role": "user", "content": "hi", "name": 7}, 400, "messages[0].name"),
        (
            {"role": "user", "content": [{"type": "image_url", "image_url": {}}]},
            501,
            "messages[0].content[0]",
        ),
        ({"role": "user", "content": [{"type": "input_audio"}]}, 501, "messages[0].content[0]"),
        ({"role": "user", "content": "hi", "tool_calls": [{"id": "x"}]}, 400, "messages[0].tool_calls"),
        ({"role": "user", "content": "hi", "tool_call_id": "x"}, 400, "messages[0].tool_call_id"),
        ({"role": "assistant", "content": "hi", "audio": {"id": "x"}}, 501, "messages[0].audio"),
        ({"role": "assistant", "content": "hi", "tool_calls": {"id": "x"}}, 400, "messages[0].tool_calls"),
        ({"role": "assistant", "content": "hi", "function_call": {}}, 400, "messages[0].function_call.name"),
        ({"role": "assistant", "content": "hi", "reasoning": ["x"]}, 400, "messages[0].reasoning"),
        ({"role": "tool", "content": "1"}, 400, "messages[0].tool_call_id"),
        ({"role": "tool", "tool_call_id": "x"}, 400, "messages[0].content"),
        (
            {"role": "tool", "tool_call_id": "x", "content": [{"type": "image_url"}]},
            501,
            "messages[0].content[0]",
        ),
    ],
)
async def test_a_message_that_cannot_be_served_is_refused_by_its_place(
    http: httpx.AsyncClient, message: dict[str, Any], status: int, param: str
) -> None:
    answer = await chat(http, message)
    assert (answer.status_code, answer.json()["error"]["param"]) == (status, param)


@pytest.mark.parametrize(
    ("parameters", "param"),
    [
        ({"max_tokens": 3, "max_completion_tokens": 4}, "max_tokens"),
        ({"top_logprobs": 3}, "top_logprobs"),
        ({"continue_final_message": True}, "continue_final_message"),
        ({"add_generation_prompt": False}, "add_generation_prompt"),
        ({"reasoning_effort": "low"}, "reasoning_effort"),
        ({"reasoning": {"effort": "low"}}, "reasoning"),
        ({"chat_template_kwargs": {"enable_thinking": True}}, "chat_template_kwargs"),
        ({"tool_choice": "required"}, "tool_choice"),
    ],
)
async def test_parameters_that_contradict_each_other_or_the_model_are_refused(
    http: httpx.AsyncClient, parameters: dict[str, Any], param: str
) -> None:
    answer = await chat(http, **parameters)
    assert (answer.status_code, answer.json()["error"]["param"]) == (400, param)


async def test_an_unknown_model_is_a_404(http: httpx.AsyncClient) -> None:
    for stream in (False, True):
        answer = await chat(http, model="nope", stream=stream)
        assert answer.status_code == 404
        error = answer.json()["error"]
        assert (error["type"], error["code"]) == ("not_found_error", "model_not_found")
        assert "nope" in error["message"]


async def test_a_prompt_that_does_not_fit_is_a_400_with_both_lengths(http: httpx.AsyncClient) -> None:
    for stream in (False, True):
        answer = await chat(http, {"role": "user", "content": "x" * 600}, num_ctx=512, stream=stream)
        assert answer.status_code == 400
        error = answer.json()["error"]
        assert (error["code"], error["param"]) == ("context_length_exceeded", "messages")
        assert "512" in error["message"]


async def test_a_cut_that_was_asked_for_is_reported(http: httpx.AsyncClient) -> None:
    messages = [{"role": "user", "content": "x" * 400}, {"role": "user", "content": "y" * 300}]
    whole = (await chat(http, *messages, num_ctx=512, truncate=True)).json()
    assert whole["truncated"]["messages"] == 1
    streamed = events((await chat(http, *messages, num_ctx=512, truncate=True, stream=True)).text)
    assert streamed[0]["truncated"] == whole["truncated"]
    assert not any("truncated" in chunk for chunk in streamed[1:])


async def test_a_full_queue_is_a_503_that_says_when_to_try_again(
    http: httpx.AsyncClient, launcher: ScriptedLauncher
) -> None:
    launcher.fail(ServerBusy("server busy, please try again.", retry_after=3))
    answer = await chat(http)
    assert (answer.status_code, answer.headers["retry-after"]) == (503, "3")
    assert answer.json()["error"]["code"] == "server_busy"


async def test_an_error_after_the_first_byte_is_the_last_event(
    http: httpx.AsyncClient, launcher: ScriptedLauncher
) -> None:
    launcher.script, launcher.die_after = "abcdef", 2
    response = await chat(http, stream=True)
    assert response.status_code == 200
    *chunks, last = events(response.text)
    assert last["error"]["code"] == "runner_died"
    assert last["error"]["type"] == "api_error"
    assert all(chunk["choices"][0]["finish_reason"] is None for chunk in chunks)
    assert "".join(chunk["choices"][0]["delta"].get("content", "") for chunk in chunks) == "ab"


async def test_an_error_while_collecting_is_a_status(
    http: httpx.AsyncClient, launcher: ScriptedLauncher
) -> None:
    launcher.script, launcher.die_after = "abcdef", 2
    answer = await chat(http)
    assert (answer.status_code, answer.json()["error"]["code"]) == (500, "runner_died")


@pytest.mark.parametrize(
    ("method", "path", "status"), [("GET", "chat/completions", 405), ("POST", "nope", 404)]
)
async def test_a_wrong_route_or_method_is_refused_in_openai_shape(
    http: httpx.AsyncClient, method: str, path: str, status: int
) -> None:
    answer = await http.request(method, f"/v1/{path}")
    assert answer.status_code == status
    assert set(answer.json()["error"]) == {"message", "type", "param", "code"}


async def test_a_route_to_come_says_so(http: httpx.AsyncClient) -> None:
    answer = await http.post("/v1/audio/transcriptions", json={})
    assert (answer.status_code, answer.json()["error"]["code"]) == (501, "not_implemented")
