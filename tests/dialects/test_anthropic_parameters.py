"""Every parameter of an Anthropic request is honoured, accepted because it cannot matter, or refused."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import anyio
import httpx
import pytest
from hypothesis import given as given_any
from hypothesis import strategies as st
from support.anthropic_requests import USER, turn

from agentkit_server.dialects.anthropic_blocks import NOT_BUILT as NOT_BUILT_BLOCKS
from agentkit_server.dialects.anthropic_known_tools import KNOWN_TOOLS
from agentkit_server.dialects.anthropic_parameters import IGNORED, NOT_BUILT, REFUSED, MessagesBody
from agentkit_server.errors import AgentkitError, BadRequest, NotBuiltYet, UnsupportedParameter
from agentkit_server.runner.scripted import ScriptedLauncher
from agentkit_server.turn.types import ResponseFormat

pytestmark = pytest.mark.anyio

SCHEMA = {"type": "object", "properties": {"a": {"type": "integer"}}, "required": ["a"]}
PAGE = Path(__file__).parents[2] / "docs" / "reference" / "anthropic.md"


def test_sampling_goes_under_its_native_names() -> None:
    asked = turn(
        max_tokens=7, temperature=0.5, top_p=0.9, top_k=40, stop_sequences=["\n\nHuman:", "END"], stream=True
    )
    assert asked.options == {
        "num_predict": 7,
        "temperature": 0.5,
        "top_p": 0.9,
        "top_k": 40,
        "stop": ["\n\nHuman:", "END"],
    }
    assert (turn().defaults.temperature, turn().defaults.top_p, turn().defaults.top_k) == (1.0, 1.0, 0)


def test_extensions_are_those_of_the_other_dialects() -> None:
    asked = turn(num_ctx=512, keep_alive="5m", truncate=True, max_seconds=9, run_id="r1")
    assert (asked.load.num_ctx, asked.keep_alive, asked.truncate) == (512, "5m", True)
    assert (asked.max_seconds, asked.run_id) == (9, "r1")


@pytest.mark.parametrize(
    ("given", "think", "if_able", "budget"),
    [
        ({}, False, False, None),
        ({"thinking": {"type": "disabled"}}, False, False, None),
        ({"thinking": {"type": "enabled", "budget_tokens": 1024}}, True, False, 1024),
        ({"thinking": {"type": "adaptive", "block_binding": {}}}, True, True, None),
        (
            {"thinking": {"type": "adaptive"}, "output_config": {"effort": "high"}},
            "high",
            True,
            None,
        ),
        ({"output_config": {"effort": "max"}}, False, False, None),
    ],
)
def test_thinking_is_asked_for(given: dict[str, Any], think: Any, if_able: bool, budget: int | None) -> None:
    asked = turn(max_tokens=2000, **given)
    assert (asked.think, asked.think_if_able, asked.thinking_budget) == (think, if_able, budget)


async def test_a_model_that_cannot_think_need_not_when_it_may_choose(http: httpx.AsyncClient) -> None:
    body = {"model": "tiny", "max_tokens": 2000, "messages": [USER]}
    adaptive = {"thinking": {"type": "adaptive"}, "output_config": {"effort": "high"}}
    answer = (await http.post("/v1/messages", json={**body, **adaptive})).json()
    assert [block["type"] for block in answer["content"]] == ["text"]
    counted = await http.post("/v1/messages/count_tokens", json={**body, **adaptive})
    assert counted.json()["input_tokens"] == answer["usage"]["input_tokens"]
    budget = {"thinking": {"type": "enabled", "budget_tokens": 1024}}
    refused = await http.post("/v1/messages", json={**body, **budget})
    assert (refused.status_code, refused.json()["error"]["param"]) == (400, "thinking")


@pytest.mark.parametrize(
    "given",
    [
        {"output_config": {"format": {"type": "json_schema", "schema": SCHEMA}}},
        {"output_format": {"type": "json_schema", "schema": SCHEMA}, "output_config": {"effort": "low"}},
    ],
)
def test_an_answer_is_bound_to_a_schema(given: dict[str, Any]) -> None:
    assert turn(**given).response_format == ResponseFormat(kind="json_schema", value=SCHEMA)


@pytest.mark.parametrize("name", sorted(IGNORED))
def test_what_cannot_matter_is_accepted_with_any_value(name: str) -> None:
    assert turn(**{name: {"any": ["thing"]}}) == turn()


@pytest.mark.parametrize("name", sorted(NOT_BUILT))
def test_what_is_not_built_is_a_501_unless_it_is_empty(name: str) -> None:
    with pytest.raises(NotBuiltYet, match=name) as refused:
        turn(**{name: {"type": "x"}})
    assert refused.value.param == name
    assert turn(**{name: []}) == turn(**{name: None}) == turn()


async def test_a_thread_is_refused_in_the_words_that_clients_look_for(http: httpx.AsyncClient) -> None:
    body = {"model": "tiny", "max_tokens": 9, "messages": [USER], "thread": {"type": "create"}}
    answer = await http.post("/v1/messages", json=body)
    error = answer.json()["error"]
    assert (answer.status_code, error["param"]) == (400, "thread")
    assert error["details"] == {"error_code": "thread_unsupported_request", "unsupported": ["thread"]}


@pytest.mark.parametrize(
    ("given", "kind", "where"),
    [
        ({"model": ""}, BadRequest, "model"),
        ({"messages": []}, BadRequest, "messages"),
        ({"messages": "hi"}, BadRequest, "messages"),
        ({"max_tokens": -1}, BadRequest, "max_tokens"),
        ({"max_tokens": "many"}, BadRequest, "max_tokens"),
        ({"temperature": -1}, BadRequest, "temperature"),
        ({"top_p": 2}, BadRequest, "top_p"),
        ({"stop_sequences": [""]}, BadRequest, "stop_sequences[0]"),
        ({"stop_sequences": "END"}, BadRequest, "stop_sequences"),
        ({"system": [{"type": "image"}]}, BadRequest, "system[0].type"),
        ({"thinking": {"type": "between_tools"}}, BadRequest, "thinking.type"),
        ({"thinking": {"type": "enabled"}}, BadRequest, "thinking"),
        ({"thinking": {"type": "enabled", "budget_tokens": 9}}, BadRequest, "thinking.budget_tokens"),
        ({"output_config": {"effort": "huge"}}, BadRequest, "output_config.effort"),
        ({"output_config": {"task_budget": {"total": 9}}}, NotBuiltYet, "output_config.task_budget"),
        (
            {
                "output_config": {"format": {"type": "json_schema", "schema": SCHEMA}},
                "output_format": {"type": "json_schema", "schema": SCHEMA},
            },
            BadRequest,
            "output_format",
        ),
        (
            {
                "output_config": {"format": {"type": "json_schema", "schema": SCHEMA}},
                "messages": [USER, {"role": "assistant", "content": "{"}],
            },
            BadRequest,
            "output_config.format",
        ),
        (
            {"context_management": {"edits": [{"type": "clear_tool_uses_20250919"}]}},
            NotBuiltYet,
            "context_management.edits[0]",
        ),
        ({"max_token": 9}, UnsupportedParameter, "max_token"),
        ({"seed": 9}, UnsupportedParameter, "seed"),
    ],
)
def test_what_cannot_be_done_is_refused_by_name(
    given: dict[str, Any], kind: type[AgentkitError], where: str
) -> None:
    with pytest.raises(kind, match=re.escape(where)) as refused:
        turn(**given)
    assert refused.value.param == where


def test_a_name_that_is_nearly_right_is_suggested() -> None:
    with pytest.raises(UnsupportedParameter, match="did you mean 'stop_sequences'"):
        turn(stop_sequence=["x"])


async def test_thoughts_that_are_all_kept_are_said_to_be(http: httpx.AsyncClient) -> None:
    kept = {"edits": [{"type": "clear_thinking_20251015", "keep": "all"}]}
    body = {"model": "tiny", "max_tokens": 9, "messages": [USER], "context_management": kept}
    answer = (await http.post("/v1/messages?beta=true", json=body)).json()
    assert answer["context_management"] == {"applied_edits": []}
    counted = (await http.post("/v1/messages/count_tokens", json=body)).json()
    assert counted["context_management"] == {"original_input_tokens": counted["input_tokens"]}


async def test_a_schema_that_cannot_be_enforced_is_refused_with_its_problems(
    http: httpx.AsyncClient, launcher: ScriptedLauncher
) -> None:
    format = {"type": "json_schema", "schema": {"type": "object", "properties": 7}}
    body = {"model": "tiny", "max_tokens": 9, "messages": [USER], "output_config": {"format": format}}
    answer = await http.post("/v1/messages", json=body)
    error = answer.json()["error"]
    assert (answer.status_code, error["code"]) == (400, "schema_refused")
    assert (error["param"], error["problems"][0]["keyword"]) == ("output_config.format", "properties")
    assert launcher.launches == []


async def test_count_tokens_counts_what_does_not_fit_and_needs_no_max_tokens(
    http: httpx.AsyncClient, launcher: ScriptedLauncher
) -> None:
    long = {"model": "tiny", "num_ctx": 64, "messages": [{"role": "user", "content": "word " * 100}]}
    counted = (await http.post("/v1/messages/count_tokens", json=long)).json()["input_tokens"]
    assert counted > 500 and launcher.requests == []
    refused = await http.post("/v1/messages", json={**long, "max_tokens": 9})
    assert refused.status_code == 400
    assert f"prompt is too long: {counted} tokens > " in refused.json()["error"]["message"]


async def test_an_answer_without_a_limit_is_refused(http: httpx.AsyncClient) -> None:
    answer = await http.post("/v1/messages", json={"model": "tiny", "messages": [USER]})
    assert (answer.status_code, answer.json()["error"]["param"]) == (400, "max_tokens")


async def test_a_context_that_is_full_is_no_limit_of_the_callers(
    http: httpx.AsyncClient, launcher: ScriptedLauncher
) -> None:
    launcher.script = "word " * 1000
    body = {"model": "tiny", "num_ctx": 256, "messages": [USER]}
    answer = (await http.post("/v1/messages", json={**body, "max_tokens": 32000})).json()
    assert answer["stop_reason"] == "model_context_window_exceeded"
    answer = (await http.post("/v1/messages", json={**body, "max_tokens": 32})).json()
    assert (answer["stop_reason"], answer["usage"]["output_tokens"]) == ("max_tokens", 32)


async def test_an_answer_ends_at_its_deadline_and_says_so(
    http: httpx.AsyncClient, launcher: ScriptedLauncher
) -> None:
    body = {"model": "tiny", "max_tokens": 99, "messages": [USER]}
    await http.post("/v1/messages", json=body)
    [runner] = launcher.runners
    runner.hold, runner.hold_after = anyio.Event(), len("Hello, world!") + 5
    with anyio.fail_after(10):
        answer = (await http.post("/v1/messages", json={**body, "max_seconds": 0.5})).json()
    assert answer["content"][0]["text"] == "Hello"
    assert (answer["stop_reason"], answer["ended_by"]) == ("max_tokens", "deadline")


NAMES = """
    type text tool_use tool_result thinking image document source content input id name role system user edits
    assistant input_schema enabled budget_tokens adaptive any tool json_schema schema tools
