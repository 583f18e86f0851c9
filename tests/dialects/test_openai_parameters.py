"""Every parameter of the OpenAI dialect is honoured, ignored or refused, and the page says which."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import httpx
import pytest
from openai.types.chat.completion_create_params import (
    CompletionCreateParamsNonStreaming,
    CompletionCreateParamsStreaming,
)

from agentkit_server.dialects.openai_chat import ChatBody
from agentkit_server.dialects.openai_completions import CompletionBody
from agentkit_server.dialects.openai_embeddings import EmbeddingBody
from agentkit_server.dialects.openai_parameters import IGNORED, NEUTRAL, NOT_BUILT, REFUSED
from agentkit_server.dialects.rerank import RerankBody

pytestmark = pytest.mark.anyio

PAGE = (Path(__file__).parents[2] / "docs/reference/openai.md").read_text(encoding="utf-8")
HELLO: dict[str, Any] = {"model": "tiny", "messages": [{"role": "user", "content": "hi"}]}


def documented(mark: str) -> str:
    return PAGE.split(f"<!-- {mark} -->")[1].split(f"<!-- /{mark} -->")[0]


def rows(text: str) -> list[list[str]]:
    lines = [line for line in text.splitlines() if line.startswith("| `")]
    return [[cell.strip() for cell in line.strip("|").split("|")] for line in lines]


async def chat(http: httpx.AsyncClient, **parameters: Any) -> httpx.Response:
    return await http.post("/v1/chat/completions", json=HELLO | parameters)


def test_the_documented_ignored_parameters_are_the_ignored_ones() -> None:
    assert set(re.findall(r"`(\w+)`", documented("ignored"))) == IGNORED


def test_the_documented_neutral_values_are_the_accepted_ones() -> None:
    page = {name: (values, status) for name, values, status in rows(documented("neutral"))}
    code = {
        f"`{name}`": (
            ", ".join(f"`{json.dumps(value)}`" for value in values),
            "501" if name in NOT_BUILT else "400",
        )
        for name, values in NEUTRAL.items()
    }
    assert page == code


def test_the_documented_refused_parameters_are_the_refused_ones() -> None:
    assert set(re.findall(r"`(\w+)`", documented("refused"))) == set(REFUSED) - set(NEUTRAL)


def test_every_refusal_has_a_status_and_a_reason() -> None:
    assert set(NEUTRAL) <= set(REFUSED) | NOT_BUILT


def test_every_parameter_of_the_published_client_is_known() -> None:
    fields: set[str] = set()
    for base in (CompletionCreateParamsNonStreaming, CompletionCreateParamsStreaming):
        fields |= base.__annotations__.keys()
    known = {*ChatBody.__struct_fields__, *IGNORED, *NEUTRAL, *NOT_BUILT, *REFUSED}
    assert fields - known == set()
    assert len(fields) > 30


def test_the_documented_missing_parameters_are_the_missing_ones() -> None:
    assert set(re.findall(r"`(\w+)`", documented("not built"))) == NOT_BUILT - set(NEUTRAL)


@pytest.mark.parametrize(
    ("heading", "shape"),
    [
        ("completions only", CompletionBody),
        ("chat/completions only", ChatBody),
        ("embeddings", EmbeddingBody),
        ("rerank", RerankBody),
    ],
)
def test_the_documented_honoured_parameters_are_the_fields(heading: str, shape: type[Any]) -> None:
    own = {row[0].strip("`") for row in rows(section(heading))}
    shared = {row[0].strip("`") for row in rows(section("chat/completions and completions"))}
    expected = set(shape.__struct_fields__)
    alone = heading in ("embeddings", "rerank")
    assert own == (expected if alone else expected - shared)
    assert alone or shared <= expected


def section(heading: str) -> str:
    return re.split(rf"^#+ {re.escape(heading)}$", PAGE, flags=re.MULTILINE)[1].split("\n#")[0]


@pytest.mark.parametrize("name", sorted(IGNORED))
async def test_an_ignored_parameter_may_have_any_value(http: httpx.AsyncClient, name: str) -> None:
    for value in ("x", 1, {"a": "b"}, None):
        assert (await chat(http, **{name: value})).status_code == 200


@pytest.mark.parametrize("name", sorted(NEUTRAL))
async def test_a_neutral_value_is_accepted_and_any_other_refused_by_name(
    http: httpx.AsyncClient, name: str
) -> None:
    for value in (*NEUTRAL[name], None):
        assert (await chat(http, **{name: value})).status_code == 200
    refused = await chat(http, **{name: {"type": "something else"}})
    assert refused.status_code == (501 if name in NOT_BUILT else 400)
    assert refused.json()["error"]["param"] == name


@pytest.mark.parametrize("name", sorted(REFUSED))
async def test_a_refused_parameter_is_a_400_that_says_why(http: httpx.AsyncClient, name: str) -> None:
    refused = await chat(http, **{name: {"type": "something else"}})
    assert (refused.status_code, refused.json()["error"]["code"]) == (400, "unsupported_parameter")
    assert REFUSED[name] in refused.json()["error"]["message"]


async def test_a_feature_to_come_is_a_501_in_openai_shape(http: httpx.AsyncClient) -> None:
    answer = await chat(http, modalities=["audio"])
    assert answer.status_code == 501
    error = answer.json()["error"]
    assert (error["type"], error["param"], error["code"]) == ("api_error", "modalities", "not_implemented")


@pytest.mark.parametrize(
    ("name", "suggestion"),
    [("max_token", "max_tokens"), ("temprature", "temperature"), ("repetition_penalty", "repeat_penalty")],
)
async def test_an_unknown_parameter_close_to_a_known_one_is_suggested(
    http: httpx.AsyncClient, name: str, suggestion: str
) -> None:
    answer = await chat(http, **{name: 1})
    assert answer.status_code == 400
    error = answer.json()["error"]
    assert (error["param"], error["code"]) == (name, "unsupported_parameter")
    assert f"did you mean {suggestion!r}?" in error["message"]


async def test_an_unknown_parameter_far_from_any_is_refused_by_name(http: httpx.AsyncClient) -> None:
    error = (await chat(http, xyzzy=1)).json()["error"]
    assert error["param"] == "xyzzy"
    assert "leave it out" in error["message"]


@pytest.mark.parametrize(
    ("parameter", "value", "param"),
    [
        ("temperature", "hot", "temperature"),
        ("temperature", 2.1, "temperature"),
        ("top_p", -0.1, "top_p"),
        ("n", 0, "n"),
        ("n", 129, "n"),
        ("n", True, "n"),
        ("max_tokens", 0, "max_tokens"),
        ("max_tokens", 1.5, "max_tokens"),
        ("stop", "", "stop"),
        ("stop", ["a", ""], "stop[1]"),
        ("stop", ["x"] * 257, "stop"),
        ("seed", 2**63, "seed"),
        ("logit_bias", {"one": 1}, "logit_bias"),
        ("logit_bias", {"1": 101}, "logit_bias[...]"),
        ("logit_bias", {"-1": 1}, "logit_bias"),
        ("top_logprobs", 21, "top_logprobs"),
        ("frequency_penalty", 3, "frequency_penalty"),
        ("stream", "yes", "stream"),
        ("stream_options", {"include_usages": True}, "stream_options"),
        ("stream_options", {"include_obfuscation": 1}, "stream_options.include_obfuscation"),
        ("service_tier", "gold", "service_tier"),
        ("prompt_cache_key", "x" * 201, "prompt_cache_key"),
        ("messages", "hi", "messages"),
        ("messages", ["hi"], "messages[0]"),
        ("model", 7, "model"),
    ],
)
async def test_a_wrong_type_or_range_is_a_400_that_names_the_parameter_and_the_value(
    http: httpx.AsyncClient, parameter: str, value: object, param: str
) -> None:
    answer = await chat(http, **{parameter: value})
    assert answer.status_code == 400
    error = answer.json()["error"]
    assert (error["param"], error["type"]) == (param, "invalid_request_error")
    assert repr(value)[:50] in error["message"]


@pytest.mark.parametrize(
    ("body", "message"),
    [
        (b"", "missing request body"),
        (b"{", "not valid JSON"),
        (b"[]", "must be a JSON object"),
        (b'{"messages": []}', "model is required"),
        (b'{"model": "tiny"}', "[] is too short - 'messages'"),
        (
            b'{"model": "tiny", "messages": [{"role": "user", "content": "x"}], "temperature": NaN}',
            "not valid JSON",
        ),
    ],
)
async def test_a_malformed_body_is_a_400(http: httpx.AsyncClient, body: bytes, message: str) -> None:
    answer = await http.post("/v1/chat/completions", content=body)
    assert answer.status_code == 400
    assert message in answer.json()["error"]["message"]
