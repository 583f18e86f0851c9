"""What the model reads of an Anthropic request: system, blocks, calls, results, thoughts, a begun answer."""

from __future__ import annotations

import re
from typing import Any

import httpx
import pytest
from support.anthropic_requests import USER, read, result, text, turn

from agentkit_server.dialects.anthropic_thinking import MOST_HELD_BYTES, signature
from agentkit_server.errors import AgentkitError, BadRequest, NotBuiltYet
from agentkit_server.runner.scripted import ScriptedLauncher

pytestmark = pytest.mark.anyio


@pytest.mark.parametrize(
    "system",
    [
        "Be brief.\nBe kind.",
        [text("Be brief."), text("Be kind.", cache_control={"type": "ephemeral", "ttl": "1h"})],
        [text("x-anthropic-billing-header: cc_version=9;"), text("Be brief."), text("Be kind.")],
    ],
)
def test_system_is_a_text_or_blocks_and_says_nothing_of_billing(system: Any) -> None:
    said = {"role": "system", "content": "Be brief.\nBe kind."}
    assert read(USER, system=system) == (said, USER)


def test_a_system_message_may_stand_in_the_list() -> None:
    late = {"role": "system", "content": [text("Be kind.")]}
    assert read(USER, late, system="Be brief.") == (
        {"role": "system", "content": "Be brief."},
        USER,
        {"role": "system", "content": "Be kind."},
    )


def test_a_system_message_that_is_to_be_cleared_goes_at_the_next_message_of_the_user() -> None:
    brief = {"role": "system", "content": "Be brief.", "clear_at": "next_user_message"}
    said = {"role": "system", "content": "Be brief."}
    assert read(USER, brief) == (USER, said)
    assert read(USER, brief, {"role": "assistant", "content": "yes"}, USER)[1]["role"] == "assistant"


def test_the_effort_of_the_newest_system_message_counts() -> None:
    later = {"role": "system", "content": "Now think.", "output_config": {"effort": "xhigh"}}
    asked = {"thinking": {"type": "adaptive"}, "output_config": {"effort": "low"}}
    assert turn(**asked).think == "low"
    assert turn(messages=[USER, later], **asked).think == "max"


def test_blocks_of_a_user_are_joined() -> None:
    document = {
        "type": "document",
        "title": "Notes",
        "source": {"type": "text", "media_type": "text/plain", "data": "one"},
        "citations": {"enabled": False},
    }
    parts = {"type": "document", "source": {"type": "content", "content": [text("two"), text("three")]}}
    found = {"type": "search_result", "source": "http://a", "title": 'A "b"', "content": [text("four")]}
    [said] = read({"role": "user", "content": [text("see"), document, parts, found]})
    assert said == {
        "role": "user",
        "content": 'see\n<document title="Notes">\none\n</document>\n<document>\ntwo\nthree\n</document>\n'
        '<search_result title="A \\"b\\"" source="http://a">\nfour\n</search_result>',
    }


def test_calls_and_their_results_are_messages_of_their_own() -> None:
    call = {"type": "tool_use", "id": "toolu_1", "name": "f", "input": {"a": 1}, "caller": {"type": "direct"}}
    said = read(
        USER,
        {"role": "assistant", "content": [text("let me see"), call]},
        {"role": "user", "content": [result([text("x"), text("y")]), text("and?")]},
    )
    assert said[1:] == (
        {
            "role": "assistant",
            "content": "let me see",
            "tool_calls": [
                {"id": "toolu_1", "type": "function", "function": {"name": "f", "arguments": {"a": 1}}}
            ],
        },
        {"role": "tool", "tool_call_id": "toolu_1", "content": "x\ny"},
        {"role": "user", "content": "and?"},
    )


@pytest.mark.parametrize(
    ("block", "content"),
    [
        (result(None), ""),
        (result("done"), "done"),
        (result("no", is_error=True), "Error: no"),
        (result("yes", is_error=False), "yes"),
        (result([]), ""),
    ],
)
def test_a_result_may_be_empty_and_an_error_says_so(block: dict[str, Any], content: str) -> None:
    assert read({"role": "user", "content": [block]})[0]["content"] == content


def test_thoughts_are_told_apart_from_the_answer() -> None:
    thought = {"type": "thinking", "thinking": "hm", "signature": signature("hm", shown=True)}
    omitted = {"type": "thinking", "thinking": "", "signature": signature("well…", shown=False)}
    foreign = {"type": "thinking", "thinking": "so", "signature": "EqQBCgIYAhIM"}
    unsigned = {"type": "thinking", "thinking": "ah", "signature": None}
    hidden = {"type": "redacted_thinking", "data": "…"}
    blocks = [thought, omitted, foreign, unsigned, hidden, text("4")]
    said = read(USER, {"role": "assistant", "content": blocks}, USER)
    assert said[1] == {"role": "assistant", "content": "4", "thinking": "hm\nwell…\nso\nah"}


@pytest.mark.parametrize(
    "block",
    [
        {"type": "thinking", "thinking": "hm!", "signature": signature("hm", shown=True)},
        {"type": "thinking", "thinking": "", "signature": signature("hm", shown=False)[:-4]},
        {"type": "thinking", "thinking": "", "signature": "agentkit-held-%%%"},
        {"type": "thinking", "thinking": "", "signature": signature("half a character: \ud83d", shown=False)},
    ],
)
def test_thoughts_that_were_changed_are_refused(block: dict[str, Any]) -> None:
    with pytest.raises(BadRequest, match=r"messages\[1\]\.content\[0\].*as it came"):
        read(USER, {"role": "assistant", "content": [block]}, USER)


