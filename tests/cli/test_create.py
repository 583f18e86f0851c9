from __future__ import annotations

import errno
import hashlib
import json
import os
import signal
import sys
from pathlib import Path
from typing import Any

import pexpect
import pytest
from scripted_native import Script
from support.tiny_gguf import write_tiny_gguf

from agentkit_cli.completion import quantizations

pytestmark = pytest.mark.usefixtures("server")


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty working folder."""
    folder = tmp_path / "here"
    folder.mkdir()
    monkeypatch.chdir(folder)
    return folder


def write(path: Path, content: str = "") -> str:
    """Writes a file and returns its digest."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(content or str(path))
    return digest(path)


def digest(path: Path) -> str:
    return f"sha256:{hashlib.sha256(path.read_bytes()).hexdigest()}"


def asked(script: Script) -> dict[str, Any]:
    """The one body of `create`, without what is always there."""
    [body] = script.bodies("/api/create")
    return {name: value for name, value in body.items() if name not in ("model", "stream")}


def test_everything_that_a_modelfile_says_is_sent(command, script: Script, folder: Path) -> None:
    write(
        folder / "Modelfile",
        """FROM tiny
TEMPLATE {{ .Prompt }}
SYSTEM Be brief.
PARAMETER temperature 0.5
PARAMETER stop a
PARAMETER stop b
MESSAGE user Hello
MESSAGE assistant Hi
LICENSE one
LICENSE two
RENDERER r
PARSER p
REQUIRES 0.14.0
""",
    )
    result = command("create", "mine")
    assert (result.exit_code, result.stdout) == (0, "")
    assert result.stderr.splitlines() == ["reading model metadata", "success"]
    assert asked(script) == {
        "from": "tiny",
        "template": "{{ .Prompt }}",
        "system": "Be brief.",
        "parameters": {"temperature": 0.5, "stop": ["a", "b"]},
        "messages": [{"role": "user", "content": "Hello"}, {"role": "assistant", "content": "Hi"}],
        "license": ["one", "two"],
        "renderer": "r",
        "parser": "p",
        "requires": "0.14.0",
    }
    assert "mine:latest" in script.models


def test_files_are_uploaded_once_and_named_by_their_digests(command, script: Script, folder: Path) -> None:
    (folder / "models").mkdir()
    model = write_tiny_gguf(folder / "models" / "a b.gguf")
    write(folder / "x" / "Modelfile", "FROM ../models/a b.gguf")
    first = command("create", "mine", "-f", "x/Modelfile")
    assert first.stderr.splitlines()[:2] == ["hashing a b.gguf", "uploading a b.gguf"]
    again = command("create", "other", "-f", "x/Modelfile")
    assert again.stderr.splitlines()[:2] == ["hashing a b.gguf", "reading model metadata"]
    assert script.blobs == {digest(model): model.read_bytes()}
    assert len(script.bodies("/api/blobs")) == 1
    assert [body["files"] for body in script.bodies("/api/create")] == [{"a b.gguf": digest(model)}] * 2


def test_a_folder_is_sent_with_what_belongs_to_the_model(command, script: Script, folder: Path) -> None:
    names = (
        *("model-00001-of-00002.safetensors", "model-00002-of-00002.safetensors", "config.json"),
        *("model.safetensors.index.json", "tokenizer.json", "tokenizer_config.json", "tokenizer.model"),
        *("generation_config.json", "chat_template.jinja", "special_tokens_map.json", "modules.json"),
        *("1_Pooling/config.json", "additional_chat_templates/rag.jinja", "LICENSE", "README.md"),
    )
    sent = {name: write(folder / "m" / name) for name in names}
    for name in (".hidden.json", "consolidated.safetensors", "training_args.bin", "x/config.json"):
        write(folder / "m" / name)
    write(folder / "Modelfile", 'FROM "./m"')
    assert command("create", "mine").exit_code == 0
    assert asked(script) == {"files": sent}


def test_without_a_modelfile_it_is_the_model_in_this_folder(command, script: Script, folder: Path) -> None:
    sent = {name: write(folder / name) for name in ("model.safetensors", "config.json")}
    assert command("create", "mine").exit_code == 0
    assert asked(script) == {"files": sent}


