"""The published clients for JavaScript, unchanged, against a live server. They are installed once from npm,
at these versions, into the user's cache."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from anyio import to_thread
from support import npm
from support.scripted_server import Replies

from agentkit_server.runner.scripted import ScriptedLauncher

pytestmark = pytest.mark.anyio

PACKAGES = ("openai@7.57.0", "@anthropic-ai/sdk@1.14.0", "zod@4.6.7")
PROGRAMS = Path(__file__).resolve().parents[1] / "javascript"
TEXT = "Hello, world!"
FACT = {"city": "Oslo", "days": 2}
CALL = f'<tool_call>\n{{"name": "weather", "arguments": {json.dumps(FACT)}}}\n</tool_call>'
THOUGHT = "<think>\nTwo and two.\n</think>\n\n"
MILD = "mild in Oslo for 2 days"

Run = Callable[..., Any]


@pytest.fixture(scope="session")
def packages() -> Path:
    """The folder of the installed clients, skipped where node or what it needs is not there."""
    try:
        return npm.installed(*PACKAGES)
    except npm.NotInstalled as error:
        pytest.skip(str(error))


@pytest.fixture
def run(packages: Path, live_server: str, tmp_path: Path) -> Run:
    """Runs a scenario of a program and returns what it printed."""

    async def ran(program: str, scenario: str) -> Any:
        # node looks for packages beside the program.
        (packages / program).write_bytes((PROGRAMS / program).read_bytes())
        command = ["node", str(packages / program), live_server, scenario]
        done = await to_thread.run_sync(
            lambda: subprocess.run(command, capture_output=True, text=True, check=False, timeout=60)
        )
        assert done.returncode == 0, done.stderr
        return json.loads(done.stdout)

    return ran


async def test_openai_chat(run: Run) -> None:
    answer = await run("openai.mjs", "chat")
    assert (answer["text"], answer["reason"]) == (TEXT, "stop")
    assert answer["usage"]["completion_tokens"] == len(TEXT)


async def test_openai_chat_stream_helper(run: Run) -> None:
    answer = await run("openai.mjs", "chat_stream")
    assert (answer["heard"], answer["text"]) == (TEXT, TEXT)
    assert answer["usage"]["completion_tokens"] == len(TEXT)


@pytest.mark.parametrize("scenario", ["chat_parse", "responses_parse"])
async def test_openai_parses_what_zod_describes(run: Run, launcher: ScriptedLauncher, scenario: str) -> None:
    launcher.script = json.dumps(FACT)
    assert await run("openai.mjs", scenario) == FACT


async def test_openai_runs_tools(run: Run, launcher: ScriptedLauncher) -> None:
    launcher.script = Replies([CALL, TEXT])
    answer = await run("openai.mjs", "chat_tools")
    assert answer == {"text": TEXT, "roles": ["user", "assistant", "tool", "assistant"]}
    assert MILD in launcher.model.decode(launcher.requests[-1].prompt)


async def test_openai_responses_are_kept_continued_and_deleted(run: Run) -> None:
    assert await run("openai.mjs", "responses") == {
        "text": TEXT,
        "status": "completed",
        "kept": TEXT,
        "items": ["message", "message", "message"],
        "gone": 404,
    }


async def test_openai_responses_stream_helper(run: Run) -> None:
    answer = await run("openai.mjs", "responses_stream")
    assert (answer["heard"], answer["text"]) == (TEXT, TEXT)
    assert (answer["first"], answer["last"]) == ("response.created", "response.completed")
    assert answer["usage"]["output_tokens"] == len(TEXT)


async def test_openai_responses_take_the_results_of_tools(run: Run, launcher: ScriptedLauncher) -> None:
    launcher.script = Replies([CALL, TEXT])
    assert await run("openai.mjs", "responses_tools") == {"called": FACT, "text": TEXT}
    assert MILD in launcher.model.decode(launcher.requests[-1].prompt)


async def test_openai_embeddings(run: Run) -> None:
    sizes = await run("openai.mjs", "embeddings")
    assert len(sizes) == 2 and sizes[0] == sizes[1] > 0


async def test_openai_models(run: Run) -> None:
    answer = await run("openai.mjs", "models")
    assert answer["one"] == "tiny:latest"
    assert {"tiny", "thinker", "embedder"} <= {name.removesuffix(":latest") for name in answer["names"]}


async def test_openai_errors_have_their_class(run: Run) -> None:
    error = await run("openai.mjs", "mistake")
    assert (error["kind"], error["status"]) == ("NotFoundError", 404)
    assert "nobody" in error["message"]


async def test_openai_streams_can_be_left(run: Run) -> None:
    assert await run("openai.mjs", "abort") == TEXT


async def test_anthropic_message_and_its_count(run: Run) -> None:
    message = await run("anthropic.mjs", "message")
    assert (message["text"], message["reason"]) == (TEXT, "end_turn")
    assert message["input"] == message["counted"] > 0


async def test_anthropic_stream_helper(run: Run) -> None:
    assert await run("anthropic.mjs", "stream") == {"heard": TEXT, "text": TEXT, "reason": "end_turn"}


async def test_anthropic_thinking_comes_back_in_the_next_request(
    run: Run, launcher: ScriptedLauncher
) -> None:
    launcher.script = f"{THOUGHT}Four."
    answer = await run("anthropic.mjs", "thinking")
    assert answer == {
        "kinds": ["thinking", "text"],
        "thought": "Two and two.",
        "signed": True,
        "text": "Four.",
        "again": "Four.",
    }


async def test_anthropic_parses_what_zod_describes(run: Run, launcher: ScriptedLauncher) -> None:
    launcher.script = json.dumps(FACT)
    assert await run("anthropic.mjs", "parse") == FACT


async def test_anthropic_runs_tools(run: Run, launcher: ScriptedLauncher) -> None:
    launcher.script = Replies([CALL, TEXT])
    assert await run("anthropic.mjs", "tools") == {"text": TEXT, "turns": 4}
    assert MILD in launcher.model.decode(launcher.requests[-1].prompt)


async def test_anthropic_errors_have_their_class(run: Run) -> None:
    error = await run("anthropic.mjs", "mistake")
    assert error == {"kind": "NotFoundError", "status": 404, "type": "not_found_error"}
