"""A conversation with one model: its messages and settings, and how the next answer is asked for.

An answer that is interrupted stays in the conversation as far as it came; one that failed leaves no trace.
"""

from __future__ import annotations

from contextlib import closing
from typing import TYPE_CHECKING, Any

from agentkit_cli.answer import Answer, Display
from agentkit_cli.progress import follow, waiting

if TYPE_CHECKING:
    from agentkit import Client, ShowResponse


class Conversation:
    """What is said, to whom, and with which settings."""

    def __init__(
        self, client: Client, model: str, display: Display, *, keep_alive: float | str | None = None
    ) -> None:
        self.client = client
        self.model = model
        self.display = display
        self.messages: list[dict[str, str]] = []
        self.options: dict[str, Any] = {}
        self.system: str | None = None
        self.format: str | dict[str, Any] | None = None
        self.think: bool | str | None = None
        self._keep_alive = keep_alive

    def load(self) -> None:
        """Brings the model into memory, so that the first answer does not wait for it."""
        with waiting(self.client, self.model):
            self.client.chat(self.model, [], options=self.options or None, keep_alive=self._keep_alive)

    def switch(self, model: str) -> None:
        """Goes on with another model, from an empty conversation; stays with this one if that fails."""
        before, self.model = self.model, model
        try:
            self.load()
        except BaseException:
            self.model = before
            raise
        self.clear()

    def clear(self) -> None:
        """Forgets what was said; settings stay."""
        self.messages.clear()

    def save(self, name: str) -> None:
        """Makes a model of this one, with the settings and messages that a model can have."""
        said = [{"role": message["role"], "content": message["content"]} for message in self.messages]
        messages = [*self._begun(), *said]
        steps = self.client.create(
            name,
            from_=self.model,
            stream=True,
            system=self.system,
            parameters=self.options or None,
            messages=messages or None,
        )
        follow(steps)
        if said and self._begun() == messages:
            # Saved onto the model that is talked to, which has them from now on: sent too, they count twice.
            self.clear()

    def _begun(self) -> list[dict[str, str]]:
        """What each conversation with this model begins with."""
        own = self.details().messages or ()
        return [{"role": message.role, "content": message.content or ""} for message in own]

    def details(self) -> ShowResponse:
        """What the model is."""
        return self.client.show(self.model)

    def say(self, text: str) -> None:
        """Adds `text` as the person's message and shows the answer; an interrupt cancels it on the server."""
        self.messages.append({"role": "user", "content": text})
        answer = Answer(self.display)
        try:
            self._show(answer)
        finally:
            if answer.content:
                thoughts = {"thinking": answer.thinking} if answer.thinking else {}
                self.messages.append({"role": "assistant", "content": answer.content, **thoughts})
            else:
                self.messages.pop()

    def _show(self, answer: Answer) -> None:
        system = [{"role": "system", "content": self.system}] if self.system else []
        pieces = self.client.chat(
            self.model,
            [*system, *self.messages],
            stream=True,
            options=self.options or None,
            format=self.format,
            think=self.think,
            keep_alive=self._keep_alive,
        )
        with closing(pieces):
            answer.show(pieces, waiting(self.client, self.model))
