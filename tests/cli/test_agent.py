from __future__ import annotations

import json
import os
import select
import stat
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pexpect
import pytest
from support import smollm2
from support.cli_agents import MCP, TOOLS, AgentServer, call
from support.scripted_server import Replies, scripted_app, serving

from agentkit import Client

PERSON = {"type": "object", "properties": {"name": {"type": "string"}}, "required": ["name"]}
ANSWER = "It is mild."
Start = Callable[..., pexpect.spawn]


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[str, AgentServer]]:
    replies = Replies()
    app, launcher = scripted_app(tmp_path_factory.mktemp("models"), replies)
    server = AgentServer(replies, launcher)
    launcher.script = server
    with serving(app) as url:
        yield url, server


@pytest.fixture
def agents(served: tuple[str, AgentServer], monkeypatch: pytest.MonkeyPatch) -> Iterator[AgentServer]:
    url, server = served
    monkeypatch.setenv("AGENTKIT_HOST", url)
    server.says(ANSWER)
    server.prompts.clear()
    yield server
    server.let_go()


@pytest.fixture
def tools(tmp_path: Path) -> str:
    file = tmp_path / "tools.py"
    file.write_text(TOOLS)
    return str(file)


@pytest.fixture
def start() -> Iterator[Start]:
    """Opens `agentkit agent` on a terminal of its own."""
    opened: list[pexpect.spawn] = []

    def spawn(*arguments: str) -> pexpect.spawn:
        terminal = pexpect.spawn(
            sys.executable,
            ["-m", "agentkit_cli", "agent", *arguments],
            env={**os.environ, "TERM": "xterm"},
            encoding="utf-8",
            timeout=60,
            dimensions=(40, 120),
        )
        terminal.delaybeforesend = None
        opened.append(terminal)
        return terminal

    yield spawn
    for terminal in opened:
        terminal.close(force=True)


def ended(terminal: pexpect.spawn) -> tuple[int | None, str]:
    """Exit code, and what was on the screen since the last thing that was expected."""
    terminal.expect(pexpect.EOF)
    terminal.close()
    return terminal.exitstatus, terminal.before or ""


def on_thinker(command: Callable[..., object], *arguments: str, input: str | None = None):
    return command("agent", "run", "-m", "thinker", *arguments, input=input)


def test_the_answer_is_on_stdout_and_the_rest_on_stderr(command, agents: AgentServer, tools: str) -> None:
    agents.says(f"<think>\nHm.\n</think>\n\n{call('weather', city='Oslo')}", ANSWER)
    result = on_thinker(command, "How", "is it?", "--tools", tools, "--verbose")
    assert (result.exit_code, result.stdout) == (0, f"{ANSWER}\n")
    *lines, usage = result.stderr.splitlines()
    assert lines == [
        "the file is loaded",
        "Thinking...",
        "Hm.",
        "...done thinking.",
        '-> weather {"city": "Oslo"}',
        "looking",
        "<- weather: mild in Oslo",
    ]
    assert usage.startswith("2 turn(s), 1 tool call(s), ")


def test_what_is_piped_in_comes_after_the_task(command, agents: AgentServer) -> None:
    assert on_thinker(command, "Sum it up", input="A long text.\n").exit_code == 0
    assert on_thinker(command, "-", input="The whole task.\n").exit_code == 0
    assert on_thinker(command, input="Only piped.").exit_code == 0
    wanted = ["Sum it up\n\nA long text.", "The whole task.", "Only piped."]
    assert [f"user\n{text}<|im_end|>" in prompt for text, prompt in zip(wanted, agents.prompts, strict=True)]


def test_what_the_model_says_before_a_call_is_no_part_of_a_piped_answer(
    command, agents: AgentServer, tools: str
) -> None:
    agents.says(f"Let me look. {call('weather', city='Oslo')}", ANSWER)
    result = on_thinker(command, "hi", "--tools", tools)
    assert result.stdout == f"{ANSWER}\n"
    assert "Let me look." in result.stderr


def test_every_line_of_json_is_an_event(command, agents: AgentServer, tools: str) -> None:
    agents.says(call("weather", city="Oslo"), ANSWER)
    result = on_thinker(command, "hi", "--tools", tools, "--json")
    events = [json.loads(line) for line in result.stdout.splitlines()]
    kinds = list(dict.fromkeys(event["kind"] for event in events))
    assert kinds == [
        "run_started",
        "turn_started",
        "tool_call_opened",
        "tool_arguments_delta",
        "tool_call_closed",
        "turn_ended",
        "tool_started",
        "tool_result",
        "text_delta",
        "run_ended",
    ]
    assert events[-1]["output"] == ANSWER


