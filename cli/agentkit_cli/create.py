"""`create`: makes a model as a Modelfile says. Files are uploaded, unless the server has them."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from agentkit_cli import progress
from agentkit_cli.arguments import JsonOption
from agentkit_cli.completion import model_names, quantizations
from agentkit_cli.errors import CommandError
from agentkit_cli.model_files import (
    Files,
    adapter_files,
    found,
    has_a_model,
    is_an_address,
    looks_like_a_path,
    model_files,
)
from agentkit_cli.output import note, say_json
from agentkit_cli.server import connected

if TYPE_CHECKING:
    from agentkit import Client
    from agentkit_server.models.modelfile import Modelfile

_USUAL = "Modelfile"


def create(
    model: Annotated[str, typer.Argument(metavar="MODEL", autocompletion=model_names)],
    file: Annotated[
        Path | None, typer.Option("-f", "--file", metavar="FILE", help="The Modelfile; - is stdin")
    ] = None,
    quantize: Annotated[
        str | None,
        typer.Option("-q", "--quantize", metavar="TYPE", help="Such as q4_K_M", autocompletion=quantizations),
    ] = None,
    imatrix: Annotated[
        Path | None, typer.Option("--imatrix", metavar="FILE", help="Importance matrix to quantize with")
    ] = None,
    draft_quantize: Annotated[
        str | None,
        typer.Option(
            "--draft-quantize", metavar="TYPE", help="Of the DRAFT model", autocompletion=quantizations
        ),
    ] = None,
    json: JsonOption = False,
) -> None:
    """Make a model as a Modelfile says.

    Without -f that is ./Modelfile, or else the model in this folder. Paths in it begin at its own folder.
    Starts a server for it when none is running.
    """
    content, folder, shown = _read(file)
    modelfile, recipe = _recipe(content, folder, shown, model)
    if imatrix is not None and not imatrix.is_file():
        raise CommandError(f"no file at {str(imatrix)!r}", hint="give what llama-imatrix has written")
    for warning in modelfile.warnings:
        note(f"warning: {shown}: {warning}")
    with connected(start=True) as client:
        # Asked first, for hashing takes minutes where files are large.
        client.version()
        digests = _upload(client, [*recipe.paths, *([imatrix] if imatrix else [])])
        matrix = digests[imatrix] if imatrix else None
        arguments = recipe.arguments(digests)
        if draft_quantize:
            arguments["draft_quantize"] = draft_quantize
        steps = client.create(model, quantize, stream=True, imatrix=matrix, **arguments)
        progress.follow(steps)
    if json:
        say_json({"created": model})


@dataclass
class Recipe:
    """What the server is asked to make, with files by their paths."""

    base: str | None = None
    files: Files = field(default_factory=Files)
    drafts: Files = field(default_factory=Files)
    adapters: Files = field(default_factory=Files)
    scales: dict[str, float] = field(default_factory=dict[str, float])
    said: dict[str, Any] = field(default_factory=dict[str, Any])

    @property
    def paths(self) -> list[Path]:
        """Every file, once."""
        named = (*self.files.values(), *self.drafts.values(), *self.adapters.values())
        return list(dict.fromkeys(named))

    def arguments(self, digests: dict[Path, str]) -> dict[str, Any]:
        """Arguments of the client's `create`."""
        files = {"files": self.files, "draft_files": self.drafts, "adapters": self.adapters}
        uploaded = {
            name: {each: digests[path] for each, path in paths.items()}
            for name, paths in files.items()
            if paths
        }
        scales = {"adapter_scales": self.scales} if self.scales else {}
        return {"from_": self.base, **uploaded, **scales, **self.said}


def _read(file: Path | None) -> tuple[bytes, Path, str]:
    """The Modelfile, the folder that its paths begin at, and what to call it in errors."""
    here = Path()
    if file is None and not Path(_USUAL).exists() and has_a_model(here):
        return b"FROM .", here, "this folder"
    if file == Path("-"):
        return sys.stdin.buffer.read(), here, "stdin"
    path = Path(os.path.expanduser(file or _USUAL))
    try:
        # A pipe, such as the shell's <(…), has no folder of its own.
        return path.read_bytes(), path.parent if path.is_file() else here, str(path)
    except OSError as error:
        reason = error.strerror or error
        hint = "write one that begins with FROM, or name it with -f FILE"
        raise CommandError(f"cannot read the Modelfile {str(path)!r}: {reason}", hint=hint) from None