def test_all_shards_are_sent_with_the_projector(command, script: Script, folder: Path) -> None:
    names = [f"big-{number:05}-of-00003.gguf" for number in (1, 2, 3)]
    sent = {name: write(folder / name) for name in names}
    sent["mmproj-big.gguf"] = write(folder / "mmproj-big.gguf")
    write(folder / "Modelfile", "FROM ./big-00001-of-00003.gguf\nFROM mmproj-big.gguf")
    assert command("create", "mine").exit_code == 0
    assert command("create", "mine", "-f", write_from(folder, ".")).exit_code == 0
    assert [body["files"] for body in script.bodies("/api/create")] == [sent, sent]


def write_from(folder: Path, source: str) -> str:
    """The name of a Modelfile with one FROM."""
    write(folder / "Other", f"FROM {source}")
    return "Other"


def test_adapters_keep_their_files_apart_and_have_scales(command, script: Script, folder: Path) -> None:
    gguf = write(folder / "lora.gguf")
    weights = write(folder / "lora" / "adapter_model.safetensors")
    config = write(folder / "lora" / "adapter_config.json")
    write(folder / "Modelfile", "FROM tiny\nADAPTER lora.gguf\nADAPTER ./lora scale=0.5\nDRAFT lora.gguf")
    assert command("create", "mine", "--draft-quantize", "q4_0").exit_code == 0
    assert asked(script) == {
        "from": "tiny",
        "adapters": {
            "1/lora.gguf": gguf,
            "2/adapter_model.safetensors": weights,
            "2/adapter_config.json": config,
        },
        "adapter_scales": {"2/adapter_model.safetensors": 0.5},
        "draft_files": {"lora.gguf": gguf},
        "draft_quantize": "q4_0",
    }


def test_an_adapter_in_a_folder_is_one_gguf_file(command, script: Script, folder: Path) -> None:
    gguf = write(folder / "lora" / "lora.gguf")
    write(folder / "lora" / "adapter_config.json")
    write(folder / "Modelfile", "FROM tiny\nADAPTER lora scale=2")
    assert command("create", "mine").exit_code == 0
    assert asked(script) == {
        "from": "tiny",
        "adapters": {"lora.gguf": gguf},
        "adapter_scales": {"lora.gguf": 2.0},
    }


def test_the_same_file_name_in_two_folders_is_two_files(command, script: Script, folder: Path) -> None:
    one, two = write(folder / "a" / "x.gguf"), write(folder / "b" / "x.gguf")
    write(folder / "Modelfile", "FROM a/x.gguf\nFROM b/x.gguf")
    assert command("create", "mine").exit_code == 0
    assert asked(script) == {"files": {"x.gguf": one, "1/x.gguf": two}}


def test_quantizing_takes_a_type_and_an_importance_matrix(command, script: Script, folder: Path) -> None:
    matrix = write(folder / "imatrix.gguf")
    write(folder / "Modelfile", "FROM tiny")
    result = command("create", "mine", "-q", "q4_K_M", "--imatrix", "imatrix.gguf", "--json")
    assert json.loads(result.stdout) == {"created": "mine"}
    assert asked(script) == {"from": "tiny", "quantize": "q4_K_M", "imatrix": matrix}
    assert matrix in script.blobs


def test_stdin_is_a_modelfile_and_home_is_expanded(command, script: Script, folder: Path) -> None:
    model = write(Path.home() / "models" / "x.gguf")
    assert command("create", "mine", "-f", "-", input="FROM ~/models/x.gguf\n").exit_code == 0
    assert asked(script) == {"files": {"x.gguf": model}}


@pytest.mark.parametrize(
    "source", ["https://models.example/x.gguf", "pypi:some-model==1.0", "hf.co/a/b:Q4_K_M"]
)
def test_what_a_pull_takes_is_for_the_server_to_judge(
    command, script: Script, folder: Path, source: str
) -> None:
    write(folder / "Modelfile", f"FROM {source}")
    assert command("create", "mine").stderr.startswith(f"Error: model '{source}' not found")
    assert asked(script) == {"from": source}


