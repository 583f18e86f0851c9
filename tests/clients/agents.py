"""The coding agents that are tried, as they are published on npm: how each is told of our server, how it is
started without a terminal, and which of its tools reads a file through a shell."""

from __future__ import annotations

import json
import os
import subprocess
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from tests.clients.calls import Json

FILE = "note.txt"
SECRET = "kumquat-17"
PROMPT = f"Run the command `cat {FILE}` and tell me what it says."
COMMAND = f"cat {FILE}"
INSTRUCTIONS = "You are a coding agent. You work in the user's folder."
CONTEXT = 8192
"""Tokens: what smollm2 was trained for. The larger agents bring that many of instructions and tools."""


@dataclass(frozen=True)
class Place:
    """Where a client runs: nothing of it is left outside `home`."""

    url: str
    """Of the server, without /v1."""
    model: str
    home: Path
    work: Path
    programs: Path


@dataclass(frozen=True)
class Agent:
    name: str
    package: str
    version: str
    command: Callable[[Place], list[str]]
    """The program and its arguments; files that it needs are written into the home folder first."""
    tools: dict[str, Json]
    """Names that its shell tool has had, with the arguments that run COMMAND."""
    environment: Callable[[Place], dict[str, str]] = lambda _: {}


def environment(agent: Agent, place: Place) -> dict[str, str]:
    """What the client sees: the machine's search path, a home of its own, and its settings."""
    kept = {name: os.environ[name] for name in ("PATH", "LANG", "TERM") if name in os.environ}
    xdg = {
        f"XDG_{kind}_HOME": str(place.home / kind.lower()) for kind in ("CONFIG", "CACHE", "DATA", "STATE")
    }
    return {**kept, **xdg, "HOME": str(place.home), "CI": "1", **agent.environment(place)}


def _write(path: Path, text: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)


def _codex(place: Place) -> list[str]:
    # Its own take half of what smollm2 can read; its tools stay.
    _write(place.home / "instructions.md", INSTRUCTIONS)
    config = f"""
model = "{place.model}"
model_instructions_file = "{place.home}/instructions.md"
model_provider = "agentkit"
model_context_window = {CONTEXT}
[model_providers.agentkit]
name = "agentkit"
base_url = "{place.url}/v1"
wire_api = "responses"
[analytics]
enabled = false
"""
    _write(place.home / "config.toml", config)
    flags = ["--skip-git-repo-check", "--dangerously-bypass-approvals-and-sandbox", "--json"]
    return ["codex", "exec", *flags, PROMPT]


def _claude(place: Place) -> list[str]:
    flags = ["--bare", "--tools", "Bash,Read", "--model", place.model]
    return ["claude", "-p", PROMPT, *flags, "--dangerously-skip-permissions", "--output-format", "json"]


def _claude_environment(place: Place) -> dict[str, str]:
    models = {f"ANTHROPIC_DEFAULT_{size}_MODEL": place.model for size in ("OPUS", "SONNET", "HAIKU")}
    return {
        **models,
        "IS_SANDBOX": "1",
        "ANTHROPIC_BASE_URL": place.url,
        "ANTHROPIC_AUTH_TOKEN": "local",
        "ANTHROPIC_API_KEY": "",
        "CLAUDE_CODE_SUBAGENT_MODEL": place.model,
        "CLAUDE_CODE_DISABLE_NONESSENTIAL_TRAFFIC": "1",
    }


def _opencode(place: Place) -> list[str]:
    limit = {"context": CONTEXT, "output": 1024}
    provider = {
        "npm": "@ai-sdk/openai-compatible",
        "options": {"baseURL": f"{place.url}/v1", "apiKey": "local"},
        "models": {place.model: {"name": place.model, "limit": limit}},
    }
    config = {
        "$schema": "https://opencode.ai/config.json",
        "provider": {"agentkit": provider},
        "autoupdate": False,
        "share": "disabled",
    }
    _write(place.work / "opencode.json", json.dumps(config))
    return ["opencode", "run", "--auto", "--format", "json", "-m", f"agentkit/{place.model}", PROMPT]


def _cline(place: Place) -> list[str]:
    told = ["auth", "-p", "openai-compatible", "-k", "local", "-m", place.model, "-b", f"{place.url}/v1"]
    subprocess.run(
        [place.programs / "cline", *told],
        env=environment(CLINE, place),
        cwd=place.work,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        check=True,
        timeout=120,
    )
    return ["cline", "--json", "--auto-approve", "true", "-t", "600", PROMPT]


def _qwen(place: Place) -> list[str]:
    # Its own instructions and thirty tools take 20,000 tokens.
    _write(place.home / "instructions.md", INSTRUCTIONS)
    others = (
        "agent skill tool_call tool_search get_goal update_goal list_agents enter_worktree exit_worktree "
        "record_artifact report_findings send_message task_stop"
    )
    settings = {
        "tools": {"core": ["run_shell_command", "read_file"], "exclude": others.split()},
        "memory": {"enableManagedAutoMemory": False},
    }
    _write(place.home / ".qwen" / "settings.json", json.dumps(settings))
    return ["qwen", "--auth-type", "openai", "--yolo", "-o", "json", "-p", PROMPT]


def _qwen_environment(place: Place) -> dict[str, str]:
    return {
        "OPENAI_BASE_URL": f"{place.url}/v1",
        "OPENAI_API_KEY": "local",
        "OPENAI_MODEL": place.model,
        "QWEN_SYSTEM_MD": str(place.home / "instructions.md"),
    }


def _pi(place: Place) -> list[str]:
    model = {"id": place.model, "contextWindow": CONTEXT, "maxTokens": 1024}
    provider = {
        "baseUrl": f"{place.url}/v1",
        "api": "openai-completions",
        "apiKey": "local",
        "models": [model],
    }
    _write(place.home / ".pi" / "agent" / "models.json", json.dumps({"providers": {"agentkit": provider}}))
    return ["pi", "--provider", "agentkit", "--model", place.model, "-p", PROMPT]


CLINE = Agent("Cline", "cline", "3.0.65", _cline, {"run_commands": {"commands": [COMMAND]}})
AGENTS = (
    Agent(
        "Codex",
        "@openai/codex",
        "0.171.0",
        _codex,
        {
            "exec_command": {"cmd": COMMAND},
            "shell_command": {"command": COMMAND},
            "shell": {"command": COMMAND.split()},
        },
        lambda place: {"CODEX_HOME": str(place.home)},
    ),
    Agent(
        "Claude Code",
        "@anthropic-ai/claude-code",
        "2.1.332",
        _claude,
        {"Bash": {"command": COMMAND}},
        _claude_environment,
    ),
    Agent(
        "OpenCode",
        "opencode-ai",
        "1.18.33",
        _opencode,
        {"bash": {"command": COMMAND}},
    ),
    CLINE,
    Agent(
        "Qwen Code",
        "@qwen-code/qwen-code",
        "0.24.4",
        _qwen,
        {"run_shell_command": {"command": COMMAND, "is_background": False}},
        _qwen_environment,
    ),
    Agent("Pi", "@mariozechner/pi-coding-agent", "0.73.1", _pi, {"bash": {"command": COMMAND}}),
)
