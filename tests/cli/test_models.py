from __future__ import annotations

import json

import pytest
from scripted_native import Script

from agentkit import ProgressResponse
from agentkit_cli import progress

pytestmark = pytest.mark.usefixtures("server")


def test_list_prints_name_id_size_and_age(command) -> None:
    result = command("list")
    header, row = result.stdout.splitlines()
    assert header.split() == ["NAME", "ID", "SIZE", "MODIFIED"]
    assert row.split()[:4] == ["tiny:latest", "a" * 12, "98", "MB"]
    assert row.endswith("years ago")
    assert result.exit_code == 0


def test_ls_is_list_and_takes_a_prefix(command) -> None:
    assert "tiny:latest" in command("ls", "TI").stdout
    assert command("ls", "other").stdout.splitlines() == ["NAME    ID    SIZE    MODIFIED"]


def test_list_as_json_has_the_fields_of_the_api(command) -> None:
    models = json.loads(command("list", "--json").stdout)["models"]
    assert [model["name"] for model in models] == ["tiny:latest"]
    assert models[0]["size"] == 98_000_000


def test_show_lays_out_sections(command) -> None:
    assert command("show", "tiny").stdout == (
        "  Model\n"
        "    architecture        llama\n"
        "    parameters          134.52M\n"
        "    context length      2048\n"
        "    embedding length    576\n"
        "    quantization        Q4_1\n"
        "\n"
        "  Capabilities\n"
        "    completion\n"
        "\n"
        "  Parameters\n"
        "    temperature    0.2\n"
        "\n"
        "  License\n"
        "    First line\n"
        "    Second line\n"
        "    ...\n"
    )


def test_show_verbose_adds_metadata_and_tensors(command) -> None:
    text = command("show", "tiny", "--verbose").stdout
    assert "  Metadata\n    general.architecture      llama\n" in text
    assert "  Tensors\n    token_embd.weight    Q4_1    [576, 49152]\n" in text


@pytest.mark.parametrize(
    ("part", "text"),
    [
        ("--template", "{{ prompt }}"),
        ("--modelfile", "FROM tiny:latest"),
        ("--parameters", "temperature 0.2"),
    ],
)
def test_show_prints_one_part_alone(command, part: str, text: str) -> None:
    assert command("show", "tiny", part).stdout == f"{text}\n"


def test_show_refuses_two_parts_as_wrong_usage(command) -> None:
    result = command("show", "tiny", "--template", "--license")
    assert result.exit_code == 2
    assert "choose one of --license, --template" in result.stderr


def test_show_as_json_uses_the_names_of_the_api(command) -> None:
    answer = json.loads(command("show", "tiny", "--json").stdout)
    assert answer["model_info"]["llama.context_length"] == 2048


def test_cp_says_what_it_copied(command, script: Script) -> None:
    assert command("cp", "tiny", "small").stdout == "copied 'tiny' to 'small'\n"
    assert "small:latest" in script.models


def test_rm_stops_and_deletes_each_model(command, script: Script) -> None:
    script.models["small:latest"] = "b" * 64
    assert command("rm", "tiny", "small").stdout == "deleted 'tiny'\ndeleted 'small'\n"
    assert script.models == {}
    assert [body["keep_alive"] for body in script.bodies("/api/generate")] == [0, 0]


def test_rm_goes_on_past_a_model_that_is_not_there(command, script: Script) -> None:
    result = command("rm", "absent", "tiny", "--json")
    assert result.exit_code == 1
    assert json.loads(result.stdout) == {"deleted": ["tiny"]}
    assert result.stderr.splitlines()[0] == "Error: model 'absent' not found"
    assert script.models == {}


def test_an_unknown_model_is_an_error_with_a_hint_and_exit_code_1(command) -> None:
    result = command("rm", "absent")
    assert result.exit_code == 1
    assert result.stdout == ""
    assert result.stderr.splitlines()[0] == "Error: model 'absent' not found"
    assert result.stderr.splitlines()[1].startswith("hint: ")


@pytest.mark.parametrize(
    ("arguments", "answer"),
    [
        (("cp", "tiny", "small"), {"copied": {"source": "tiny", "destination": "small"}}),
        (("rm", "tiny"), {"deleted": ["tiny"]}),
        (("stop", "tiny"), {"stopped": "tiny"}),
        (("pull", "new"), {"pulled": "new"}),
    ],
)
def test_changes_are_told_as_json_when_asked(command, arguments: tuple[str, ...], answer: object) -> None:
    assert json.loads(command(*arguments, "--json").stdout) == answer


def test_pull_tells_each_step_once_on_stderr(command, script: Script) -> None:
    result = command("pull", "new", "--insecure")
    assert result.stdout == ""
    assert result.stderr.splitlines() == ["pulling manifest", "pulling aaaaaaaaaaaa", "success"]
    assert script.bodies("/api/pull") == [{"model": "new", "insecure": True, "stream": True}]


def test_blobs_that_take_turns_are_told_once_each(capsys: pytest.CaptureFixture[str]) -> None:
    progress.follow(ProgressResponse(status=f"pushing {blob}") for _ in range(3) for blob in "ab")
    assert capsys.readouterr().err == "pushing a\npushing b\n"


def test_a_pull_that_fails_midway_is_an_error(command) -> None:
    result = command("pull", "nowhere")
    assert result.exit_code == 1
    assert result.stderr.splitlines()[-1] == "Error: pull model manifest: file does not exist"
