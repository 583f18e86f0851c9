"""`run ./x.gguf`: makes a model of a GGUF file where it lies.

The server never reads a file that a caller names, so the command links the file into the store itself. That
works for a server on this machine that uses the same store; the link is named `local/<file name>`.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from agentkit_cli.errors import CommandError
from agentkit_cli.local_store import allowed, open_store
from agentkit_cli.progress import bar

if TYPE_CHECKING:
    from agentkit import Client
    from agentkit_server.models.store import Store

_NAMESPACE = "local"


def is_local_file(model: str) -> bool:
    """Whether `model` is a path and not a name."""
    return model.startswith(("./", "../", "/", "~")) or (
        model.lower().endswith(".gguf") and Path(model).is_file()
    )


def link(client: Client, model: str) -> str:
    """Links the file at the path `model` into the store and returns its model name.

    Raises:
        CommandError: there is no such file, it is no GGUF, or the server is elsewhere or uses another store.
    """
    # Imported here because `--help` must not pay for the HTTP client.
    from agentkit._host import is_loopback

    path = Path(model).expanduser().absolute()
    if not path.is_file():
        raise CommandError(f"no file at {str(path)!r}", hint="give the path of a GGUF file")
    if not is_loopback(client.base_url):
        raise CommandError(
            f"the server at {client.base_url} is on another machine and cannot read {str(path)!r}",
            hint="run it there, or unset AGENTKIT_HOST and OLLAMA_HOST",
        )
    name = link_name(path)
    _link(path, name)
    _check_shared(client, name)
    return name


def link_name(path: Path) -> str:
    """A valid model name from the file name: `local/` and what of it the name grammar allows."""
    return f"{_NAMESPACE}/{allowed(path.stem) or 'model'}"


def _link(path: Path, name: str) -> None:
    store = open_store("running a file")
    from agentkit_server.errors import AgentkitError

    try:
        if not _is_linked(store, path, name):
            with bar(f"reading {path.name}") as progress:
                store.link_file(name, path, progress)
    except AgentkitError as error:
        raise CommandError(error.message) from error


def _is_linked(store: Store, path: Path, name: str) -> bool:
    """Whether the store knows the file as it is now, so that its gigabytes need not be hashed again."""
    from agentkit_server.errors import AgentkitError

    try:
        return store.resolve(name).path == path
    except AgentkitError:
        return False


def _check_shared(client: Client, name: str) -> None:
    from agentkit import ResponseError

    try:
        client.show(name)
    except ResponseError as error:
        if error.status_code != 404:
            raise
        raise CommandError(
            f"the server at {client.base_url} uses another model store than this command",
            hint="give both the same AGENTKIT_MODELS, or stop that server so that `run` starts its own",
        ) from error
