"""`verify`: whether every file of the store is as it was when it came."""

from __future__ import annotations

from contextlib import closing
from typing import TYPE_CHECKING, Annotated

import typer

from agentkit_cli.arguments import JsonOption
from agentkit_cli.completion import model_names
from agentkit_cli.errors import CommandError
from agentkit_cli.output import say, say_record, size_text
from agentkit_cli.progress import bar
from agentkit_cli.server import connected

if TYPE_CHECKING:
    from agentkit import Client, VerifyResponse


def verify(
    models: Annotated[
        list[str] | None, typer.Argument(metavar="[MODEL]...", autocompletion=model_names)
    ] = None,
    json: JsonOption = False,
) -> None:
    """Check the digests of all files of the store, or of some models. Removes nothing.

    Exit code 1 when something is damaged. What is damaged comes anew when its model is pulled again.
    """
    with connected(start=True) as client:
        answer = _answer(client, models or [])
    if json:
        say_record(answer)
    else:
        _tell(answer)
    if answer.problems:
        raise typer.Exit(1)


def _answer(client: Client, models: list[str]) -> VerifyResponse:
    with closing(client.verify(models, stream=True)) as steps, bar("verifying") as shown:
        for step in steps:
            shown(step.completed or 0, step.total or 0)
            if step.done:
                return step
    raise CommandError("the server ended before the last line of its answer", hint="try again")


def _tell(answer: VerifyResponse) -> None:
    problems = answer.problems or ()
    for found in problems:
        of = f" of {', '.join(found.models)}" if found.models else ""
        say(f"damaged: {found.path}{of}")
        say(f"    {found.problem}; {found.remedy}")
    counted = (
        f"{_count(answer.models, 'model')}, {_count(answer.files, 'file')}, {size_text(answer.total or 0)}"
    )
    say(f"{counted}: {_count(len(problems), 'problem') if problems else 'all well'}")


def _count(number: int | None, noun: str) -> str:
    return f"{number or 0} {noun}{'' if number == 1 else 's'}"
