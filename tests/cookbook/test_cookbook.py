"""The programs of cookbook/ run as they stand on the real smollm2, and show what they are there to show."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from jsonschema import Draft202012Validator
from support import smollm2

COOKBOOK = Path(__file__).resolve().parents[2] / "cookbook"
PROGRAMS = sorted(path.name for path in COOKBOOK.glob("*.py"))


@pytest.fixture(scope="module")
def server() -> Iterator[str]:
    with smollm2.serving(smollm2.models_folder(), AGENTKIT_CONTEXT_LENGTH="4096") as url:
        yield url


def printed(program: str, server: str) -> list[str]:
    """What `program` prints, line by line. Warnings are errors in it, as in the tests."""
    run = subprocess.run(
        [sys.executable, "-W", "error", "-W", "ignore::DeprecationWarning:outlines", str(COOKBOOK / program)],
        env={**os.environ, "AGENTKIT_HOST": server},
        capture_output=True,
        text=True,
        timeout=600,
        check=False,
    )
    assert run.returncode == 0, run.stdout + run.stderr
    return run.stdout.splitlines()


def test_the_readme_names_every_program() -> None:
    named = re.findall(r"\]\((\w+\.py)\)", (COOKBOOK / "README.md").read_text())
    assert sorted(named) == PROGRAMS


def test_three_tools_calls_are_valid_in_every_flow_and_branches_share_their_prefix(server: str) -> None:
    sys.path.insert(0, str(COOKBOOK))
    try:
        import three_tools  # pyright: ignore[reportMissingImports]
    finally:
        sys.path.remove(str(COOKBOOK))
    from agentkit import as_tool

    schemas = {tool.name: tool.parameters for tool in map(as_tool, three_tools.TOOLS)}
    lines = printed("three_tools.py", server)
    flows = [line.split(":")[0] for line in lines if re.match(r"\w+: \d turns", line)]
    assert flows == ["single", "parallel", "loop", "branch", "branch", "branch"]
    calls = [line.split(maxsplit=2)[1:] for line in lines if line.startswith("  call ")]
    assert len(calls) >= 2
    for name, arguments in calls:
        value = json.loads(json.dumps(eval(arguments, {"__builtins__": {}})))
        Draft202012Validator(schemas[name]).validate(value)
    outputs = [line.removeprefix("  output ") for line in lines if line.startswith("  output ")]
    assert len(outputs) == 6
    for output in outputs:
        three_tools.Trip.model_validate_json(output)
    shared = [re.match(r"  (\d+) of (\d+) prompt tokens", line) for line in lines]
    found = [(int(match[1]), int(match[2])) for match in shared if match]
    assert len(found) == 3
    assert all(cached > 0.8 * prompt for cached, prompt in found)


def test_approval_pauses_and_goes_on_from_what_was_kept(server: str) -> None:
    waits, result, answer, *_ = printed("approval.py", server)
    name = re.fullmatch(r"waits: delete_file \{'name': '(.*)'\}", waits)
    assert name is not None
    assert result == f"result: {name[1]} is gone"
    assert answer.startswith("answer: ")


def test_the_search_agent_searches_and_answers(server: str) -> None:
    lines = printed("search_agent.py", server)
    assert lines[0].startswith("call: web_")
    assert re.fullmatch(r"read: \d+ characters, (returned|failed|invalid)", lines[1])
    assert any(line.startswith("answer: ") for line in lines)


def test_outlines_own_adapter_speaks_to_the_server(server: str) -> None:
    choice, year, person, *_ = printed("with_outlines.py", server)
    assert choice in ("choice: blue", "choice: green")
    assert re.fullmatch(r"regex: (19|20)\d\d", year)
    assert re.fullmatch(r"pydantic: name='.{0,20}' age=\d{1,3}", person)