"""
WORDS = st.sampled_from([*NAMES.split(), "", "\x00"])
VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | WORDS,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(WORDS, inner, max_size=4),
    max_leaves=8,
)


@pytest.mark.parametrize("name", sorted(MessagesBody.__struct_fields__))
@given_any(value=VALUES)
def test_whatever_stands_in_a_field_is_read_or_refused(name: str, value: Any) -> None:
    try:
        turn(**{name: value})
    except (BadRequest, NotBuiltYet) as refused:
        assert refused.message and refused.param


@given_any(blocks=st.lists(st.dictionaries(WORDS, VALUES, max_size=5), max_size=3), role=WORDS)
def test_whatever_stands_in_a_message_is_read_or_refused(blocks: Any, role: str) -> None:
    try:
        asked = turn(messages=[{"role": role, "content": blocks}])
    except (BadRequest, NotBuiltYet) as refused:
        assert refused.message and (refused.param or "").startswith("messages")
    else:
        assert all(isinstance(message["content"], str) for message in asked.prompt.messages)  # pyright: ignore


@pytest.mark.parametrize(
    ("mark", "names"),
    [
        ("ignored", IGNORED),
        ("not built", NOT_BUILT),
        ("refused", REFUSED),
        ("blocks", NOT_BUILT_BLOCKS),
        ("known tools", KNOWN_TOOLS),
    ],
)
def test_the_page_lists_what_the_code_does(mark: str, names: Any) -> None:
    listed = re.search(f"<!-- {mark} -->(.*?)<!-- /{mark} -->", PAGE.read_text(), re.DOTALL)
    assert listed is not None
    assert re.findall(r"`([a-z0-9_]+)`", listed[1]) == sorted(names)


def test_the_page_has_a_row_for_every_parameter_that_is_honoured() -> None:
    rows = re.findall(r"^\| `([a-z_]+)` \|", PAGE.read_text(), re.MULTILINE)
    assert set(rows) >= set(MessagesBody.__struct_fields__)
