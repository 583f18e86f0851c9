from __future__ import annotations

import os
import re
import signal
import stat
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pexpect
import pytest
from scripted_native import Script

Terminal = pexpect.spawn
Start = Callable[..., Terminal]
KILL_LINE = "\x15"
ESCAPES = r"(?:\x1b\[[0-9;?]*[A-Za-z])*"


@pytest.fixture
def start(server: str) -> Iterator[Start]:
    """Opens `agentkit run` on a terminal of its own."""
    opened: list[Terminal] = []

    def spawn(*arguments: str, **environment: str) -> Terminal:
        terminal = pexpect.spawn(
            sys.executable,
            ["-m", "agentkit_cli", "run", *arguments],
            env={**os.environ, "TERM": "xterm", "PROMPT_TOOLKIT_NO_CPR": "1", **environment},
            encoding="utf-8",
            timeout=20,
            dimensions=(40, 80),
        )
        terminal.delaybeforesend = None
        opened.append(terminal)
        return terminal

    yield spawn
    for terminal in opened:
        terminal.close(force=True)


def ready(terminal: Terminal) -> Terminal:
    # Only an empty prompt shows this; the prompt itself is drawn again with every key.
    terminal.expect("Send a message")
    return terminal


def enter(terminal: Terminal, text: str) -> None:
    terminal.send(text + "\r")


def typed(terminal: Terminal, text: str) -> None:
    """Wait until `text` is on the line that is being edited. How much of it is drawn at once depends on how
    many keys were read at once, with escape sequences between the pieces."""
    terminal.expect(ESCAPES.join(re.escape(character) for character in text))


def leave(terminal: Terminal) -> None:
    enter(ready(terminal), "/bye")
    terminal.expect(pexpect.EOF)
    terminal.close()
    assert terminal.exitstatus == 0


def test_a_conversation_keeps_what_was_said(start: Start, script: Script) -> None:
    terminal = start("tiny")
    enter(ready(terminal), "Why is the sky blue?")
    terminal.expect("The sky is blue.")
    enter(ready(terminal), "Really?")
    terminal.expect("The sky is blue.")
    leave(terminal)
    loading, first, second = script.bodies("/api/chat")
    assert loading["messages"] == []
    assert [message["content"] for message in first["messages"]] == ["Why is the sky blue?"]
    assert [message["content"] for message in second["messages"]] == [
        "Why is the sky blue?",
        "The sky is blue.",
        "Really?",
    ]


def test_the_load_before_a_conversation_shows_how_far_it_is(start: Start, script: Script) -> None:
    script.models["heavy:latest"] = "d" * 64
    script.loaded = {"loading": 0.25}
    terminal = start("heavy")
    terminal.expect("loading heavy")
    terminal.expect("25%")
    script.loaded = {"loading": 0.75}
    terminal.expect("75%")
    script.released.set()
    leave(terminal)


def test_settings_go_with_the_next_message(start: Start, script: Script) -> None:
    terminal = ready(start("tiny", "--keepalive", "10m"))
    for line in (
        "/set parameter temperature 0.5",
        "/set parameter stop END STOP",
        '/set system "Answer briefly."',
        "/set format json",
        "/set think high",
        "/set verbose",
    ):
        enter(terminal, line)
        ready(terminal)
    enter(terminal, "hi")
    terminal.expect("eval rate:")
    leave(terminal)
    body = script.bodies("/api/chat")[-1]
    assert body["options"] == {"temperature": 0.5, "stop": ["END", "STOP"]}
    assert body["messages"][0] == {"role": "system", "content": "Answer briefly."}
    assert (body["format"], body["think"], body["keep_alive"]) == ("json", "high", "10m")


def test_clear_forgets_what_was_said(start: Start, script: Script) -> None:
    terminal = start("tiny")
    enter(ready(terminal), "first")
    enter(ready(terminal), "/clear")
    enter(ready(terminal), "second")
    terminal.expect("blue")
    leave(terminal)
    assert [message["content"] for message in script.bodies("/api/chat")[-1]["messages"]] == ["second"]


