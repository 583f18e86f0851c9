"""`agentkit run`: answers one prompt, embeds one text, or opens the conversation of `repl.py`.

The model is pulled first when the store does not have it. It is interactive only when both ends are terminals
and there is no prompt.
"""

from __future__ import annotations

import json
import sys
from contextlib import closing
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, Any

import typer
from typer.core import TyperCommand

from agentkit_cli import progress
from agentkit_cli.answer import Answer, Display
from agentkit_cli.arguments import InsecureOption, StoredModelArgument
from agentkit_cli.errors import CommandError
from agentkit_cli.format import read_format
from agentkit_cli.local_file import is_local_file, link
from agentkit_cli.output import note, say
from agentkit_cli.server import connected
from agentkit_cli.statistics import statistics_text

if TYPE_CHECKING:
    from agentkit import Client, ShowResponse

_THINK = {"true": True, "false": False}
_LEVELS = ("low", "medium", "high", "max")


class RunCommand(TyperCommand):
    """Lets `--think` stand without a value."""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        """Reads a bare `--think` as `--think=true`, up to `--`."""
        end = args.index("--") if "--" in args else len(args)
        read = ["--think=true" if argument == "--think" else argument for argument in args[:end]]
        return super().parse_args(ctx, read + args[end:])


@dataclass(frozen=True)
class Wish:
    """What the options of `run` ask of the server."""

    keep_alive: float | str | None
    format: str | dict[str, Any] | None
    think: bool | str | None
    truncate: bool | None
    dimensions: int | None


def run(  # noqa: PLR0913 - the parameters are the command's options
    model: StoredModelArgument,
    prompt: Annotated[list[str] | None, typer.Argument(metavar="PROMPT")] = None,
    keepalive: Annotated[
        str | None, typer.Option(help="How long the model stays loaded: 10m, seconds, 0, or -1 for ever")
    ] = None,
    verbose: Annotated[bool, typer.Option("--verbose", help="Show counts and times on stderr")] = False,
    nowordwrap: Annotated[bool, typer.Option("--nowordwrap", help="Do not wrap words")] = False,
    format: Annotated[
        str | None,
        typer.Option(
            metavar="json|SCHEMA|FILE",
            help="Form of the answer: json, or a JSON Schema, as text or in a file",
        ),
    ] = None,
    think: Annotated[
        str | None,
        typer.Option(metavar="[=LEVEL]", help="Think first: true, false, low, medium, high or max"),
    ] = None,
    hidethinking: Annotated[bool, typer.Option("--hidethinking", help="Do not show thinking")] = False,
    truncate: Annotated[
        bool | None, typer.Option("--truncate/--no-truncate", help="Embedding: cut what is too long")
    ] = None,
    dimensions: Annotated[int | None, typer.Option(min=1, help="Embedding: length of the vector")] = None,
    insecure: InsecureOption = False,
) -> None:
    """Chat with a model, or answer one prompt.

    MODEL is a name, or the path or URL of a GGUF file. The prompt is what stdin gives, then the words given
    here.
    """
    wish = Wish(_keep_alive(keepalive), _format(format), read_think(think), truncate, dimensions)
    display = Display(wrap=not nowordwrap, verbose=verbose, hide_thinking=hidethinking)
    text = _prompt(prompt)
    with connected(start=True) as client:
        name = link(client, model) if is_local_file(model) else model
        name, details = obtain(client, name, insecure=insecure)
        if "embedding" in (details.capabilities or ()) and "completion" not in (details.capabilities or ()):
            _embed(client, name, text or "", wish, display)
        elif text is not None:
            _answer(client, name, text, wish, display)
        else:
            _converse(client, name, wish, display)


def _prompt(words: list[str] | None) -> str | None:
    """The prompt from stdin and arguments; None asks for a conversation."""
    parts = ([] if sys.stdin.isatty() else [sys.stdin.read()]) + ([" ".join(words)] if words else [])
    if parts or not sys.stdout.isatty():
        return " ".join(part for part in parts if part)
    return None


def obtain(client: Client, model: str, *, insecure: bool) -> tuple[str, ShowResponse]:
    """Name of the model and what it is, pulled first when the store does not have it. A URL of a file is no
    name: each time the server looks whether the file there has changed."""
    from agentkit import ResponseError

    try:
        return model, client.show(model)
    except ResponseError as error:
        if error.status_code != 404 and "://" not in model:
            raise
    name = progress.pull(client, model, insecure=insecure)
    return name, client.show(name)


def _answer(client: Client, model: str, prompt: str, wish: Wish, display: Display) -> None:
    pieces = client.generate(
        model,
        prompt,
        stream=True,
        format=wish.format,
        think=wish.think,
        keep_alive=wish.keep_alive,
    )
    with closing(pieces):
        Answer(display).show(pieces, progress.waiting(client, model))


def _embed(client: Client, model: str, text: str, wish: Wish, display: Display) -> None:
    if not text:
        raise CommandError(
            f"{model!r} makes embeddings and needs a text", hint="give it as an argument or on stdin"
        )
    with progress.waiting(client, model):
        answer = client.embed(
            model, text, truncate=wish.truncate, dimensions=wish.dimensions, keep_alive=wish.keep_alive
        )
    say(json.dumps(list(answer.embeddings[0])))
    if display.verbose:
        note(statistics_text(answer))


def _converse(client: Client, model: str, wish: Wish, display: Display) -> None:
    # prompt_toolkit takes longer to import than a short answer takes to print.
    from agentkit_cli.conversation import Conversation
    from agentkit_cli.repl import Repl

    conversation = Conversation(client, model, display, keep_alive=wish.keep_alive)
    conversation.format = wish.format
    conversation.think = wish.think
    conversation.load()
    Repl(conversation).run()


def _keep_alive(text: str | None) -> float | str | None:
    if text is None:
        return None
    try:
        return float(text)
    except ValueError:
        return text


def _format(text: str | None) -> str | dict[str, Any] | None:
    if text is None:
        return None
    try:
        return read_format(text)
    except CommandError as error:
        raise typer.BadParameter(
            "; ".join(filter(None, (error.message, error.hint))), param_hint="--format"
        ) from None


def read_think(text: str | None) -> bool | str | None:
    """What `--think` asks for.

    Raises:
        typer.BadParameter: it is no level.
    """
    if text is None or text in _LEVELS:
        return text
    if text in _THINK:
        return _THINK[text]
    raise typer.BadParameter(
        f"{text!r} is not true, false or one of {', '.join(_LEVELS)}", param_hint="--think"
    )