def test_warnings_are_told_with_their_place(command, folder: Path) -> None:
    write(folder / "Modelfile", "FROM tiny\nPARAMETER numa true\nSYSTEM \n")
    assert command("create", "mine").stderr.splitlines()[:2] == [
        "warning: Modelfile: (line 2, column 16): the parameter numa is deprecated and left out",
        "warning: Modelfile: (line 3, column 8): an empty SYSTEM has no effect",
    ]


@pytest.mark.parametrize(
    ("modelfile", "error"),
    [
        ("FORM x", "Modelfile: (line 1, column 1): unknown command 'FORM'; did you mean FROM?"),
        ("\nFROM ./no.gguf", "Modelfile: (line 2, column 6): no file or folder at './no.gguf'"),
        ("FROM ~nobody/x", "Modelfile: (line 1, column 6): no file or folder at '~nobody/x'"),
        ("FROM C:/models/x", "Modelfile: (line 1, column 6): no file or folder at 'C:/models/x'"),
        ("FROM no.safetensors", "Modelfile: (line 1, column 6): no file or folder at 'no.safetensors'"),
        (
            "FROM a model",
            "Modelfile: (line 1, column 6): 'a model' is neither a file or folder here nor a model name",
        ),
        (
            "FROM tiny\nFROM small",
            "Modelfile: (line 2, column 6): FROM may name one model, and 'tiny' is named above; "
            "the others are files",
        ),
        ("FROM tiny\nADAPTER lora", "Modelfile: (line 2, column 9): no file or folder at 'lora'"),
        ("FROM tiny\nDRAFT tiny", "Modelfile: (line 2, column 7): no file or folder at 'tiny'"),
        (
            "FROM empty",
            "Modelfile: (line 1, column 6): the folder 'empty' has no .safetensors and no .gguf file",
        ),
        (
            "FROM two",
            "Modelfile: (line 1, column 6): the folder 'two' has several models; "
            "give the file of one: a.gguf, b.gguf",
        ),
        (
            "FROM both",
            "Modelfile: (line 1, column 6): the folder 'both' has both .safetensors and .gguf files; "
            "give the .gguf file",
        ),
        (
            "FROM tiny\nADAPTER empty",
            "Modelfile: (line 2, column 9): the folder 'empty' has no .safetensors and no .gguf file",
        ),
        (
            "FROM tiny\nADAPTER two scale=0.5",
            "Modelfile: (line 2, column 9): the folder 'two' has several adapters; "
            "give the file of one: a.gguf, b.gguf",
        ),
        (
            "FROM tiny\nADAPTER both",
            "Modelfile: (line 2, column 9): the folder 'both' has both .safetensors and .gguf files; "
            "give the .gguf file",
        ),
        (
            "FROM both/m.safetensors",
            "Modelfile: (line 1, column 6): a safetensors model is a whole folder: give 'both'",
        ),
        (
            "FROM shards/x-00001-of-00002.gguf",
            "Modelfile: (line 1, column 6): the shard 'x-00002-of-00002.gguf' is not in 'shards'; "
            "all 2 must be there",
        ),
        (
            "FROM half",
            "Modelfile: (line 1, column 6): the shard 'x-00001-of-00002.gguf' is not in 'half'; "
            "all 2 must be there",
        ),
        (
            "FROM split",
            "Modelfile: (line 1, column 6): the folder 'split' has several models; "
            "give the file of one: x-00001-of-00001.gguf, x-00001-of-00002.gguf",
        ),
        (
            "FROM \0",
            "Modelfile: (line 1, column 6): '\\x00' is neither a file or folder here nor a model name",
        ),
    ],
)
def test_what_is_wrong_is_told_with_its_line_before_anything_is_sent(
    command, script: Script, folder: Path, modelfile: str, error: str
) -> None:
    for name in ("two/a.gguf", "two/b.gguf", "both/m.safetensors", "both/m.gguf"):
        write(folder / name)
    for name in ("shards/x-00001-of-00002", "half/x-00002-of-00002", "split/x-00001-of-00001"):
        write(folder / f"{name}.gguf")
    write(folder / "split" / "x-00001-of-00002.gguf")
    (folder / "empty").mkdir()
    write(folder / "Modelfile", modelfile)
    result = command("create", "mine")
    assert (result.exit_code, result.stderr.splitlines()[0]) == (1, f"Error: {error}")
    assert script.requests == []


