"""The commands about the store: `list`, `show`, `cp`, `rm`, `pull` and `push`."""

from __future__ import annotations

from contextlib import suppress
from typing import Annotated

import typer

from agentkit_cli import progress
from agentkit_cli.arguments import InsecureOption, JsonOption, StoredModelArgument
from agentkit_cli.completion import model_names
from agentkit_cli.description import describe
from agentkit_cli.errors import show_error
from agentkit_cli.output import note, say, say_json, say_record, size_text, table, time_text
from agentkit_cli.server import connected


def list_models(
    prefix: Annotated[str, typer.Argument(help="Only names that begin so")] = "", json: JsonOption = False
) -> None:
    """List the models in the store."""
    with connected() as client:
        answer = client.list()
    kept = [model for model in answer.models if (model.name or "").lower().startswith(prefix.lower())]
    if json:
        say_record(answer.model_copy(update={"models": kept}))
        return
    rows = [
        (
            model.name or "",
            (model.digest or "")[:12],
            size_text(model.size or 0),
            time_text(model.modified_at),
        )
        for model in kept
    ]
    say(table(("NAME", "ID", "SIZE", "MODIFIED"), rows))


def show(  # noqa: PLR0913 - the parameters are the command's options
    model: StoredModelArgument,
    license: Annotated[bool, typer.Option("--license", help="Only the license")] = False,
    modelfile: Annotated[bool, typer.Option("--modelfile", help="Only the Modelfile")] = False,
    parameters: Annotated[bool, typer.Option("--parameters", help="Only the parameters")] = False,
    template: Annotated[bool, typer.Option("--template", help="Only the template")] = False,
    system: Annotated[bool, typer.Option("--system", help="Only the system message")] = False,
    verbose: Annotated[bool, typer.Option("-v", "--verbose", help="Add metadata and tensors")] = False,
    json: JsonOption = False,
) -> None:
    """Show what a model is."""
    wanted = {
        "license": license,
        "modelfile": modelfile,
        "parameters": parameters,
        "template": template,
        "system": system,
    }
    parts = [name for name, asked in wanted.items() if asked]
    if len(parts) > 1:
        raise typer.BadParameter(f"choose one of {', '.join('--' + part for part in parts)}")
    with connected() as client:
        answer = client.show(model, verbose=verbose or None)
    if json:
        say_record(answer)
    elif parts:
        say(str(answer.get(parts[0]) or ""))
    else:
        say(describe(answer, verbose=verbose))


def cp(
    source: StoredModelArgument,
    destination: Annotated[str, typer.Argument(help="The new name")],
    json: JsonOption = False,
) -> None:
    """Give a model a second name."""
    with connected() as client:
        client.copy(source, destination)
    if json:
        say_json({"copied": {"source": source, "destination": destination}})
    else:
        say(f"copied '{source}' to '{destination}'")


def rm(
    models: Annotated[list[str], typer.Argument(metavar="MODEL...", autocompletion=model_names)],
    json: JsonOption = False,
) -> None:
    """Remove models from the store."""
    from agentkit import ResponseError

    deleted: list[str] = []
    with connected() as client:
        for model in models:
            # A model that is not in memory cannot be stopped, and need not be.
            with suppress(ResponseError):
                client.stop(model)
            try:
                client.delete(model)
            except ResponseError as error:
                show_error(error)
                continue
            deleted.append(model)
            if not json:
                say(f"deleted '{model}'")
    if json:
        say_json({"deleted": deleted})
    if len(deleted) < len(models):
        raise typer.Exit(1)


def pull(
    model: Annotated[str, typer.Argument(metavar="MODEL")],
    insecure: InsecureOption = False,
    json: JsonOption = False,
) -> None:
    """Download a model into the store. Starts a server for it when none is running."""
    with connected(start=True) as client:
        name = progress.pull(client, model, insecure=insecure)
    if json:
        say_json({"pulled": name})
    elif name != model:
        note(f"stored as '{name}'")


def push(model: StoredModelArgument, insecure: InsecureOption = False, json: JsonOption = False) -> None:
    """Upload a model to the registry that its name begins with."""
    with connected(start=True) as client:
        progress.follow(client.push(model, insecure=insecure, stream=True))
    if json:
        say_json({"pushed": model})
