from __future__ import annotations

import json
from pathlib import Path

import pytest
from scripted_native import Script

pytestmark = pytest.mark.usefixtures("server")


def test_a_prompt_is_answered_on_stdout_and_nothing_else_is(command) -> None:
    result = command("run", "tiny", "Why", "is the sky blue?")
    assert result.stdout == "The sky is blue.\n"
    assert result.stderr == ""


def test_piped_text_comes_before_the_prompt(command, script: Script) -> None:
    command("run", "tiny", "Summarise", input="A long text.")
    assert script.bodies("/api/generate")[0]["prompt"] == "A long text. Summarise"


def test_piped_text_alone_is_the_prompt(command, script: Script) -> None:
    command("run", "tiny", input="Hello")
    assert script.bodies("/api/generate")[0]["prompt"] == "Hello"


def test_options_reach_the_server(command, script: Script) -> None:
    command("run", "tiny", "hi", "--keepalive", "10m", "--think", "--nowordwrap")
    body = script.bodies("/api/generate")[0]
    assert (body["keep_alive"], body["think"]) == ("10m", True)


def test_keepalive_in_seconds_is_a_number(command, script: Script) -> None:
    command("run", "tiny", "hi", "--keepalive", "-1")
    assert script.bodies("/api/generate")[0]["keep_alive"] == -1


def test_verbose_shows_statistics_on_stderr(command) -> None:
    result = command("run", "tiny", "hi", "--verbose")
    assert result.stdout == "The sky is blue.\n"
    lines = dict(line.split(":", 1) for line in result.stderr.split("\n") if line)
    assert {name: value.strip() for name, value in lines.items()} == {
        "total duration": "2.5s",
        "load duration": "500ms",
        "prompt eval count": "12 token(s)",
        "prompt eval duration": "100ms",
        "prompt eval rate": "120.00 tokens/s",
        "prompt cached count": "8 token(s)",
        "eval count": "4 token(s)",
        "eval duration": "2s",
        "eval rate": "2.00 tokens/s",
    }


def test_a_missing_model_is_pulled_first(command, script: Script) -> None:
    result = command("run", "new", "hi", "--insecure")
    assert result.stdout == "The sky is blue.\n"
    assert "pulling manifest" in result.stderr
    assert script.bodies("/api/pull")[0]["insecure"] is True


def test_thinking_is_framed(command, script: Script) -> None:
    script.models["thinker:latest"] = "d" * 64
    assert command("run", "thinker", "hi").stdout == (
        "Thinking...\nHmm, colours.\n...done thinking.\n\nThe sky is blue.\n"
    )
    assert command("run", "thinker", "hi", "--hidethinking").stdout == "The sky is blue.\n"


def test_an_error_midway_ends_with_exit_code_1_after_what_came(command, script: Script) -> None:
    script.models["broken:latest"] = "d" * 64
    result = command("run", "broken", "hi")
    assert result.stdout == "The sky\n"
    assert result.stderr == "Error: model runner has unexpectedly stopped\n"
    assert result.exit_code == 1


def test_what_the_server_refuses_is_told(command) -> None:
    result = command("run", "tiny", "hi", "--format", '{"not": {}}')
    assert result.exit_code == 1
    assert result.stderr == "Error: the JSON schema cannot be enforced:\n- /not: not: cannot be negated\n"


def test_a_format_is_json_a_schema_or_a_file_with_one(command, script: Script, tmp_path: Path) -> None:
    file = tmp_path / "schema.json"
    file.write_text('{"type": "array"}')
    for given in ("json", '{"type": "object"}', str(file)):
        assert command("run", "tiny", "hi", "--format", given).exit_code == 0
    formats = [body["format"] for body in script.bodies("/api/generate")]
    assert formats == ["json", {"type": "object"}, {"type": "array"}]


@pytest.mark.parametrize("content", [b"[1]", b"{", b"\xff", b" " * (1 << 20) + b" {}", b"[" * 100_000])
def test_a_file_without_a_schema_is_wrong_usage(
    command, script: Script, tmp_path: Path, content: bytes
) -> None:
    file = tmp_path / "schema.json"
    file.write_bytes(content)
    assert command("run", "tiny", "hi", "--format", str(file)).exit_code == 2
    assert script.requests == []


@pytest.mark.parametrize("given", ['{"type"', "xml", "/absent.json", "x" * 5000])
def test_what_is_no_format_is_wrong_usage(command, script: Script, given: str) -> None:
    result = command("run", "tiny", "hi", "--format", given)
    assert (result.exit_code, script.requests) == (2, [])


def test_an_unknown_think_level_is_wrong_usage(command) -> None:
    assert command("run", "tiny", "hi", "--think=deep").exit_code == 2


def test_an_embedding_model_prints_a_json_array(command, script: Script) -> None:
    script.models["embedder:latest"] = "e" * 64
    result = command("run", "embedder", "some text", "--dimensions", "2", "--no-truncate")
    assert json.loads(result.stdout) == [0.6, 0.8]
    assert script.bodies("/api/embed") == [
        {"model": "embedder", "input": "some text", "dimensions": 2, "truncate": False}
    ]


def test_an_embedding_model_without_text_says_what_it_needs(command, script: Script) -> None:
    script.models["embedder:latest"] = "e" * 64
    result = command("run", "embedder")
    assert result.exit_code == 1
    assert "hint: give it as an argument or on stdin" in result.stderr
