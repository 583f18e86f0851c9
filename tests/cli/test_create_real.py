"""`create` against the real server on the scripted engine: what a Modelfile says is what the model has."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from support.scripted_server import Replies, scripted_app, serving
from support.tiny_gguf import write_tiny_gguf

import agentkit
from agentkit_cli.answer import Display
from agentkit_cli.conversation import Conversation
from agentkit_server.models.modelfile import MessageLine, Modelfile, parse, render
from agentkit_server.models.store import Store

SAID = Modelfile(
    from_=("./model.gguf",),
    template="{{ .System }}\n{{ .Prompt }}",
    system='Be "brief".\n"""\nAnd kind.',
    parameters={"stop": ["<|im_end|>", ' "x" '], "temperature": 0.25, "num_ctx": 64, "use_mmap": False},
    messages=(MessageLine("user", "Hello\n\nyou"), MessageLine("assistant", "\tHi ")),
    license=("One\n", "Two"),
    renderer="r",
    parser="p",
    requires="0.1.0",
)


@pytest.fixture
def models(tmp_path: Path) -> Path:
    """Folder of the server's store."""
    folder = tmp_path / "models"
    folder.mkdir()
    return folder


@pytest.fixture
def real(models: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """A running server, which AGENTKIT_HOST names."""
    app, _ = scripted_app(models, Replies())
    with serving(app) as url:
        monkeypatch.setenv("AGENTKIT_HOST", url)
        yield


@pytest.fixture
def modelfile(tmp_path: Path) -> str:
    """The path of a Modelfile that says `SAID`."""
    write_tiny_gguf(tmp_path / "model.gguf", name="mine")
    path = tmp_path / "Modelfile"
    path.write_bytes(render(SAID).encode())
    return str(path)


@pytest.mark.usefixtures("real")
def test_a_model_is_made_shown_and_made_again_the_same(
    command, models: Path, modelfile: str, tmp_path: Path
) -> None:
    made = command("create", "mine", "-f", modelfile)
    assert made.exit_code == 0, made.stderr
    shown = command("show", "mine", "--modelfile").stdout
    again = command("create", "again", "-f", "-", input=shown)
    assert again.exit_code == 0, again.stderr
    assert "uploading" in made.stderr
    assert "uploading" not in again.stderr
    store = Store(models)
    first, second = store.manifest("mine"), store.manifest("again")
    assert {(layer.kind, layer.digest) for layer in first.layers} == {
        (layer.kind, layer.digest) for layer in second.layers
    }
    assert first.config.digest == second.config.digest
    read = parse(shown)
    assert read.from_[0].startswith(str(models / "blobs" / "sha256-"))
    assert {**vars(read), "from_": (), "places": {}} == {**vars(SAID), "from_": (), "places": {}}


@pytest.mark.usefixtures("real")
def test_a_model_is_made_from_another_with_changes(command, modelfile: str) -> None:
    assert command("create", "mine", "-f", modelfile).exit_code == 0
    text = "FROM mine\nSYSTEM Other.\nPARAMETER temperature 1\nMESSAGE user Only\n"
    changed = command("create", "other", "-f", "-", input=text)
    assert changed.exit_code == 0, changed.stderr
    read = parse(command("show", "other", "--modelfile").stdout)
    assert (read.system, read.template) == ("Other.", SAID.template)
    assert read.parameters == {**SAID.parameters, "temperature": 1.0}
    assert read.messages == (MessageLine("user", "Only"),)


@pytest.mark.usefixtures("real")
def test_what_the_server_refuses_is_told(command, tmp_path: Path) -> None:
    (tmp_path / "x.gguf").write_bytes(b"no model")
    path = tmp_path / "Modelfile"
    path.write_text("FROM x.gguf")
    refused = command("create", "mine", "-f", str(path))
    assert refused.exit_code == 1
    assert "Error: unknown type: 'x.gguf'" in refused.stderr
    refused = command("create", "mine", "-f", "-", input="FROM tiny\nPARAMETER top_p 5")
    assert refused.exit_code == 1
    assert 'Error: option "top_p" must be from 0 to 1: 5' in refused.stderr


@pytest.mark.usefixtures("real")
def test_a_client_makes_a_model_in_one_call(modelfile: str, tmp_path: Path) -> None:
    with agentkit.Client() as client:
        digest = client.create_blob(tmp_path / "model.gguf")
        answer = client.create("mine", files={"model.gguf": digest}, system="Be brief.")
        assert answer.status == "success"
        assert client.show("mine").system == "Be brief."
        client.create("mine", from_="mine", requires="0.2.0")
        assert client.show("mine").requires == "0.2.0"
        steps = [step.status for step in client.create("other", from_="mine", stream=True)]
        assert steps[-1] == "success"


@pytest.mark.usefixtures("real")
def test_a_conversation_that_is_saved_again_and_again_is_in_the_model_once(command, modelfile: str) -> None:
    assert command("create", "mine", "-f", modelfile).exit_code == 0
    said = {"role": "user", "content": "Why?"}
    begun = [message._asdict() for message in SAID.messages]
    with agentkit.Client() as client:
        conversation = Conversation(client, "mine", Display())
        conversation.messages.append(said)
        for name, left in (("other", [said]), ("mine", []), ("mine", [])):
            conversation.save(name)
            saved = [message.model_dump(exclude_none=True) for message in client.show(name).messages or ()]
            assert (saved, conversation.messages) == ([*begun, said], left)
