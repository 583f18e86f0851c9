"""One command's run of an agent: from the tools and the server to the answer, a pause, or an error.

A pause at a terminal is a question to the person, and the run goes on with the same connections to its tools.
"""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Sequence
from contextlib import AsyncExitStack, contextmanager, redirect_stdout
from dataclasses import dataclass
from itertools import count
from pathlib import Path
from typing import TYPE_CHECKING, Any

import typer

from agentkit import AgentkitError, LimitReached, OutputInvalid, Run, RunOptions, Server, Tool, Toolset
from agentkit_cli import agent_approval, agent_state
from agentkit_cli.agent_view import JsonLines, Terminal, View, call_text, usage_text
from agentkit_cli.answer import Display
from agentkit_cli.errors import CommandError
from agentkit_cli.local_file import is_local_file, link
from agentkit_cli.output import note
from agentkit_cli.progress import waiting
from agentkit_cli.run import obtain
from agentkit_cli.server import located

if TYPE_CHECKING:
    from collections.abc import Generator

    from agentkit import Agent, Client
    from agentkit_cli.agent_setup import Setup

PAUSED = 3
"""The exit code of a run that waits for approvals."""
_OPTIONS = {
    "turns": "--max-turns",
    "tool_calls": "--max-tool-calls",
    "tokens": "--max-tokens",
    "seconds": "--max-seconds",
}


@dataclass(frozen=True)
class Manner:
    """How a run is shown and kept."""

    display: Display
    json: bool = False
    save: Path | None = None
    record: Path | None = None


@contextmanager
def wrong_usage(option: str) -> Generator[None, None, None]:
    """An error in the block is wrong usage of `option`."""
    try:
        yield
    except (CommandError, AgentkitError) as error:
        said = "; ".join(filter(None, (error.message, error.hint)))
        raise typer.BadParameter(said, param_hint=option) from error


def perform(setup: Setup, run: Run, task: str | None, manner: Manner) -> None:
    """Runs to the end.

    Raises:
        typer.Exit: the run has paused.
        typer.BadParameter: the tools or the output cannot be had.
        CommandError, AgentkitError: why it failed.
    """
    if manner.save and not manner.save.absolute().parent.is_dir():
        raise typer.BadParameter(f"no folder for {str(manner.save)!r}", param_hint="--save")
    data = sys.stdout
    # What a person's functions print is no answer.
    with redirect_stdout(sys.stderr):
        with wrong_usage("--tools"):
            own = setup.own_tools()
        with wrong_usage("the agent"):
            setup.agent([tool for tool in own if isinstance(tool, Tool)])
        with located(start=True) as (client, key):
            model = link(client, setup.model) if is_local_file(setup.model) else setup.model
            model, _ = obtain(client, model, insecure=False)
            setup = setup.model_copy(update={"model": model})
            run.model = run.model or model
            with redirect_stdout(data):
                view = _view(setup, manner, client, tools=bool(own))
            try:
                _conduct(_Work(setup, own, Server(client.base_url, api_key=key), run, manner, view), task)
            finally:
                if manner.display.verbose:
                    note(usage_text(run))
                if manner.save and run.messages:
                    agent_state.save(manner.save, setup, run)
                    if run.status not in ("done", "paused"):
                        note(f"the run is kept: go on with `agentkit agent resume {manner.save}`")
        if run.pending:
            _tell_pause(run, manner.save)
            raise typer.Exit(PAUSED)


@dataclass(frozen=True)
class _Work:
    setup: Setup
    own: Sequence[Tool | Toolset]
    server: Server
    run: Run
    manner: Manner
    view: View


def _view(setup: Setup, manner: Manner, client: Client, *, tools: bool) -> View:
    if manner.json:
        return JsonLines(sys.stdout)
    return Terminal(
        manner.display,
        lambda: waiting(client, setup.model),
        structured=setup.output is not None,
        tools=tools,
    )


def _conduct(work: _Work, task: str | None) -> None:
    try:
        # Ctrl-C cancels the task in it, and with it the request, the tools and their servers.
        asyncio.run(_connected(work, task))
    except LimitReached as error:
        hint = f"allow more with {_OPTIONS[error.limit]}, or ask for an answer at the limit with --wrap-up"
        raise CommandError(error.message, hint=hint) from error
    except OutputInvalid as error:
        hint = "allow more with -o num_predict=N or -o num_ctx=N" if error.hint else ""
        raise CommandError(error.message, hint=hint) from error


async def _connected(work: _Work, task: str | None) -> None:
    async with AsyncExitStack() as stack:
        tools: list[Tool] = []
        for one in work.own:
            tools += [one] if isinstance(one, Tool) else await stack.enter_async_context(one.connect())
        agent = work.setup.agent(tools, work.server)
        record = work.manner.record
        await _stretch(agent, work, task, record)
        for number in count(2):
            if not (work.run.pending and agent_approval.can_ask() and await agent_approval.ask(work.run)):
                return
            await _stretch(agent, work, None, record and record.with_stem(f"{record.stem}.{number}"))


async def _stretch(agent: Agent[Any], work: _Work, task: str | None, record: Path | None) -> None:
    """The run up to its end or its next pause. A run file holds no more than that."""
    options: RunOptions = {"run": work.run}
    if record:
        options["record"] = record
    try:
        async with agent.run_stream(task, **options) as stream:
            async for event in stream:
                work.view.show(event)
    finally:
        work.view.finish()


def _tell_pause(run: Run, kept: Path | None) -> None:
    note("Paused: these tool calls wait for approval")
    for call in run.pending:
        note(f"  {call.call_id}  {call_text(call.name, call.arguments)}")
    if kept:
        note(
            f"hint: go on with `agentkit agent resume {kept} --approve-all`, or --approve and --deny with ids"
        )
    else:
        note("hint: give --save FILE to go on later, or --yes to approve every call")
