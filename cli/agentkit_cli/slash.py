"""Slash commands of the conversation: what each does, its help, and what Tab completes.

A handler gets the session and the words after its name. It raises `Leave` to end the conversation, and
`CommandError` for what it cannot do.
"""

from __future__ import annotations

import shlex
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from agentkit_cli.conversation import Conversation
from agentkit_cli.description import describe
from agentkit_cli.errors import CommandError
from agentkit_cli.format import read_format
from agentkit_cli.history import History
from agentkit_cli.options import PARSERS, parse_option
from agentkit_cli.output import note, say, size_text, table, time_text

_LEVELS = ("low", "medium", "high", "max")

_HELP = (
    ("/set ...", "Change a setting; /help set lists them"),
    ("/show ...", "Show what the model is; /help show lists the parts"),
    ("/load MODEL", "Go on with another model"),
    ("/save MODEL", "Save this conversation as a model"),
    ("/clear", "Forget what was said"),
    ("/list", "List the models you have"),
    ("/bye, /exit", "Leave"),
    ("/?, /help", "This help"),
    ("/? shortcuts", "Keys"),
    ('"""', "Begins and ends a message of several lines"),
)
_SET_HELP = (
    ("/set parameter NAME VALUE", "An option of every request"),
    ("/set system TEXT", "The system message"),
    ("/set history, nohistory", "Keep what you type for next time, or not"),
    ("/set wordwrap, nowordwrap", "Wrap words at the edge of the terminal, or not"),
    ("/set format json, noformat", "Answers in JSON, or in any form"),
    ("/set format FILE", "Answers that follow the JSON Schema in a file"),
    ("/set verbose, quiet", "Show counts and times after an answer, or not"),
    ("/set think [LEVEL], nothink", "Let the model think first, or not"),
)
_SHOW_HELP = (
    ("/show info", "What the model is"),
    ("/show license", "Its license"),
    ("/show modelfile", "Its Modelfile"),
    ("/show parameters", "Its parameters, and those you set"),
    ("/show system", "The system message"),
    ("/show template", "Its prompt template"),
)
_SHORTCUTS = (
    ("Ctrl + a, e", "To the beginning, to the end of the line"),
    ("Alt + b, f", "One word back, one word forward"),
    ("Ctrl + k, u, w", "Delete to the end, to the beginning, the word before"),
    ("Ctrl + p, n", "Earlier and later lines, as the arrow keys do"),
    ("Ctrl + j", "A new line in the message"),
    ("Ctrl + g", "Write the message in your editor"),
    ("Ctrl + l", "Clear the screen"),
    ("Ctrl + c", "Stop the answer"),
    ("Ctrl + d", "Leave"),
    ("Tab", "Complete a command"),
)


class Leave(Exception):
    """The person wants to end the conversation."""


@dataclass
class Session:
    """What slash commands act on."""

    conversation: Conversation
    history: History


Handler = Callable[[Session, Sequence[str]], None]


def run_command(session: Session, line: str) -> None:
    """Carries out the command on `line`, which begins with a slash."""
    name, *words = _words(line)
    handler = _COMMANDS.get(name)
    if handler is None:
        raise CommandError(f"unknown command {name!r}", hint="/? lists the commands")
    handler(session, words)


def completions() -> dict[str, Any]:
    """What Tab offers after each word, for a nested completer."""
    topics: dict[str, Any] = {"set": None, "show": None, "shortcuts": None}
    settings: dict[str, Any] = dict.fromkeys(_SETTINGS)
    settings |= {
        "parameter": dict.fromkeys(PARSERS),
        "format": {"json": None},
        "think": dict.fromkeys(_LEVELS),
    }
    branches: dict[str, Any] = {
        "/set": settings,
        "/show": dict.fromkeys(_SHOWN),
        "/help": topics,
        "/?": topics,
    }
    return {name: branches.get(name) for name in _COMMANDS}


def _words(line: str) -> list[str]:
    try:
        return shlex.split(line)
    except ValueError:
        # An apostrophe in a system message is no opening quote.
        return line.split()


def _help(session: Session, words: Sequence[str]) -> None:
    topics = {"set": _SET_HELP, "/set": _SET_HELP, "show": _SHOW_HELP, "/show": _SHOW_HELP}
    rows = {**topics, "shortcut": _SHORTCUTS, "shortcuts": _SHORTCUTS}.get(words[0] if words else "", _HELP)
    say("\n".join(f"  {name:<30}{text}" for name, text in rows))


def _set(session: Session, words: Sequence[str]) -> None:
    setting = _SETTINGS.get(words[0]) if words else None
    if setting is None:
        raise CommandError(f"unknown setting {words[0] if words else ''!r}", hint="/help set lists them")
    setting(session, words[1:])


