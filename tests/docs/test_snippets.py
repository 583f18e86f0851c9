"""Every Python block of README.md and docs/ runs as it stands against a live server, in a process of its own.

A block marked `python no-run` is only compiled. The address of the usual server is replaced by that of the
test's.
"""

from __future__ import annotations

import ast
import os
import re
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
FENCE = re.compile(r"^```(?P<info>[^\n`]*)\n(?P<code>.*?)^```$", re.MULTILINE | re.DOTALL)
USUAL_SERVER = re.compile(r"http://(localhost|127\.0\.0\.1):11434")
TIMEOUT_S = 300


@dataclass(frozen=True)
class Snippet:
    """A fenced block: where it begins, what follows the backticks, and its text."""

    place: str
    info: tuple[str, ...]
    code: str


def snippets(*languages: str) -> list[Snippet]:
    found: list[Snippet] = []
    for path in [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted((ROOT / "docs").rglob("*.md"))]:
        text = path.read_text()
        for fence in FENCE.finditer(text):
            line = text.count("\n", 0, fence.start()) + 1
            info = tuple(fence["info"].split())
            if info[:1] and info[0] in languages:
                found.append(Snippet(f"{path.relative_to(ROOT)}:{line}", info, fence["code"]))
    return found


PYTHON = snippets("python", "py")


@pytest.mark.parametrize("snippet", PYTHON, ids=lambda snippet: snippet.place)
def test_every_python_block_is_python(snippet: Snippet) -> None:
    assert ast.parse(snippet.code).body, f"{snippet.place} is empty"


@pytest.mark.parametrize(
    "snippet", [s for s in PYTHON if "no-run" not in s.info], ids=lambda snippet: snippet.place
)
def test_every_python_block_runs_against_a_live_server(
    snippet: Snippet, live_server: str, tmp_path: Path
) -> None:
    program = tmp_path / "snippet.py"
    program.write_text(USUAL_SERVER.sub(live_server, snippet.code))
    env = {
        **os.environ,
        "AGENTKIT_HOST": live_server,
        "OLLAMA_HOST": live_server,
        "PYTHONWARNINGS": "error",
    }
    run = subprocess.run(
        [sys.executable, str(program)],
        cwd=tmp_path,
        env=env,
        capture_output=True,
        text=True,
        timeout=TIMEOUT_S,
        check=False,
    )
    assert run.returncode == 0, f"{snippet.place}:\n{run.stdout}\n{run.stderr}"


@pytest.mark.parametrize("snippet", snippets("sh", "bash", "console"), ids=lambda snippet: snippet.place)
def test_every_command_that_is_shown_exists(snippet: Snippet) -> None:
    commands = re.findall(
        r"(?:^|[|&] *)(scripts/\w+|(?:\.venv/bin/)?agentkit \w+)", snippet.code, re.MULTILINE
    )
    for command in commands:
        program, _, name = command.partition(" ")
        if name:
            argv = [sys.executable, "-m", "agentkit_cli", name, "--help"]
            assert subprocess.run(argv, capture_output=True, check=False).returncode == 0, command
        else:
            assert os.access(ROOT / program, os.X_OK), command


def test_links_inside_the_documentation_lead_somewhere() -> None:
    broken: list[str] = []
    for path in [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted((ROOT / "docs").rglob("*.md"))]:
        targets = re.findall(r"\]\(([^)#\s]+)(?:#[^)]*)?\)", path.read_text())
        inside = [target for target in targets if "://" not in target]
        broken += [f"{path.name}: {target}" for target in inside if not (path.parent / target).exists()]
    assert broken == []
