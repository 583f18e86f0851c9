from __future__ import annotations

from pathlib import Path

import pytest
from scripted_native import Script

from agentkit_cli.local_file import is_local_file, link_name


@pytest.fixture
def gguf(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A smallest GGUF file, beside a store of this test's own."""
    import gguf
    import numpy

    monkeypatch.setenv("AGENTKIT_MODELS", str(tmp_path / "models"))
    path = tmp_path / "My Model (v2).gguf"
    writer = gguf.GGUFWriter(path, "llama")
    writer.add_context_length(128)
    writer.add_block_count(1)
    writer.add_embedding_length(8)
    writer.add_head_count(1)
    writer.add_tensor("token_embd.weight", numpy.zeros((4, 8), dtype=numpy.float32))
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return path


@pytest.mark.parametrize(
    ("model", "local"),
    [
        ("./x.gguf", True),
        ("/x", True),
        ("~/x", True),
        ("smollm2", False),
        ("a/b:c", False),
        ("x.gguf", False),
    ],
)
def test_a_path_is_told_from_a_name(model: str, local: bool) -> None:
    assert is_local_file(model) is local


@pytest.mark.parametrize(
    ("file", "name"),
    [
        ("Smol-135M.Q4_1.gguf", "local/Smol-135M.Q4_1"),
        ("a b:c.gguf", "local/a-b-c"),
        ("?.gguf", "local/model"),
    ],
)
def test_a_file_name_becomes_a_valid_model_name(file: str, name: str) -> None:
    assert link_name(Path(file)) == name


@pytest.mark.usefixtures("server")
def test_a_file_is_linked_and_run(command, script: Script, gguf: Path) -> None:
    from agentkit_server.models.store import Store

    script.models["local/My-Model-v2-:latest"] = "a" * 64
    assert command("run", str(gguf), "hi").stdout == "The sky is blue.\n"
    assert script.bodies("/api/generate")[0]["model"] == "local/My-Model-v2-"
    assert Store(gguf.parent / "models").resolve("local/My-Model-v2-").path == gguf


@pytest.mark.usefixtures("server")
def test_a_linked_file_is_not_read_again(
    command, script: Script, gguf: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from agentkit_server.models.store import Store

    script.models["local/My-Model-v2-:latest"] = "a" * 64
    command("run", str(gguf), "hi")
    monkeypatch.delattr(Store, "link_file")
    assert command("run", str(gguf), "hi").exit_code == 0


@pytest.mark.usefixtures("server")
def test_a_server_with_another_store_is_told(command, gguf: Path) -> None:
    result = command("run", str(gguf), "hi")
    assert result.exit_code == 1
    assert "uses another model store than this command" in result.stderr
    assert "hint: give both the same AGENTKIT_MODELS" in result.stderr


@pytest.mark.usefixtures("server")
def test_what_is_no_gguf_is_an_error(command, gguf: Path) -> None:
    gguf.write_bytes(b"not a model")
    result = command("run", str(gguf), "hi")
    assert result.exit_code == 1
    assert result.stderr.startswith("Error: ")


@pytest.mark.usefixtures("server")
def test_a_missing_file_is_an_error(command) -> None:
    assert "Error: no file at '/nowhere/x.gguf'" in command("run", "/nowhere/x.gguf", "hi").stderr


@pytest.mark.usefixtures("server")
def test_a_server_elsewhere_cannot_run_a_local_file(
    command, gguf: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("agentkit._host.is_loopback", lambda url: False)
    result = command("run", str(gguf), "hi")
    assert result.exit_code == 1
    assert "is on another machine and cannot read" in result.stderr
