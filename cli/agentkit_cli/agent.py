"""`agentkit agent`: runs an agent with tools from files and MCP servers, and goes on with a run that has
paused."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

import typer

from agentkit_cli import agent_options as options
from agentkit_cli import agent_reading as reading
from agentkit_cli.answer import Display
from agentkit_cli.errors import CommandError
from agentkit_cli.run import read_think

DEFAULT_MODEL = "smollm2"

app = typer.Typer(
    no_args_is_help=True, rich_markup_mode=None, help="Run an agent with tools, or go on with its run."
)


@app.command("run", cls=options.AgentCommand)
def run(  # noqa: PLR0913 - the parameters are the command's options
    task: Annotated[list[str] | None, typer.Argument(metavar="TASK")] = None,
    model: options.ModelOption = DEFAULT_MODEL,
    tools: options.ToolsOption = None,
    mcp: options.McpOption = None,
    web: Annotated[bool, typer.Option("--web", help="The tools web_search and web_fetch")] = False,
    output: options.OutputOption = None,
    instructions: options.InstructionsOption = None,
    flow: Annotated[
        Literal["single", "parallel", "loop"],
        typer.Option(help="One tool and an answer, all calls of one turn, or until it answers"),
    ] = "loop",
    tool_choice: Annotated[
        Literal["auto", "none", "required"] | None, typer.Option(help="Of the first turn")
    ] = None,
    think: options.ThinkOption = None,
    option: options.SettingsOption = None,
    max_turns: options.MaxTurnsOption = None,
    max_tool_calls: options.MaxToolCallsOption = None,
    max_tokens: options.MaxTokensOption = None,
    max_seconds: options.MaxSecondsOption = None,
    wrap_up: options.WrapUpOption = False,
    yes: options.YesOption = False,
    ask: options.AskOption = False,
    save: options.SaveOption = None,
    record: options.RecordOption = None,
    json: options.JsonLinesOption = False,
    verbose: options.VerboseOption = False,
    hidethinking: options.HideThinkingOption = False,
) -> None:
    """Do a task with tools. What stdin gives comes after the task; `-` reads the task itself from stdin.

    Tools that say so need approval: it is asked for at a terminal, and elsewhere the run pauses with exit
    code 3.
    """
    prompt = reading.read_prompt(task)
    schema, settings = reading.read_schema(output), reading.read_settings(option or ())
    from agentkit import Limits, Run
    from agentkit_cli.agent_run import Manner, perform, wrong_usage
    from agentkit_cli.agent_setup import Setup, limits_of
    from agentkit_cli.agent_tools import absolute

    with wrong_usage("--tools"):
        files = [absolute(text) for text in tools or ()]
    setup = Setup(
        model=model,
        instructions=reading.read_instructions(instructions),
        tools=files,
        mcp=mcp or [],
        web=web,
        output=schema,
        flow=flow,
        tool_choice=tool_choice,
        limits=limits_of(
            Limits(wrap_up=wrap_up),
            turns=max_turns,
            tool_calls=max_tool_calls,
            tokens=max_tokens,
            seconds=max_seconds,
        ),
        think=read_think(think),
        options=settings,
        approval=reading.read_approval(yes=yes, ask=ask),
    )
    display = Display(verbose=verbose, hide_thinking=hidethinking)
    perform(setup, Run(), prompt, Manner(display, json, save, record))


@app.command("resume")
def resume(  # noqa: PLR0913 - the parameters are the command's options
    file: Annotated[Path, typer.Argument(metavar="FILE", help="What `agent run --save` has written")],
    task: Annotated[
        list[str] | None, typer.Argument(metavar="TASK", help="A further task, once the run has ended")
    ] = None,
    approve: Annotated[
        list[str] | None, typer.Option("--approve", metavar="ID", help="Let this call run")
    ] = None,
    deny: Annotated[
        list[str] | None,
        typer.Option("--deny", metavar="ID[=REASON]", help="Do not let this call run; the model reads why"),
    ] = None,
    approve_all: Annotated[
        bool, typer.Option("--approve-all", help="Let the other calls that wait run")
    ] = False,
    deny_all: Annotated[
        bool, typer.Option("--deny-all", help="Do not let the other calls that wait run")
    ] = False,
    max_turns: options.MaxTurnsOption = None,
    max_tool_calls: options.MaxToolCallsOption = None,
    max_tokens: options.MaxTokensOption = None,
    max_seconds: options.MaxSecondsOption = None,
    record: options.RecordOption = None,
    json: options.JsonLinesOption = False,
    verbose: options.VerboseOption = False,
    hidethinking: options.HideThinkingOption = False,
) -> None:
    """Go on with a run that has paused or was stopped.

    A run that has reached a limit goes on with a higher one. FILE is written again. The tools are loaded
    anew from where FILE says: resume only what you trust.
    """
    if approve_all and deny_all:
        raise typer.BadParameter("give one of --approve-all and --deny-all", param_hint="--deny-all")
    from agentkit_cli.agent_approval import Decisions
    from agentkit_cli.agent_run import Manner, perform
    from agentkit_cli.agent_setup import limits_of
    from agentkit_cli.agent_state import load

    state = load(file)
    Decisions(approve or (), deny or (), True if approve_all else False if deny_all else None).apply(
        state.run
    )
    if state.run.status == "done" and not task:
        raise CommandError(f"the run in {str(file)!r} is done", hint="give a further task")
    limits = limits_of(
        state.agent.limits,
        turns=max_turns,
        tool_calls=max_tool_calls,
        tokens=max_tokens,
        seconds=max_seconds,
    )
    display = Display(verbose=verbose, hide_thinking=hidethinking)
    setup = state.agent.model_copy(update={"limits": limits})
    perform(setup, state.run, " ".join(task or ()) or None, Manner(display, json, file, record))