def test_thoughts_are_dim_and_stay_in_the_conversation(start: Start, script: Script) -> None:
    script.models["thinker:latest"] = "d" * 64
    terminal = start("thinker")
    enter(ready(terminal), "hi")
    terminal.expect_exact("\x1b[2mThinking...")
    terminal.expect_exact("...done thinking.\r\n\r\n\x1b[0m")
    terminal.expect("blue")
    enter(ready(terminal), "again")
    terminal.expect("blue")
    leave(terminal)
    answered = script.bodies("/api/chat")[-1]["messages"][1]
    assert answered == {"role": "assistant", "content": "The sky is blue.", "thinking": "Hmm, colours."}


def test_answers_can_follow_the_schema_in_a_file(start: Start, script: Script, tmp_path: Path) -> None:
    (tmp_path / "my schema.json").write_text('{"type": "object"}')
    terminal = ready(start("tiny"))
    enter(terminal, f"/set format '{tmp_path}/my schema.json'")
    terminal.expect("answers follow the schema")
    enter(ready(terminal), "hi")
    terminal.expect("blue")
    enter(ready(terminal), "/set noformat")
    enter(ready(terminal), "hi")
    terminal.expect("blue")
    enter(ready(terminal), "/set format xml")
    terminal.expect("Error: unknown format 'xml'")
    leave(terminal)
    assert [body.get("format") for body in script.bodies("/api/chat")[-2:]] == [{"type": "object"}, None]


SLASH_COMMANDS = (
    ("/show info", "context length      2048"),
    ("/show parameters", "temperature 0.2"),
    ("/show template", "{{ prompt }}"),
    ("/show nothing", "hint: /help show lists the parts"),
    ("/list", "tiny:latest"),
    ("/?", "/load MODEL"),
    ("/help set", "/set parameter NAME VALUE"),
    ("/? shortcuts", "Stop the answer"),
    ("/save", "hint: /save NAME"),
    ("/save a/b/c/d", "Error: invalid model name"),
    ("/load absent", "Error: model 'absent' not found"),
    ("/set parameter temperature hot", "Error: temperature must be a number, not 'hot'"),
    ("/set parameter heat 1", "Error: unknown parameter 'heat'"),
    ("/nonsense", "Error: unknown command '/nonsense'"),
)


def test_slash_commands_answer(start: Start) -> None:
    terminal = start("tiny")
    for line, answer in SLASH_COMMANDS:
        enter(ready(terminal), line)
        terminal.expect_exact(answer)
    leave(terminal)


def test_load_goes_on_with_another_model(start: Start, script: Script) -> None:
    script.models["small:latest"] = "b" * 64
    terminal = start("tiny")
    enter(ready(terminal), "/load small")
    terminal.expect("now talking to small")
    enter(ready(terminal), "hi")
    terminal.expect("blue")
    leave(terminal)
    assert script.bodies("/api/chat")[-1]["model"] == "small"


def test_save_makes_a_model_of_the_conversation(start: Start, script: Script) -> None:
    script.shown["messages"] = [{"role": "user", "content": "One"}, {"role": "assistant", "content": "Two"}]
    script.models["thinker:latest"] = "b" * 64
    terminal = start("thinker:latest")
    enter(ready(terminal), "/set system Be brief.")
    enter(ready(terminal), "/set parameter temperature 0")
    enter(ready(terminal), "Why?")
    terminal.expect("blue")
    enter(ready(terminal), "/save mine")
    terminal.expect("saved as mine")
    leave(terminal)
    assert script.bodies("/api/create") == [
        {
            "model": "mine",
            "from": "thinker:latest",
            "stream": True,
            "system": "Be brief.",
            "parameters": {"temperature": 0},
            "messages": [
                {"role": "user", "content": "One"},
                {"role": "assistant", "content": "Two"},
                {"role": "user", "content": "Why?"},
                {"role": "assistant", "content": "The sky is blue."},
            ],
        }
    ]


def test_triple_quotes_hold_a_message_of_several_lines(start: Start, script: Script) -> None:
    terminal = start("tiny")
    enter(ready(terminal), '"""one')
    terminal.expect_exact("...")
    enter(terminal, "two")
    enter(terminal, 'three"""')
    terminal.expect("blue")
    leave(terminal)
    assert script.bodies("/api/chat")[-1]["messages"][0]["content"] == "one\ntwo\nthree"


