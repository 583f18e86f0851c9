"""POST /api/generate on a scripted engine."""

from __future__ import annotations

import json
from typing import Any

import httpx
import pytest

from agentkit_server.models.store import Store
from agentkit_server.runner.scripted import ScriptedLauncher, ScriptedModel

pytestmark = pytest.mark.anyio


async def generate(http: httpx.AsyncClient, prompt: str = "hi", **fields: Any) -> httpx.Response:
    return await http.post("/api/generate", json={"model": "tiny", "prompt": prompt, **fields})


async def whole(http: httpx.AsyncClient, prompt: str = "hi", **fields: Any) -> dict[str, Any]:
    response = await generate(http, prompt, stream=False, **fields)
    assert response.status_code == 200, response.text
    return response.json()


def prompt_text(launcher: ScriptedLauncher) -> str:
    return launcher.model.decode(launcher.requests[-1].prompt)


async def test_a_stream_is_one_json_object_a_line_and_ends_in_the_numbers(http: httpx.AsyncClient) -> None:
    response = await generate(http)
    lines = [json.loads(line) for line in response.text.splitlines()]
    assert response.headers["content-type"] == "application/x-ndjson"
    assert "".join(line["response"] for line in lines) == "Hello, world!"
    assert [line["done"] for line in lines] == [False] * (len(lines) - 1) + [True]
    last = lines[-1]
    assert last["model"] == "tiny"
    assert last["done_reason"] == "stop"
    assert last["eval_count"] == len("Hello, world!")
    assert last["prompt_eval_count"] > 0
    assert last["prompt_eval_cached_count"] == 0
    for name in ("total_duration", "load_duration", "prompt_eval_duration", "eval_duration"):
        assert isinstance(last[name], int)


async def test_without_streaming_the_same_comes_as_one_object(http: httpx.AsyncClient) -> None:
    answer = await whole(http)
    assert answer["response"] == "Hello, world!"
    assert answer["done"] is True
    assert answer["created_at"].endswith("Z")


async def test_the_prompt_is_written_by_the_models_template(
    http: httpx.AsyncClient, launcher: ScriptedLauncher
) -> None:
    await whole(http, "hi", system="Be brief.")
    assert prompt_text(launcher) == (
        "<|im_start|>system\nBe brief.<|im_end|>\n<|im_start|>user\nhi<|im_end|>\n<|im_start|>assistant\n"
    )


async def test_raw_sends_the_prompt_as_it_stands_and_gives_no_context(
    http: httpx.AsyncClient, launcher: ScriptedLauncher
) -> None:
    answer = await whole(http, "<|im_start|>x", raw=True)
    assert prompt_text(launcher) == "<|im_start|>x"
    assert "context" not in answer


async def test_the_callers_template_replaces_the_models(
    http: httpx.AsyncClient, launcher: ScriptedLauncher
) -> None:
    await whole(http, "hi", template="Q: {{ messages[0].content }} A:")
    assert prompt_text(launcher) == "Q: hi A:"
    await whole(http, "hi", system="s", template="{{ .System }} Q: {{ .Prompt }} A:{{ .Response }}.")
    assert prompt_text(launcher) == "s Q: hi A:"


async def test_the_context_of_one_answer_continues_in_the_next(
    http: httpx.AsyncClient, launcher: ScriptedLauncher
) -> None:
    first = await whole(http, "hi")
    second = await whole(http, "more", context=first["context"])
    before = launcher.model.decode(first["context"])
    assert before.endswith("<|im_start|>assistant\nHello, world!")
    assert prompt_text(launcher) == before + "<|im_start|>user\nmore<|im_end|>\n<|im_start|>assistant\n"
    assert second["prompt_eval_cached_count"] == len(first["context"])


async def test_a_suffix_asks_for_infill(http: httpx.AsyncClient, launcher: ScriptedLauncher) -> None:
    marks = ("<pre>", "<suf>", "<mid>")
    launcher.model = ScriptedModel(control=("<|im_end|>", *marks), eog=("<|im_end|>",), fim=marks, bos="")
    await whole(http, "def f(", suffix="return 1")
    assert prompt_text(launcher) == "<pre>def f(<suf>return 1<mid>"


async def test_a_suffix_on_a_model_without_infill_is_refused(http: httpx.AsyncClient) -> None:
    response = await generate(http, suffix="x")
    assert (response.status_code, response.json()) == (400, {"error": "tiny:latest does not support insert"})


async def test_options_reach_the_engine(http: httpx.AsyncClient, launcher: ScriptedLauncher) -> None:
    options = {"temperature": 0, "seed": 7, "num_predict": 3, "stop": ["zz"], "top_k": 5, "num_ctx": 512}
    answer = await whole(http, options=options)
    request = launcher.requests[-1]
    assert (request.sampling.temperature, request.sampling.seed, request.sampling.top_k) == (0, 7, 5)
    assert (request.max_tokens, request.stop) == (3, ["zz"])
    assert launcher.launches[-1].n_ctx == 512
    assert (answer["response"], answer["done_reason"]) == ("Hel", "length")