def _recipe(content: bytes, folder: Path, shown: str, model: str) -> tuple[Modelfile, Recipe]:
    # Imported here because `--help` must not pay for them.
    from agentkit_server.errors import InvalidModelName, ModelfileError
    from agentkit_server.models.modelfile import parse
    from agentkit_server.models.names import ModelName

    try:
        ModelName.parse(model)
        modelfile = parse(content)
        recipe = Recipe(said=_said(modelfile))
        _add_sources(recipe, modelfile, folder)
        _add_adapters(recipe, modelfile, folder)
        _add_draft(recipe, modelfile, folder)
    except InvalidModelName as error:
        raise CommandError(error.message) from None
    except ModelfileError as error:
        raise CommandError(f"{shown}: {error.message}") from None
    return modelfile, recipe


def _said(modelfile: Modelfile) -> dict[str, Any]:
    """What is not made of files."""
    said = {
        "template": modelfile.template,
        "system": modelfile.system,
        "license": list(modelfile.license),
        "parameters": dict(modelfile.parameters),
        "messages": [message._asdict() for message in modelfile.messages],
        "renderer": modelfile.renderer,
        "parser": modelfile.parser,
        "requires": modelfile.requires,
    }
    return {name: value for name, value in said.items() if value}


def _add_sources(recipe: Recipe, modelfile: Modelfile, folder: Path) -> None:
    for index, source in enumerate(modelfile.from_):
        files = _files(modelfile, "from", index, source, folder)
        if files is not None:
            recipe.files |= _distinct(recipe.files, files)
        elif looks_like_a_path(source):
            raise modelfile.error(f"no file or folder at {source!r}", "from", index)
        elif recipe.base is not None:
            message = f"FROM may name one model, and {recipe.base!r} is named above; the others are files"
            raise modelfile.error(message, "from", index)
        else:
            recipe.base = _model_name(modelfile, index, source)


def _model_name(modelfile: Modelfile, index: int, source: str) -> str:
    from agentkit_server.errors import InvalidModelName
    from agentkit_server.models.names import ModelName

    try:
        # An address is for the server to judge.
        if not is_an_address(source):
            ModelName.parse(source)
    except InvalidModelName:
        message = f"{source!r} is neither a file or folder here nor a model name"
        raise modelfile.error(message, "from", index) from None
    return source


def _add_adapters(recipe: Recipe, modelfile: Modelfile, folder: Path) -> None:
    for index, adapter in enumerate(modelfile.adapters):
        files = _files(modelfile, "adapter", index, adapter.path, folder)
        if files is None:
            raise modelfile.error(f"no file or folder at {adapter.path!r}", "adapter", index)
        if len(modelfile.adapters) > 1:
            # The files of one adapter share a folder, by which the server tells adapters apart.
            files = {f"{index + 1}/{name}": file for name, file in files.items()}
        recipe.adapters |= files
        if adapter.scale != 1:
            recipe.scales[next(iter(files))] = adapter.scale


def _add_draft(recipe: Recipe, modelfile: Modelfile, folder: Path) -> None:
    if modelfile.draft is None:
        return
    files = _files(modelfile, "draft", 0, modelfile.draft, folder)
    if files is None:
        raise modelfile.error(f"no file or folder at {modelfile.draft!r}", "draft")
    recipe.drafts = files


def _files(modelfile: Modelfile, command: str, index: int, text: str, folder: Path) -> Files | None:
    """The files that `text` names, None when there are none."""
    try:
        path = found(text, folder)
        if path is None:
            return None
        return adapter_files(path) if command == "adapter" else model_files(path)
    except CommandError as error:
        raise modelfile.error(error.message, command, index) from None
    except OSError as error:
        message = f"cannot read {text!r}: {error.strerror or error}"
        raise modelfile.error(message, command, index) from None


def _distinct(taken: Files, files: Files) -> Files:
    """`files` under names that are not taken by others: the same name may be in two folders."""
    clash = any(taken.get(name, path) != path for name, path in files.items())
    return {f"{len(taken)}/{name}": path for name, path in files.items()} if clash else files


def _upload(client: Client, paths: Iterable[Path]) -> dict[Path, str]:
    """The digest of each file, which the server has afterwards."""
    from agentkit import AgentkitError

    digests: dict[Path, str] = {}
    with progress.uploads() as told:
        for path in paths:
            try:
                digests[path] = client.create_blob(path, progress=told(path.name))
            except AgentkitError:
                # A lost connection is an OSError too, and tells of itself.
                raise
            except OSError as error:
                raise CommandError(f"cannot read {str(path)!r}: {error.strerror or error}") from None
    return digests