def test_a_file_that_leads_out_of_its_folder_is_refused(command, script: Script, folder: Path) -> None:
    write(folder / "m" / "model.safetensors")
    write(folder / "secret.json")
    (folder / "m" / "config.json").symlink_to(folder / "secret.json")
    write(folder / "Modelfile", "FROM ./m")
    result = command("create", "mine")
    assert result.exit_code == 1
    assert "Error: Modelfile: (line 1, column 6): insecure path: 'm/config.json' leads out" in result.stderr
    assert script.requests == []


def test_a_link_within_the_folder_and_one_to_the_model_are_followed(
    command, script: Script, folder: Path
) -> None:
    write(folder / "m" / "real.gguf")
    (folder / "link.gguf").symlink_to(folder / "m" / "real.gguf")
    write(folder / "Modelfile", "FROM link.gguf")
    assert command("create", "mine").exit_code == 0
    assert asked(script) == {"files": {"link.gguf": digest(folder / "m" / "real.gguf")}}


@pytest.mark.parametrize(
    ("arguments", "error"),
    [
        (("mine",), "cannot read the Modelfile 'Modelfile': No such file or directory"),
        (("mine", "-f", "absent"), "cannot read the Modelfile 'absent': No such file or directory"),
        (("mine", "-f", "~no-one/x"), "cannot read the Modelfile '~no-one/x': No such file or directory"),
        (("mine", "-f", "."), "cannot read the Modelfile '.': Is a directory"),
        (("a/b/c/d", "-f", "Right"), "invalid model name 'a/b/c/d'"),
        (("mine", "-f", "Right", "--imatrix", "absent"), "no file at 'absent'"),
        (("mine", "-f", "Wrong"), "model 'absent' not found"),
    ],
)
def test_what_cannot_be_made_is_an_error(
    command, folder: Path, arguments: tuple[str, ...], error: str
) -> None:
    write(folder / "Right", "FROM tiny")
    write(folder / "Wrong", "FROM absent")
    result = command("create", *arguments)
    assert result.exit_code == 1
    assert result.stderr.startswith(f"Error: {error}")


@pytest.mark.skipif(sys.platform != "linux", reason="Linux has a file that even root cannot read")
def test_a_file_that_cannot_be_read_is_an_error(command, folder: Path) -> None:
    result = command("create", "mine", "-f", write_from(folder, "/proc/self/mem"))
    assert result.stderr.splitlines()[-1] == "Error: cannot read '/proc/self/mem': Input/output error"


