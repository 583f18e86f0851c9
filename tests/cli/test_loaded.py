from __future__ import annotations

import json

import pytest
from scripted_native import Script

pytestmark = pytest.mark.usefixtures("server")


def test_ps_prints_where_the_model_is_and_until_when(command) -> None:
    header, row = command("ps").stdout.splitlines()
    assert header.split() == ["NAME", "ID", "SIZE", "PROCESSOR", "CONTEXT", "UNTIL"]
    assert row.split() == ["tiny:latest", "a" * 12, "98", "MB", "75%/25%", "CPU/GPU", "4096", "Never"]


def test_ps_says_stopping_once_the_time_is_over(command, script: Script) -> None:
    script.expires_at = "2020-01-01T00:00:00Z"
    assert command("ps").stdout.splitlines()[1].endswith("Stopping...")


def test_ps_says_stopping_while_the_last_requests_end(command, script: Script) -> None:
    script.loaded = {"stopping": True}
    assert command("ps").stdout.splitlines()[1].endswith("Stopping...")


def test_ps_says_how_far_a_load_is(command, script: Script) -> None:
    script.loaded = {"loading": 0.42}
    assert command("ps").stdout.splitlines()[1].endswith("Loading 42%")
    assert json.loads(command("ps", "--json").stdout)["models"][0]["loading"] == 0.42


def test_ps_tells_on_stderr_what_is_odd_about_a_model(command, script: Script) -> None:
    script.loaded = {"note": "context shortened to 2048 tokens to fit into memory"}
    result = command("ps")
    assert result.stderr == "tiny:latest: context shortened to 2048 tokens to fit into memory\n"
    assert len(result.stdout.splitlines()) == 2
    assert json.loads(command("ps", "--json").stdout)["models"][0]["note"].startswith("context shortened")


def test_ps_as_json_has_the_fields_of_the_api(command) -> None:
    assert json.loads(command("ps", "--json").stdout)["models"][0]["context_length"] == 4096


def test_stop_unloads_the_model(command, script: Script) -> None:
    assert command("stop", "tiny").stdout == "stopped 'tiny'\n"
    assert script.bodies("/api/generate") == [{"model": "tiny", "keep_alive": 0, "stream": False}]


def test_stop_of_an_unknown_model_says_so(command) -> None:
    result = command("stop", "absent")
    assert result.exit_code == 1
    assert result.stderr == 'Error: couldn\'t find model "absent" to stop\n'
