"""The options of `agentkit agent`, as several of its commands take them."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from agentkit_cli.completion import model_names
from agentkit_cli.run import RunCommand

ModelOption = Annotated[
    str,
    typer.Option("-m", "--model", help="A name or the path of a GGUF file", autocompletion=model_names),
]
ToolsOption = Annotated[
    list[str] | None,
    typer.Option(
        "--tools",
        metavar="FILE[:NAME,...]",
        help="Python functions as tools: those named, else those with @tool, else all public ones",
    ),
]
McpOption = Annotated[
    list[str] | None,
    typer.Option("--mcp", metavar="COMMAND|URL", help="The tools of an MCP server; may be repeated"),
]
OutputOption = Annotated[
    str | None,
    typer.Option(
        "--output",
        metavar="json|SCHEMA|FILE",
        help="Answer as JSON: any object, or by a JSON Schema, as text or in a file",
    ),
]
InstructionsOption = Annotated[
    str | None,
    typer.Option("--instructions", metavar="TEXT|@FILE", help="The system message, or a file that holds it"),
]
ThinkOption = Annotated[
    str | None,
    typer.Option(metavar="[=LEVEL]", help="Think first: true, false, low, medium, high or max"),
]
SettingsOption = Annotated[
    list[str] | None,
    typer.Option("-o", "--option", metavar="NAME=VALUE", help="A model option such as temperature=0"),
]
MaxTurnsOption = Annotated[
    int | None, typer.Option("--max-turns", min=1, help="Requests to the model; 20 when left out")
]
MaxToolCallsOption = Annotated[int | None, typer.Option("--max-tool-calls", min=0, help="Tool calls in all")]
MaxTokensOption = Annotated[
    int | None, typer.Option("--max-tokens", min=1, help="Tokens that the model writes in all")
]
MaxSecondsOption = Annotated[
    float | None, typer.Option("--max-seconds", min=0.001, help="Seconds in all, pauses left out")
]
WrapUpOption = Annotated[
    bool, typer.Option("--wrap-up", help="At a limit, one more turn in which the model can only answer")
]
YesOption = Annotated[bool, typer.Option("--yes", help="Approve every tool call")]
AskOption = Annotated[bool, typer.Option("--ask", help="Ask before every tool call")]
SaveOption = Annotated[
    Path | None, typer.Option("--save", metavar="FILE", help="Keep the run here, for `agent resume`")
]
RecordOption = Annotated[
    Path | None,
    typer.Option("--record", metavar="FILE", help="Write a run file; after a pause another"),
]
JsonLinesOption = Annotated[
    bool, typer.Option("--json", help="Print every event as a line of JSON on stdout")
]
VerboseOption = Annotated[bool, typer.Option("--verbose", help="Show what the run used on stderr")]
HideThinkingOption = Annotated[bool, typer.Option("--hidethinking", help="Do not show thinking")]


class AgentCommand(RunCommand):
    """Lets `--think` stand without a value, and `--no-think` for `--think=false`."""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        """Reads `--no-think` up to `--`."""
        end = args.index("--") if "--" in args else len(args)
        read = ["--think=false" if argument == "--no-think" else argument for argument in args[:end]]
        return super().parse_args(ctx, read + args[end:])