def test_a_structured_answer_is_json(command, agents: AgentServer, tmp_path: Path) -> None:
    agents.says('{"name":"Ada"}')
    file = tmp_path / "schema.json"
    file.write_text(json.dumps(PERSON))
    for given in (json.dumps(PERSON), str(file), "json"):
        result = on_thinker(command, "who?", "--output", given)
        assert json.loads(result.stdout) == {"name": "Ada"}


def test_instructions_come_from_text_or_a_file(command, agents: AgentServer, tmp_path: Path) -> None:
    file = tmp_path / "role.txt"
    file.write_text("You are a pirate.")
    for given in ("You are a pirate.", f"@{file}"):
        on_thinker(command, "hi", "--instructions", given)
    assert all("system\nYou are a pirate.<|im_end|>" in prompt for prompt in agents.prompts)
    assert len(agents.prompts) == 2


def test_options_and_thinking_reach_the_server(command, agents: AgentServer) -> None:
    assert (
        on_thinker(command, "hi", "--no-think", "-o", "temperature=0", "-o", "stop=mild").stdout == "It is \n"
    )
    assert agents.launcher.requests[-1].sampling.temperature == 0
    assert "<think>\n\n</think>" in agents.prompts[-1]
    agents.says("<think>\nHm.\n</think>\n\nYes.")
    result = on_thinker(command, "--think", "hi", "--hidethinking")
    assert (result.stdout, result.stderr) == ("Yes.\n", "")


def test_a_model_that_is_not_named_is_smollm2(command, agents: AgentServer) -> None:
    result = command("agent", "run", "--help")
    assert "[default: smollm2]" in " ".join(result.stdout.split())


@pytest.mark.parametrize(
    ("limit", "says"),
    [
        (("--max-turns", "1"), "the run has used up its turns"),
        (("--max-tool-calls", "0"), "the run has used up its tool calls"),
        (("--max-tokens", "20"), "the run has used up its tokens"),
    ],
)
def test_a_limit_ends_the_run_and_names_its_option(
    command, agents: AgentServer, tools: str, limit: tuple[str, str], says: str
) -> None:
    agents.says(call("weather", city="Oslo"))
    result = on_thinker(command, "hi", "--tools", tools, *limit)
    assert result.exit_code == 1
    assert result.stderr.splitlines()[-2:] == [
        f"Error: {says}",
        f"hint: allow more with {limit[0]}, or ask for an answer at the limit with --wrap-up",
    ]


def test_a_limit_of_seconds_ends_an_answer_that_hangs(command, agents: AgentServer) -> None:
    agents.hold(after=3)
    result = on_thinker(command, "hi", "--max-seconds", "0.5")
    assert (result.exit_code, result.stdout) == (1, "It \n")
    assert "Error: the run has used up its seconds" in result.stderr


def test_wrap_up_asks_for_an_answer_at_the_limit(command, agents: AgentServer, tools: str) -> None:
    agents.says(call("weather", city="Oslo"), ANSWER)
    result = on_thinker(command, "hi", "--tools", tools, "--max-turns", "1", "--wrap-up")
    assert (result.exit_code, result.stdout) == (0, f"{ANSWER}\n")


def test_without_a_terminal_the_run_pauses_and_another_process_goes_on(
    command, agents: AgentServer, tools: str, tmp_path: Path
) -> None:
    agents.says(call("remove", path="/x"), "Gone.")
    kept = tmp_path / "run.json"
    result = on_thinker(command, "hi", "--tools", tools, "--save", str(kept))
    assert (result.exit_code, result.stdout) == (3, "")
    assert 'remove {"path": "/x"}' in result.stderr
    assert f"hint: go on with `agentkit agent resume {kept} --approve-all`" in result.stderr
    assert stat.S_IMODE(kept.stat().st_mode) == 0o600
    words = [sys.executable, "-m", "agentkit_cli", "agent", "resume", str(kept), "--approve-all"]
    other = subprocess.run(words, capture_output=True, text=True, check=True, stdin=subprocess.DEVNULL)
    assert other.stdout == "Gone.\n"
    assert "<- remove: removed /x" in other.stderr
    again = command("agent", "resume", str(kept))
    assert (again.exit_code, "is done" in again.stderr) == (1, True)
    agents.says("Nothing.")
    assert command("agent", "resume", str(kept), "And", "now?").stdout == "Nothing.\n"
    assert "Gone.<|im_end|>\n<|im_start|>user\nAnd now?" in agents.prompts[-1]