def _set_parameter(session: Session, words: Sequence[str]) -> None:
    if len(words) < 2:
        raise CommandError(
            "a parameter needs a name and a value", hint="for example /set parameter temperature 0"
        )
    value = parse_option(words[0], words[1:])
    session.conversation.options[words[0]] = value
    note(f"parameter {words[0]} is now {value}")


def _set_system(session: Session, words: Sequence[str]) -> None:
    if not words:
        raise CommandError("a system message needs a text", hint='/set system "Answer in one sentence."')
    session.conversation.system = " ".join(words).strip('"')
    note("the system message is set")


def _set_history(enabled: bool) -> Handler:
    def change(session: Session, words: Sequence[str]) -> None:
        session.history.enabled = enabled

    return change


def _set_wrap(wrap: bool) -> Handler:
    def change(session: Session, words: Sequence[str]) -> None:
        session.conversation.display.wrap = wrap
        note(f"words are {'wrapped' if wrap else 'not wrapped'}")

    return change


def _set_verbose(verbose: bool) -> Handler:
    def change(session: Session, words: Sequence[str]) -> None:
        session.conversation.display.verbose = verbose
        note(f"counts and times are {'shown' if verbose else 'not shown'}")

    return change


def _set_format(session: Session, words: Sequence[str]) -> None:
    if len(words) != 1:
        raise CommandError(
            f"unknown format {' '.join(words)!r}", hint="/set format json, or a file with a schema"
        )
    session.conversation.format = format = read_format(words[0])
    note("answers are in JSON" if format == "json" else f"answers follow the schema in {words[0]}")


def _set_no_format(session: Session, words: Sequence[str]) -> None:
    session.conversation.format = None
    note("answers are in any form")


def _set_think(session: Session, words: Sequence[str]) -> None:
    if words and words[0] not in _LEVELS:
        raise CommandError(f"unknown level {words[0]!r}", hint=f"use one of {', '.join(_LEVELS)}")
    session.conversation.think = words[0] if words else True
    note("the model thinks first")


def _set_no_think(session: Session, words: Sequence[str]) -> None:
    session.conversation.think = False
    note("the model does not think first")


def _show(session: Session, words: Sequence[str]) -> None:
    if len(words) != 1 or words[0] not in _SHOWN:
        raise CommandError(f"nothing to show for {' '.join(words)!r}", hint="/help show lists the parts")
    part, conversation = words[0], session.conversation
    answer = conversation.details()
    if part == "info":
        say(describe(answer))
    elif part == "system":
        say(conversation.system or answer.system or "no system message")
    elif part == "parameters":
        say("model:\n" + (answer.parameters or "  none"))
        mine = "\n".join(f"  {name:<20}{value}" for name, value in conversation.options.items())
        say("yours:\n" + (mine or "  none"))
    else:
        say(str(answer.get(part) or f"the model has no {part}"))


def _load(session: Session, words: Sequence[str]) -> None:
    if len(words) != 1:
        raise CommandError("one model is to be named", hint="/load MODEL; /list lists those you have")
    session.conversation.switch(words[0])
    note(f"now talking to {words[0]}")


def _save(session: Session, words: Sequence[str]) -> None:
    if len(words) != 1:
        raise CommandError("one name is to be given", hint="/save NAME")
    session.conversation.save(words[0])
    note(f"saved as {words[0]}")


def _clear(session: Session, words: Sequence[str]) -> None:
    session.conversation.clear()
    note("the conversation is empty")


def _list(session: Session, words: Sequence[str]) -> None:
    models = session.conversation.client.list().models
    rows = [
        (
            model.name or "",
            (model.digest or "")[:12],
            size_text(model.size or 0),
            time_text(model.modified_at),
        )
        for model in models
    ]
    say(table(("NAME", "ID", "SIZE", "MODIFIED"), rows))


def _leave(session: Session, words: Sequence[str]) -> None:
    raise Leave


_SHOWN = ("info", "license", "modelfile", "parameters", "system", "template")
_SETTINGS: Mapping[str, Handler] = {
    "parameter": _set_parameter,
    "system": _set_system,
    "history": _set_history(True),
    "nohistory": _set_history(False),
    "wordwrap": _set_wrap(True),
    "nowordwrap": _set_wrap(False),
    "format": _set_format,
    "noformat": _set_no_format,
    "verbose": _set_verbose(True),
    "quiet": _set_verbose(False),
    "think": _set_think,
    "nothink": _set_no_think,
}
_COMMANDS: Mapping[str, Handler] = {
    "/set": _set,
    "/show": _show,
    "/load": _load,
    "/save": _save,
    "/clear": _clear,
    "/list": _list,
    "/help": _help,
    "/?": _help,
    "/bye": _leave,
    "/exit": _leave,
}
