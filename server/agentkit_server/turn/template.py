"""Chat templates: Jinja sources that come with a model, rendered as transformers renders them.

A template is untrusted. It runs in the sandbox of sandbox.py, on a worker thread, for at most
`RENDER_SECONDS`, and may write at most `MAX_TEXT` characters; whatever goes wrong is a BadRequest that
names the model and carries the template's own words.
"""

from __future__ import annotations

import asyncio
import ctypes
import logging
import threading
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Any, Generic, TypeVar, cast

from anyio import to_thread
from jinja2 import Template
from jinja2.exceptions import TemplateError

from agentkit_server.errors import BadRequest
from agentkit_server.turn.conversation.probe import probe
from agentkit_server.turn.conversation.source import Vocabulary
from agentkit_server.turn.conversation.traits import TemplateTraits
from agentkit_server.turn.sandbox import TemplateEnvironment, given

log = logging.getLogger(__name__)

RENDER_SECONDS = 5.0
MAX_SOURCE = 1 << 20
"""Characters in a template's source."""

PLAIN = "{% for message in messages %}{{ message.content }}{{ '' if loop.last else '\\n\\n' }}{% endfor %}"
"""Used for a model without a template: the contents, a blank line between them, and nothing else. The
model then simply continues the text, as Ollama's own default (the bare prompt) makes it do."""

# A caller's text never ends in this; the rendered conversation is cut where it stands.
_MARK = "\ue000agentkit:continue\ue001"

Message = Mapping[str, Any]


Result = TypeVar("Result")


class _OutOfTimeError(BaseException):
    """Thrown into the rendering thread. Not an Exception: a filter must not be able to swallow it."""


@dataclass(frozen=True, kw_only=True)
class ChatTemplate:
    """A template of `model`, with the special tokens it may write (`bos_token` …)."""

    model: str
    source: str
    special_tokens: Mapping[str, str] = field(default_factory=dict[str, str])

    async def traits(self) -> TemplateTraits:
        """What the template understands, found out once for each source.

        Raises BadRequest when it cannot be read, or takes longer than `RENDER_SECONDS` to be found out.
        """
        try:
            return await _in_time(lambda: _traits(self.source))
        except TemplateError as error:
            raise self._refusal(error) from error

    async def render(
        self, messages: Sequence[Message], *, continue_last: bool = False, **variables: Any
    ) -> str:
        """The conversation as a prompt that ends where the assistant's answer begins or, with
        `continue_last`, where the last message's text ends.

        Raises BadRequest when the template refuses the messages, is broken, or exceeds its bounds.
        """
        if continue_last:
            messages = [*messages[:-1], _marked(messages[-1])]
        values = {
            "messages": list(messages),
            "tools": None,
            "documents": None,
            **self.special_tokens,
            **variables,
            "add_generation_prompt": not continue_last,
        }
        try:
            text = await _render_in_time(self.source, values)
        except TemplateError as error:
            folded = _without_system(messages)
            if folded is None:
                raise self._refusal(error) from error
            text = await self._render_folded(values | {"messages": folded}, error)
        except Exception as error:
            # A template is a program: it can raise anything (a TypeError on content it did not expect …).
            raise self._refusal(error) from error
        return self._cut(text) if continue_last else text

    async def _render_folded(self, values: dict[str, Any], first: TemplateError) -> str:
        """Some templates know no system role: say the same at the head of the first user message."""
        try:
            text = await _render_in_time(self.source, values)
        except Exception:
            raise self._refusal(first) from first
        log.info("%s: the template takes no system message; it leads the first user message", self.model)
        return text

    def _cut(self, text: str) -> str:
        end = text.rfind(_MARK)
        if end < 0:
            raise BadRequest(
                f"the chat template of {self.model!r} drops the last message, so that it cannot be "
                f"continued; end the conversation with a user message",
                param="messages",
            )
        return text[:end]

    def _refusal(self, error: Exception) -> BadRequest:
        reason = str(error) or type(error).__name__
        return BadRequest(
            f"the chat template of {self.model!r} refused the messages: {reason[:500]}", param="messages"
        )


def _marked(message: Message) -> dict[str, Any]:
    content = message.get("content")
    if isinstance(content, list):
        return {**message, "content": [*cast("list[Any]", content), {"type": "text", "text": _MARK}]}
    return {**message, "content": f"{content or ''}{_MARK}"}


def _without_system(messages: Sequence[Message]) -> list[Message] | None:
    """`messages` with the leading system message folded into the user message after it."""
    if len(messages) < 2 or messages[0].get("role") != "system" or messages[1].get("role") != "user":
        return None
    content = f"{messages[0].get('content') or ''}\n\n{messages[1].get('content') or ''}"
    return [{**messages[1], "content": content}, *messages[2:]]


@lru_cache(maxsize=64)
def _compiled(source: str) -> Template:
    if len(source) > MAX_SOURCE:
        raise TemplateError(f"its source has {len(source)} characters; at most {MAX_SOURCE} are read")
    try:
        return _ENVIRONMENT.from_string(source)
    except RecursionError as error:
        raise TemplateError("its source is nested too deeply") from error


_ENVIRONMENT = TemplateEnvironment()


@lru_cache(maxsize=64)
def _traits(source: str) -> TemplateTraits:
    """Found by rendering, so only to be called within `_in_time`."""
    template = _compiled(source)
    fixed = {"tools": None, "documents": None, "bos_token": "<s>", "eos_token": "</s>"}

    def render(variables: Mapping[str, Any]) -> str:
        return _written(template, {**fixed, "add_generation_prompt": True, **variables})

    return probe(render, Vocabulary(_ENVIRONMENT.parse(source)))


def _written(template: Template, values: Mapping[str, Any]) -> str:
    return _ENVIRONMENT.concat(template.generate(given(dict(values))))


class _Job(Generic[Result]):
    """Templates running on a worker thread, which can be stopped from another."""

    def __init__(self, work: Callable[[], Result]) -> None:
        self._work = work
        self._lock = threading.Lock()
        self._thread: int | None = None

    def run(self) -> Result:
        """Raises TemplateError when it was stopped."""
        try:
            try:
                with self._lock:
                    self._thread = threading.get_ident()
                return self._work()
            finally:
                # Once this is None nothing can be thrown any more: the thread may go on to other work.
                with self._lock:
                    self._thread = None
        except _OutOfTimeError:
            raise TemplateError(f"it ran for more than {RENDER_SECONDS:g} seconds") from None

    def stop(self) -> None:
        """Throw out of the template's next step, if it still runs."""
        with self._lock:
            if self._thread is not None:
                thread = ctypes.c_ulong(self._thread)
                ctypes.pythonapi.PyThreadState_SetAsyncExc(thread, ctypes.py_object(_OutOfTimeError))


async def _render_in_time(source: str, values: Mapping[str, Any]) -> str:
    return await _in_time(lambda: _written(_compiled(source), values))


async def _in_time(work: Callable[[], Result]) -> Result:
    job = _Job(work)
    loop = asyncio.get_running_loop()

    def stop() -> None:
        # Again until it has ended: an exception thrown into a finaliser is swallowed there.
        nonlocal timer
        job.stop()
        timer = loop.call_later(0.1, stop)

    timer = loop.call_later(RENDER_SECONDS, stop)
    try:
        return await to_thread.run_sync(job.run)
    finally:
        timer.cancel()