def test_a_paused_call_is_denied_by_its_id_and_the_model_reads_why(
    command, agents: AgentServer, tools: str, tmp_path: Path
) -> None:
    agents.says(call("remove", path="/x"), "Well.")
    kept = tmp_path / "run.json"
    on_thinker(command, "hi", "--tools", tools, "--save", str(kept))
    [waiting] = json.loads(kept.read_text())["run"]["messages"][-1]["tool_calls"]
    wrong = command("agent", "resume", str(kept), "--approve", "other")
    assert (wrong.exit_code, waiting["id"] in wrong.stderr) == (1, True)
    undecided = command("agent", "resume", str(kept))
    assert undecided.exit_code == 3
    result = command("agent", "resume", str(kept), "--deny", f"{waiting['id']}=not=today")
    assert result.stdout == "Well.\n"
    assert "this call was denied: not=today" in agents.prompts[-1]


def test_a_run_that_reached_a_limit_goes_on_with_a_higher_one(
    command, agents: AgentServer, tools: str, tmp_path: Path
) -> None:
    agents.says(call("weather", city="Oslo"), ANSWER)
    kept = tmp_path / "run.json"
    result = on_thinker(command, "hi", "--tools", tools, "--max-turns", "1", "--save", str(kept))
    assert f"the run is kept: go on with `agentkit agent resume {kept}`" in result.stderr
    assert command("agent", "resume", str(kept), "--max-turns", "2").stdout == f"{ANSWER}\n"


def test_yes_approves_and_ask_asks_for_every_tool(command, agents: AgentServer, tools: str) -> None:
    agents.says(call("remove", path="/x"), "Gone.")
    assert on_thinker(command, "hi", "--tools", tools, "--yes").stdout == "Gone.\n"
    agents.says(call("weather", city="Oslo"), ANSWER)
    result = on_thinker(command, "hi", "--tools", tools, "--ask")
    assert result.exit_code == 3
    assert "hint: give --save FILE to go on later, or --yes" in result.stderr


def test_a_run_is_recorded(command, agents: AgentServer, tools: str, tmp_path: Path) -> None:
    agents.says(call("weather", city="Oslo"), ANSWER)
    file = tmp_path / "run.jsonl"
    assert on_thinker(command, "hi", "--tools", tools, "--record", str(file)).exit_code == 0
    kinds = [json.loads(line)["kind"] for line in file.read_text().splitlines()]
    assert (kinds[0], kinds[-1]) == ("header", "end")


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        ((), "TASK"),
        (("hi", "--tools", "absent.py"), "no file at 'absent.py'"),
        (("hi", "--tools", "{tools}:rain"), "its functions are: weather, remove"),
        (("hi", "--tools", "{tools}", "--tools", "{tools}"), "two tools are named 'weather'"),
        (("hi", "--output", "{{"), "--output"),
        (("hi", "--output", '{{"type": 1}}'), "JSON Schema is not valid"),
        (("hi", "--instructions", "@absent"), "'absent' cannot be read"),
        (("hi", "--option", "temperature"), "no NAME=VALUE"),
        (("hi", "--option", "heat=1"), "unknown parameter 'heat'"),
        (("hi", "--yes", "--ask"), "one of --yes and --ask"),
        (("hi", "--think=deep"), "'deep' is not true"),
        (("hi", "--max-turns", "0"), "--max-turns"),
        (("hi", "--flow", "spiral"), "--flow"),
        (("hi", "--save", "/absent/run.json"), "no folder"),
    ],
)
def test_wrong_usage_exits_with_2_and_asks_nothing(
    command, agents: AgentServer, tools: str, arguments: tuple[str, ...], says: str
) -> None:
    result = on_thinker(command, *[text.format(tools=tools) for text in arguments])
    assert (result.exit_code, agents.prompts) == (2, [])
    assert says in " ".join(result.stderr.replace("│", " ").split())