def test_no_server_is_told_before_anything_is_read(
    command, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AGENTKIT_HOST", "127.0.0.1:9")
    write(folder / "x.gguf")
    result = command("create", "mine", "-f", write_from(folder, "x.gguf"))
    assert result.exit_code == 1
    assert result.stderr.splitlines()[0] == "Error: no server answers at http://127.0.0.1:9"


@pytest.mark.parametrize("line", ["FROM pipe.gguf", "ADAPTER pipe.gguf", "DRAFT pipe.gguf"])
def test_a_pipe_is_no_model(command, script: Script, folder: Path, line: str) -> None:
    os.mkfifo(folder / "pipe.gguf")
    write(folder / "Modelfile", f"{line}\nFROM tiny")
    result = command("create", "mine")
    assert f"(line 1, column {line.index('pipe') + 1}): 'pipe.gguf' is neither a file nor a" in result.stderr
    assert script.requests == []


def test_paths_in_a_modelfile_from_a_pipe_begin_here(command, script: Script, folder: Path) -> None:
    model = write(folder / "x.gguf")
    reading, writing = os.pipe()
    with os.fdopen(writing, "w") as pipe:
        pipe.write("FROM ./x.gguf")
    result = command("create", "mine", "-f", f"/dev/fd/{reading}")
    os.close(reading)
    assert result.exit_code == 0, result.stderr
    assert asked(script) == {"files": {"x.gguf": model}}


@pytest.mark.parametrize("path", ["secret", "secret/inner"])
@pytest.mark.parametrize("command_word", ["FROM", "ADAPTER", "DRAFT"])
def test_what_may_not_be_looked_at_is_neither_missing_nor_a_model_name(
    command, script: Script, folder: Path, monkeypatch: pytest.MonkeyPatch, path: str, command_word: str
) -> None:
    # To root, nothing is forbidden.
    def forbid(name: str, function: Any) -> Any:
        def forbidden(path: Path, *rest: Any, **options: Any) -> Any:
            if Path(path).name == name:
                raise PermissionError(errno.EACCES, "Permission denied", str(path))
            return function(path, *rest, **options)

        return forbidden

    write(folder / "secret" / "inner" / "x.gguf")
    monkeypatch.setattr(os, "listdir", forbid("secret", os.listdir))
    monkeypatch.setattr(Path, "stat", forbid("inner", Path.stat))
    write(folder / "Modelfile", f"FROM tiny\n{command_word} {path}")
    result = command("create", "mine")
    assert (
        f"(line 2, column {len(command_word) + 2}): cannot read '{path}': Permission denied" in result.stderr
    )
    assert script.requests == []


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux has file names that are no text")
def test_a_file_name_that_is_no_text_is_sent_in_another_form(command, script: Script, folder: Path) -> None:
    model = write(folder / os.fsdecode(b"m\xff.gguf"), "x")
    assert command("create", "mine").exit_code == 0
    assert asked(script) == {"files": {"m_.gguf": model}}


def test_two_files_that_would_have_one_name_for_the_server_are_refused(
    command, script: Script, folder: Path
) -> None:
    for name in ("x.safetensors", "a:b.json", "a_b.json"):
        write(folder / name)
    result = command("create", "mine")
    assert result.stderr.splitlines()[0] == (
        "Error: this folder: (line 1, column 6): 'a_b.json' and 'a:b.json' have names too alike; rename one"
    )
    assert script.requests == []


def test_a_file_that_changes_is_told(command, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write(folder / "x.gguf", "x" * 2_000_000)

    def change(message: str) -> None:
        if message.startswith("uploading"):
            os.truncate(folder / "x.gguf", 3)

    monkeypatch.setattr("agentkit_cli.progress.note", change)
    result = command("create", "mine")
    assert result.stderr.splitlines() == [
        "Error: 'x.gguf' has changed while it was read",
        "hint: try again when it is complete",
    ]


def test_text_that_cannot_be_sent_is_told(command, script: Script, folder: Path) -> None:
    write(folder / "Modelfile", 'FROM tiny\nSYSTEM json:"\\ud800"')
    result = command("create", "mine")
    assert result.exit_code == 1
    assert result.stderr.startswith("Error: the request cannot be written as JSON: ")


def test_the_usual_types_are_completed() -> None:
    assert quantizations("Q4") == ["q4_K_M", "q4_K_S"]


def test_bars_are_drawn_on_a_terminal_and_ctrl_c_leaves_cleanly(
    server: str, script: Script, folder: Path
) -> None:
    write(folder / "x.gguf", "x" * 100)
    terminal = pexpect.spawn(
        sys.executable,
        ["-m", "agentkit_cli", "create", "stuck"],
        env={**os.environ, "TERM": "xterm"},
        encoding="utf-8",
        timeout=20,
        dimensions=(40, 100),
    )
    terminal.expect("hashing x.gguf")
    terminal.expect("uploading x.gguf")
    terminal.expect("reading model metadata")
    assert script.started.wait(20)
    terminal.kill(signal.SIGINT)
    assert script.cancelled.wait(20)
    screen = terminal.read()
    terminal.close()
    assert (terminal.exitstatus, "Traceback" in screen) == (130, False)
    assert "stuck:latest" not in script.models
