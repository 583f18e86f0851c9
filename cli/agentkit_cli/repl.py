"""The conversation at a terminal: reads messages and slash commands until the person leaves.

Enter sends, except inside triple quotes; Ctrl+J begins a new line. Ctrl-C stops an answer, never the program.
"""

from __future__ import annotations

import os
from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

from prompt_toolkit import PromptSession
from prompt_toolkit.completion import CompleteEvent, Completer, Completion
from prompt_toolkit.document import Document
from prompt_toolkit.filters import Condition
from prompt_toolkit.key_binding import KeyBindings, KeyPressEvent

from agentkit_cli.environment import flag, home, setting
from agentkit_cli.errors import is_expected, show_error
from agentkit_cli.history import History
from agentkit_cli.output import note
from agentkit_cli.slash import Leave, Session, completions, run_command

if TYPE_CHECKING:
    from prompt_toolkit.buffer import Buffer

    from agentkit_cli.conversation import Conversation

PROMPT = ">>> "
CONTINUATION = "... "
_QUOTES = '"""'
_INDENT = "    "
_HOW_TO_LEAVE = "to leave, type /bye or press Ctrl + d"


class CommandCompleter(Completer):
    """Completes the words of slash commands, and of nothing else."""

    def get_completions(self, document: Document, complete_event: CompleteEvent) -> Iterable[Completion]:
        """What the word before the cursor can become."""
        *before, word = document.text_before_cursor.split(" ")
        offered: dict[str, Any] = completions()
        for earlier in before:
            offered = offered.get(earlier) or {}
        return [Completion(name, -len(word)) for name in offered if name.startswith(word)]


class Repl:
    """Reads what a person types and has it answered."""

    def __init__(self, conversation: Conversation) -> None:
        self._conversation = conversation
        enabled = not flag("NOHISTORY")
        self._session = Session(conversation, History(home() / "history", enabled=enabled))
        self._prompt: PromptSession[str] = PromptSession(
            message=PROMPT,
            history=self._session.history,
            multiline=True,
            prompt_continuation=CONTINUATION,
            completer=CommandCompleter(),
            complete_while_typing=False,
            enable_suspend=True,
            key_bindings=_keys(),
            placeholder=[("fg:ansibrightblack", "Send a message (/? for help)")],
        )

    def run(self) -> None:
        """Returns when the person leaves by /bye, /exit or Ctrl-D."""
        if editor := setting("EDITOR"):
            os.environ["VISUAL"] = editor
        while True:
            try:
                text = unquoted(self._prompt.prompt())
                if text:
                    self._handle(text)
            except KeyboardInterrupt:
                note(_HOW_TO_LEAVE)
            except (EOFError, Leave):
                return

    def _handle(self, text: str) -> None:
        try:
            if text.startswith("/"):
                run_command(self._session, text)
            else:
                self._conversation.say(text)
                note()
        except KeyboardInterrupt:
            note("stopped")
        except Exception as error:
            if isinstance(error, Leave) or not is_expected(error):
                raise
            show_error(error)


def unquoted(text: str) -> str:
    """The message in `text`, without the triple quotes around it."""
    text = text.strip()
    if not text.startswith(_QUOTES):
        return text
    return text.removeprefix(_QUOTES).removesuffix(_QUOTES).strip("\n")


def is_open(text: str) -> bool:
    """Whether `text` begins with triple quotes that are not closed yet."""
    text = text.strip()
    return text.startswith(_QUOTES) and _QUOTES not in text[len(_QUOTES) :]


def _keys() -> KeyBindings:
    keys = KeyBindings()

    @keys.add("enter")
    def send(event: KeyPressEvent) -> None:
        buffer: Buffer = event.current_buffer
        if is_open(buffer.text):
            buffer.insert_text("\n")
        else:
            buffer.validate_and_handle()

    @keys.add("c-j")
    def new_line(event: KeyPressEvent) -> None:
        event.current_buffer.insert_text("\n")

    @keys.add("c-g")
    def edit(event: KeyPressEvent) -> None:
        event.current_buffer.open_in_editor()

    @keys.add("tab", filter=~Condition(_in_command))
    def indent(event: KeyPressEvent) -> None:
        event.current_buffer.insert_text(_INDENT)

    del send, new_line, edit, indent
    return keys


def _in_command() -> bool:
    from prompt_toolkit.application import get_app

    return get_app().current_buffer.text.startswith("/")