def test_ctrl_j_and_a_bracketed_paste_make_new_lines(start: Start, script: Script) -> None:
    terminal = start("tiny")
    enter(ready(terminal), "one\ntwo \x1b[200~three\nfour\x1b[201~")
    terminal.expect("blue")
    leave(terminal)
    assert script.bodies("/api/chat")[-1]["messages"][0]["content"] == "one\ntwo three\nfour"


def test_tab_completes_commands_and_indents_elsewhere(start: Start, script: Script) -> None:
    terminal = ready(start("tiny"))
    terminal.send("/sho\t")
    typed(terminal, "/show")
    terminal.send(" inf\t")
    typed(terminal, "info")
    enter(terminal, "")
    terminal.expect("context length")
    ready(terminal).send("a\tb")
    typed(terminal, "a    b")
    enter(terminal, "")
    terminal.expect("blue")
    leave(terminal)
    assert script.bodies("/api/chat")[-1]["messages"][0]["content"] == "a    b"


def test_ctrl_c_stops_the_answer_and_not_the_program(start: Start, script: Script) -> None:
    script.models["slow:latest"] = "b" * 64
    terminal = start("slow", "--nowordwrap")
    enter(ready(terminal), "tell me")
    terminal.expect("The sky")
    assert script.started.wait(10)
    terminal.sendintr()
    terminal.expect("stopped")
    assert script.cancelled.wait(10)
    enter(ready(terminal), "/load tiny")
    leave(terminal)


def test_ctrl_c_at_the_prompt_tells_how_to_leave_and_ctrl_d_leaves(start: Start) -> None:
    terminal = ready(start("tiny"))
    terminal.sendintr()
    terminal.expect_exact("to leave, type /bye or press Ctrl + d")
    ready(terminal).send("\x04")
    terminal.expect(pexpect.EOF)
    terminal.close()
    assert terminal.exitstatus == 0


def test_ctrl_g_opens_the_editor(start: Start, script: Script, tmp_path: Path) -> None:
    editor = tmp_path / "editor"
    editor.write_text('#!/bin/sh\nprintf "from the editor" > "$1"\n')
    editor.chmod(0o755)
    terminal = ready(start("tiny", AGENTKIT_EDITOR=str(editor)))
    terminal.send("\x07")
    typed(terminal, "from the editor")
    enter(terminal, "")
    terminal.expect("blue")
    leave(terminal)
    assert script.bodies("/api/chat")[-1]["messages"][0]["content"] == "from the editor"


def test_what_was_typed_comes_back_in_the_next_conversation(start: Start, tmp_path: Path) -> None:
    terminal = start("tiny")
    enter(ready(terminal), "remember me")
    terminal.expect("blue")
    leave(terminal)
    file = tmp_path / ".agentkit" / "history"
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    terminal = ready(start("tiny"))
    terminal.send("\x1b[A\x1b[A")
    typed(terminal, "remember me")
    terminal.send(KILL_LINE)
    enter(terminal, "/bye")
    terminal.expect(pexpect.EOF)


@pytest.mark.parametrize("setting", ["AGENTKIT_NOHISTORY", "OLLAMA_NOHISTORY"])
def test_no_history_is_kept_when_the_setting_says_so(start: Start, tmp_path: Path, setting: str) -> None:
    leave(start("tiny", **{setting: "1"}))
    assert not (tmp_path / ".agentkit").exists()


def test_an_error_does_not_end_the_conversation(start: Start, script: Script) -> None:
    script.models["broken:latest"] = "b" * 64
    terminal = start("broken")
    enter(ready(terminal), "hi")
    terminal.expect("Error: model runner has unexpectedly stopped")
    leave(terminal)


def test_ctrl_c_during_a_pull_cancels_it_and_exits_with_130(start: Start, script: Script) -> None:
    terminal = start("stuck")
    terminal.expect("pulling aaaaaaaaaaaa")
    assert script.started.wait(10)
    terminal.kill(signal.SIGINT)
    assert script.cancelled.wait(10)
    terminal.expect(pexpect.EOF)
    terminal.close()
    assert terminal.exitstatus == 130
    assert "stuck:latest" not in script.models
