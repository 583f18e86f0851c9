"""The command tree. Importing it stays cheap: commands import the SDK, rich and the server as they run."""

from __future__ import annotations

import sys
from typing import Annotated, Any

import typer
from typer.core import TyperGroup

from agentkit_cli import agent, create, export, loaded, models, run, serve, verify
from agentkit_cli.errors import is_expected, show_error
from agentkit_cli.version import print_version, version

_CONTEXT = {"help_option_names": ["-h", "--help"]}


class Commands(TyperGroup):
    """The group of all commands, which turns errors into messages and exit codes."""

    def invoke(self, ctx: Any) -> Any:
        """Runs the command that was named."""
        try:
            return super().invoke(ctx)
        except KeyboardInterrupt:
            raise typer.Exit(130) from None
        except BrokenPipeError:
            # The reader of our output has gone; nothing may be written at exit either.
            sys.stdout = None
            raise typer.Exit(1) from None
        except Exception as error:
            if isinstance(error, (typer.Exit, typer.TyperException)) or not is_expected(error):
                raise
            show_error(error)
            raise typer.Exit(1) from error


app = typer.Typer(
    cls=Commands,
    context_settings=_CONTEXT,
    no_args_is_help=True,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
    help="Runs language models on this machine.",
)


@app.callback()
def root(
    version: Annotated[
        bool,
        typer.Option(
            "-v", "--version", help="Print the version and leave", is_eager=True, callback=print_version
        ),
    ] = False,
) -> None:
    """Options of `agentkit` itself."""


app.command("run", cls=run.RunCommand)(run.run)
app.add_typer(agent.app, name="agent")
app.command("create")(create.create)
app.command("pull")(models.pull)
app.command("push")(models.push)
app.command("list")(models.list_models)
app.command("ls", hidden=True)(models.list_models)
app.command("show")(models.show)
app.command("cp")(models.cp)
app.command("rm")(models.rm)
app.command("export")(export.export)
app.command("import")(export.import_)
app.command("verify")(verify.verify)
app.command("ps")(loaded.ps)
app.command("stop")(loaded.stop)
app.command("serve")(serve.serve)
app.command("start", hidden=True)(serve.serve)
app.command("version")(version)