def test_signatures_of_a_request_hold_so_much_in_all() -> None:
    most = {"type": "thinking", "thinking": "", "signature": signature("a" * MOST_HELD_BYTES, shown=False)}
    more = {"type": "thinking", "thinking": "", "signature": signature("a", shown=False)}
    assert len(read(USER, {"role": "assistant", "content": [most]}, USER)[1]["thinking"]) == MOST_HELD_BYTES
    with pytest.raises(BadRequest, match=r"messages\[3\]\.content\[0\]\.signature holds too much"):
        read(
            USER,
            {"role": "assistant", "content": [most]},
            USER,
            {"role": "assistant", "content": [more]},
            USER,
        )


async def test_a_begun_answer_is_continued(http: httpx.AsyncClient, launcher: ScriptedLauncher) -> None:
    launcher.script = "(B)"
    begun = {"role": "assistant", "content": "The answer is "}
    body = {"model": "tiny", "max_tokens": 9, "messages": [USER, begun]}
    answer = (await http.post("/v1/messages", json=body)).json()
    assert answer["content"][0]["text"] == "(B)"
    assert launcher.model.decode(launcher.requests[0].prompt).endswith("The answer is ")


IMAGE = {"type": "image", "source": {"type": "base64", "media_type": "image/png", "data": "aGk="}}
PDF = {"type": "document", "source": {"type": "base64", "media_type": "application/pdf", "data": "aGk="}}


@pytest.mark.parametrize(
    ("message", "kind", "where"),
    [
        ({"role": "user", "content": [IMAGE]}, NotBuiltYet, "messages[1].content[0]"),
        (
            {"role": "user", "content": [result([text("see"), IMAGE])]},
            NotBuiltYet,
            "messages[1].content[0].content[1]",
        ),
        ({"role": "user", "content": [text(""), PDF]}, NotBuiltYet, "messages[1].content[1].source"),
        (
            {"role": "assistant", "content": [{"type": "server_tool_use"}]},
            NotBuiltYet,
            "messages[1].content[0]",
        ),
        ({"role": "user", "content": []}, BadRequest, "messages[1].content"),
        ({"role": "user", "content": 7}, BadRequest, "messages[1].content"),
        ({"role": "tool", "content": "x"}, BadRequest, "messages[1].role"),
        ({"role": "user", "content": [{"type": "telepathy"}]}, BadRequest, "messages[1].content[0].type"),
        ({"role": "user", "content": [text("x", font="bold")]}, BadRequest, "messages[1].content[0]"),
        ({"role": "user", "content": "x", "clear_at": "never"}, BadRequest, "messages[1].clear_at"),
        (
            {"role": "user", "content": [{"type": "tool_use", "id": "1", "name": "f", "input": {}}]},
            BadRequest,
            "messages[1].content[0]",
        ),
        ({"role": "assistant", "content": [result("x")]}, BadRequest, "messages[1].content[0]"),
        ({"role": "system", "content": [result("x")]}, BadRequest, "messages[1].content[0]"),
        (
            {"role": "user", "content": [result([{"type": "tool_reference", "tool_name": "f"}])]},
            BadRequest,
            "messages[1].content[0].content[0]",
        ),
        (
            {"role": "user", "content": [{**PDF, "source": {"type": "content", "content": [IMAGE]}}]},
            NotBuiltYet,
            "messages[1].content[0].source.content[0]",
        ),
    ],
)
def test_a_block_that_cannot_be_read_is_refused_by_its_place(
    message: dict[str, Any], kind: type[AgentkitError], where: str
) -> None:
    with pytest.raises(kind, match=re.escape(where)) as refused:
        read(USER, message)
    assert refused.value.param == where


async def test_a_request_of_claude_code_is_answered_and_its_billing_costs_no_prefix(
    http: httpx.AsyncClient, launcher: ScriptedLauncher
) -> None:
    body: dict[str, Any] = {
        "model": "tiny",
        "max_tokens": 32000,
        "stream": True,
        "system": [
            text("x-anthropic-billing-header: cc_version=2.1.197.3b4; cc_entrypoint=sdk-cli;"),
            text("You are an agent.", cache_control={"type": "ephemeral"}),
        ],
        "messages": [
            {"role": "user", "content": [text("<system-reminder>…</system-reminder>"), text("hi")]},
            {"role": "system", "content": "Agent types: none."},
        ],
        "tools": [{"name": "Bash", "input_schema": {"type": "object", "properties": {}}}],
        "metadata": {"user_id": "{}"},
        "thinking": {"type": "adaptive"},
        "context_management": {"edits": [{"type": "clear_thinking_20251015", "keep": "all"}]},
        "output_config": {"effort": "high"},
    }
    betas = {"anthropic-beta": "claude-code-20250219,effort-2025-11-24", "anthropic-version": "2023-06-01"}
    first = await http.post("/v1/messages?beta=true", json=body, headers=betas)
    assert "event: message_stop" in first.text
    body["system"][0] = text("x-anthropic-billing-header: cc_version=2.1.197.9ff; cch=00000;")
    again = await http.post("/v1/messages?beta=true", json=body, headers=betas)
    assert '"input_tokens":1,' in again.text
    prompts = [launcher.model.decode(request.prompt) for request in launcher.requests]
    assert prompts[0] == prompts[1] and "billing" not in prompts[0] and "Agent types: none." in prompts[0]