@pytest.mark.parametrize("content", [None, "{", "{}", '{"agent": {"model": "m", "x": 1}, "run": {}}'])
def test_what_is_no_saved_run_is_an_error(command, tmp_path: Path, content: str | None) -> None:
    file = tmp_path / "run.json"
    if content is not None:
        file.write_text(content)
    result = command("agent", "resume", str(file))
    assert result.exit_code == 1
    assert result.stderr.splitlines()[1].startswith("hint: give a file that `agentkit agent run --save FILE`")


def test_without_a_command_help_is_shown(command) -> None:
    result = command("agent")
    assert "Do a task with tools" in result.output


def test_at_a_terminal_calls_are_approved_and_arguments_grow(
    start: Start, agents: AgentServer, tools: str
) -> None:
    agents.says(call("remove", path="/x\x9b2J"), "Gone.")
    terminal = start("run", "-m", "thinker", "hi", "--tools", tools)
    terminal.expect_exact('-> remove {"path": "/x\\x9b2J"}')
    terminal.expect_exact("Run it?")
    terminal.send("y\n")
    terminal.expect_exact("<- remove: removed /x\\x9b2J")
    code, screen = ended(terminal)
    assert (code, "Gone." in screen) == (0, True)


def test_at_a_terminal_another_answer_is_the_reason_why_not(
    start: Start, agents: AgentServer, tools: str
) -> None:
    agents.says(call("remove", path="/x"), "Well.")
    terminal = start("run", "-m", "thinker", "hi", "--tools", tools)
    terminal.expect_exact("Run it?")
    terminal.send("keep it\n")
    assert ended(terminal)[0] == 0
    assert "this call was denied: keep it" in agents.prompts[-1]


def test_ctrl_d_at_the_question_pauses_the_run(start: Start, agents: AgentServer, tools: str) -> None:
    agents.says(call("remove", path="/x"), "Well.")
    terminal = start("run", "-m", "thinker", "hi", "--tools", tools)
    terminal.expect_exact("Run it?")
    terminal.sendeof()
    code, screen = ended(terminal)
    assert (code, "Paused" in screen) == (3, True)


def test_ctrl_c_at_the_question_stops_the_run(
    start: Start, agents: AgentServer, tools: str, tmp_path: Path
) -> None:
    agents.says(call("remove", path="/x"))
    kept = tmp_path / "run.json"
    terminal = start("run", "-m", "thinker", "hi", "--tools", tools, "--save", str(kept))
    terminal.expect_exact("Run it?")
    terminal.sendintr()
    code, screen = ended(terminal)
    assert (code, "Traceback" in screen) == (130, False)
    assert json.loads(kept.read_text())["run"]["status"] == "paused"


def test_ctrl_c_cancels_the_run_on_the_server_and_leaves_no_mcp_server(
    start: Start, agents: AgentServer, tmp_path: Path
) -> None:
    program, fifo = tmp_path / "one.py", tmp_path / "alive"
    program.write_text(MCP)
    os.mkfifo(fifo)
    alive = os.open(fifo, os.O_RDONLY | os.O_NONBLOCK)
    says = call("one_weather", city="Oslo")
    agents.says(says, ANSWER)
    held = agents.hold(after=len(says) + 10)
    terminal = start("run", "-m", "thinker", "hi", "--mcp", f"{sys.executable} {program} {fifo}")
    terminal.expect_exact("wet in Oslo")
    assert held.reached.wait(60)
    terminal.sendintr()
    code, screen = ended(terminal)
    assert (code, "Traceback" in screen) == (130, False)
    assert held.left.wait(60)
    readable, _, _ = select.select([alive], [], [], 60)
    assert readable and os.read(alive, 1) == b""
    os.close(alive)


def test_without_a_server_the_real_one_is_started_and_smollm2_calls_a_tool(
    command, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    usual = Client
    monkeypatch.setattr("agentkit.Client", lambda host="127.0.0.1:1", **more: usual(host, **more))
    monkeypatch.setenv("AGENTKIT_MODELS", str(smollm2.models_folder()))
    file = tmp_path / "sums.py"
    file.write_text("def flip(heads: bool) -> str:\n    'Flips a coin.'\n    return 'tails'\n")
    result = command(
        *("agent", "run", "Flip the coin", "--tools", str(file), "--flow", "single"),
        *("--output", '{"enum": ["heads", "tails"]}', "-o", "temperature=0"),
    )
    assert result.exit_code == 0, result.stderr
    assert json.loads(result.stdout) in ("heads", "tails")
    assert "starting one for this command" in result.stderr
    assert "<- flip: tails" in result.stderr
