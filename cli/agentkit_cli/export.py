"""`export` and `import`: a model as plain files in a folder, and back.

The server gives no files away, so the command reads the store itself. That works for a server on this machine
that uses the same store.
"""

from __future__ import annotations

from collections.abc import Generator
from contextlib import closing
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from agentkit_cli import create
from agentkit_cli.arguments import JsonOption, StoredModelArgument
from agentkit_cli.errors import CommandError
from agentkit_cli.local_store import allowed, open_store
from agentkit_cli.output import say, say_json, size_text
from agentkit_cli.progress import bar

if TYPE_CHECKING:
    from agentkit_server.models.export import Exported

_MODELFILE = "Modelfile"
FolderArgument = Annotated[Path, typer.Argument(metavar="DIR")]


def export(
    model: StoredModelArgument,
    folder: FolderArgument,
    force: Annotated[bool, typer.Option("--force", help="Replace files of the same names")] = False,
    link: Annotated[
        bool, typer.Option("--link", help="Hard links: no second copy, and not to be written to")
    ] = False,
    json: JsonOption = False,
) -> None:
    """Write a model as plain files: a GGUF, and a Modelfile that makes the model again.

    Reads the model store of this machine; no server is needed.
    """
    _check_local()
    written = _export(model, folder, force=force, link=link)
    if json:
        say_json({"exported": {"model": model, "folder": str(written.folder), "files": written.files}})
    else:
        say(f"exported '{model}' to {str(folder)!r}: {', '.join(written.files)} ({size_text(written.size)})")


def import_(
    folder: FolderArgument,
    name: Annotated[
        str | None, typer.Argument(metavar="NAME", help="What to call it; without it, as the folder")
    ] = None,
    json: JsonOption = False,
) -> None:
    """Make a model of a folder with a Modelfile, such as `export` writes."""
    if not folder.is_dir():
        raise CommandError(
            f"no folder at {str(folder)!r}", hint="give one that `agentkit export` has written"
        )
    create.create(name or _name_of(folder), folder / _MODELFILE, json=json)


def _name_of(folder: Path) -> str:
    name = allowed(folder.resolve().name)
    if not name:
        raise CommandError(f"no model name can be made of {str(folder)!r}", hint="give one behind the folder")
    return name


def _check_local() -> None:
    # Imported here because `--help` must not pay for the HTTP client.
    from agentkit import Client
    from agentkit._host import is_loopback

    with Client() as client:
        if not is_loopback(client.base_url):
            raise CommandError(
                f"the server at {client.base_url} is on another machine, and so are its files",
                hint="run `agentkit export` there, or `agentkit push` to a registry and pull from it here",
            )


def _export(model: str, folder: Path, *, force: bool, link: bool) -> Exported:
    store = open_store("exporting a model")
    from agentkit_server.errors import AgentkitError, ModelNotFound
    from agentkit_server.models.export import Wish, export_steps

    try:
        return _shown(model, export_steps(store, model, folder, Wish(force, link)))
    except ModelNotFound as error:
        hint = f"the store is {store.root}; AGENTKIT_MODELS names another"
        raise CommandError(error.message, hint=hint) from error
    except AgentkitError as error:
        raise CommandError(error.message) from error


def _shown(model: str, steps: Generator[tuple[int, int], None, Exported]) -> Exported:
    with closing(steps), bar(f"exporting {model}") as progress:
        while True:
            try:
                progress(*next(steps))
            except StopIteration as end:
                return end.value
