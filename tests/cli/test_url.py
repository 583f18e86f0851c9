"""`run https://…/x.gguf`, with a real server on the scripted engine and files behind a web server."""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread

import pytest
from support.scripted_server import Replies, scripted_app
from support.scripted_server import serving as serving_app
from support.tiny_gguf import write_tiny_gguf


class Quiet(SimpleHTTPRequestHandler):
    def log_message(self, format: str, *args: object) -> None:
        pass


@pytest.fixture
def files(tmp_path: Path) -> Iterator[str]:
    """URL of a folder with `My tiny.gguf`."""
    folder = tmp_path / "files" / "deep" / "er"
    folder.mkdir(parents=True)
    write_tiny_gguf(folder / "My tiny.gguf")
    with ThreadingHTTPServer(("127.0.0.1", 0), partial(Quiet, directory=tmp_path / "files")) as server:
        thread = Thread(target=server.serve_forever)
        thread.start()
        yield f"http://127.0.0.1:{server.server_port}/deep/er"
        server.shutdown()
        thread.join()


def test_the_file_of_a_url_is_fetched_and_runs_under_its_own_name(
    command, files: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    app, _ = scripted_app(tmp_path / "models", Replies(["A word."]))
    with serving_app(app) as url:
        monkeypatch.setenv("AGENTKIT_HOST", url)
        # The second time there is nothing to fetch.
        for fetched in (True, False):
            result = command("run", f"{files}/My%20tiny.gguf", "hi", "--insecure")
            assert (result.exit_code, result.stdout) == (0, "A word.\n"), result.stderr
            assert ("pulling My%20tiny.gguf" in result.stderr) is fetched
        pulled = command("pull", f"{files}/My%20tiny.gguf", "--insecure")
        assert pulled.stderr.splitlines()[-1] == "stored as 'My-tiny:latest'"
        assert command("show", "My-tiny").exit_code == 0
        refused = command("run", f"{files}/My%20tiny.gguf", "hi")
        assert "insecure protocol http" in refused.stderr
        absent = command("run", f"{files}/absent.gguf", "hi", "--insecure")
        assert (absent.exit_code, "answered 404" in absent.stderr) == (1, True)
