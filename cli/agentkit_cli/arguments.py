"""Arguments and options that several commands share."""

from __future__ import annotations

from typing import Annotated

import typer

from agentkit_cli.completion import loaded_names, model_names

StoredModelArgument = Annotated[str, typer.Argument(metavar="MODEL", autocompletion=model_names)]
LoadedModelArgument = Annotated[str, typer.Argument(metavar="MODEL", autocompletion=loaded_names)]
JsonOption = Annotated[bool, typer.Option("--json", help="Print JSON on stdout")]
InsecureOption = Annotated[bool, typer.Option("--insecure", help="Allow plain HTTP to the model's registry")]