async def test_unknown_options_and_fields_are_warned_about_and_change_nothing(
    http: httpx.AsyncClient, caplog: pytest.LogCaptureFixture
) -> None:
    answer = await whole(http, options={"tempreature": 1, "numa": True}, nonsense=1)
    assert answer["response"] == "Hello, world!"
    warned = " ".join(record.message for record in caplog.records)
    assert "tempreature" in warned and "numa" in warned and "nonsense" in warned


async def test_logprobs_come_with_bytes_and_alternatives(http: httpx.AsyncClient) -> None:
    answer = await whole(http, logprobs=True, top_logprobs=2)
    first = answer["logprobs"][0]
    assert (first["token"], first["bytes"]) == ("H", [72])
    assert len(first["top_logprobs"]) == 2
    assert len(answer["logprobs"]) == len("Hello, world!")


async def test_an_empty_prompt_loads_and_with_keep_alive_zero_unloads(
    http: httpx.AsyncClient, launcher: ScriptedLauncher
) -> None:
    loaded = await whole(http, "")
    assert (loaded["done_reason"], loaded["response"]) == ("load", "")
    assert len((await http.get("/api/ps")).json()["models"]) == 1
    unloaded = await whole(http, "", keep_alive=0)
    assert unloaded["done_reason"] == "unload"
    assert (await http.get("/api/ps")).json() == {"models": []}
    assert launcher.requests == []


async def test_a_prompt_that_does_not_fit_is_refused_with_both_lengths(http: httpx.AsyncClient) -> None:
    response = await generate(http, "x" * 300, raw=True, options={"num_ctx": 256})
    assert response.status_code == 400
    assert "300 tokens against 256" in response.json()["error"]


async def test_a_prompt_that_does_not_fit_is_cut_when_asked_and_says_by_how_much(
    http: httpx.AsyncClient, launcher: ScriptedLauncher
) -> None:
    fields = {"raw": True, "truncate": True, "options": {"num_ctx": 256, "num_keep": 2}}
    answer = await whole(http, "ab" + "x" * 298, **fields)
    assert answer["truncated_tokens"] == 300 - answer["prompt_eval_count"]
    assert prompt_text(launcher).startswith("abx")


async def test_a_shifted_answer_says_how_much_was_dropped(
    http: httpx.AsyncClient, launcher: ScriptedLauncher
) -> None:
    launcher.script = "y" * 400
    answer = await whole(http, "x" * 100, raw=True, shift=True, options={"num_ctx": 256})
    assert len(answer["response"]) == 400
    assert answer["truncated_tokens"] > 0


@pytest.mark.parametrize(
    ("fields", "status", "error"),
    [
        ({"model": ""}, 404, "model '' not found"),
        ({"model": "nope"}, 404, "model 'nope' not found"),
        ({"model": "embedder"}, 400, '"embedder" does not support generate'),
        ({"raw": True, "system": "s"}, 400, "raw mode does not support template, system, or context"),
        ({"top_logprobs": 21}, 400, "top_logprobs must be between 0 and 20"),
        ({"think": "very"}, 400, 'invalid think value: "very" (must be "high", "medium", "low", "max", true'),
        ({"think": True}, 400, '"tiny" does not support thinking'),
        ({"_debug_render_only": True}, 501, "_debug_render_only is not built yet"),
        ({"images": ["aGk="]}, 501, "images are not built yet"),
        ({"template": "{{ if .Prompt }}"}, 400, "line 1, column"),
        ({"options": {"top_k": "many"}}, 400, 'option "top_k" must be of type integer'),
        ({"options": {"num_ctx": -5}}, 400, "num_ctx"),
        ({"options": {"num_ctx": 10**12}}, 400, "num_ctx"),
        ({"stream": "yes"}, 400, 'invalid field "stream": expected boolean, got string'),
        ({"prompt": 5}, 400, 'invalid field "prompt": expected string, got integer'),
        ({"keep_alive": "soon"}, 400, "invalid keep_alive 'soon'"),
        ({"context": [-1]}, 400, "token id -1 is outside the vocabulary"),
        ({"context": ["a"]}, 400, 'invalid field "context[0]": expected integer'),
    ],
)
async def test_a_request_that_cannot_be_carried_out_says_why(
    http: httpx.AsyncClient, fields: dict[str, Any], status: int, error: str
) -> None:
    response = await generate(http, **fields)
    assert response.status_code == status
    assert error in response.json()["error"]


async def test_neutral_values_of_features_to_come_are_accepted(
    http: httpx.AsyncClient, caplog: pytest.LogCaptureFixture
) -> None:
    nothing = {"keep_alive": None, "system": None, "_debug_render_only": False}
    answer = await whole(http, think=False, format="", images=[], options=None, **nothing)
    assert caplog.text == ""
    assert answer["response"] == "Hello, world!"


async def test_a_model_without_a_template_continues_the_bare_prompt(
    http: httpx.AsyncClient, launcher: ScriptedLauncher, store: Store
) -> None:
    assert store.resolve("base").gguf.chat_template is None
    await whole(http, "Once", model="base")
    assert prompt_text(launcher) == "Once"
