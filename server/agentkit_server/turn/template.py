"""Chat templates: Jinja sources that come with a model, rendered as transformers renders them.

A template is untrusted. It runs in the sandbox of sandbox.py, on a worker thread, for at most
`bounded.RENDER_SECONDS`, and may write at most `MAX_TEXT` characters; whatever goes wrong is a BadRequest
that names the model and carries the template's own words.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Any

from jinja2 import Template
from jinja2.exceptions import TemplateError

from agentkit_server.errors import BadRequest
from agentkit_server.turn.bounded import OutOfTime, in_time
from agentkit_server.turn.continuing import cut, marked
from agentkit_server.turn.conversation.probe import probe
from agentkit_server.turn.conversation.source import Vocabulary
from agentkit_server.turn.conversation.traits import TemplateTraits
from agentkit_server.turn.sandbox import TemplateEnvironment, given
from agentkit_server.turn.syntaxes.recognise import recognise
from agentkit_server.turn.syntaxes.syntax import Syntax

log = logging.getLogger(__name__)

MAX_SOURCE = 1 << 20
"""Characters in a template's source."""

PLAIN = "{% for message in messages %}{{ message.content }}{{ '' if loop.last else '\\n\\n' }}{% endfor %}"
"""Used for a model without a template: the contents, a blank line between them, and nothing else. The
model then simply continues the text, as Ollama's own default (the bare prompt) makes it do."""

Message = Mapping[str, Any]


@dataclass(frozen=True, kw_only=True)
class ChatTemplate:
    """A template of `model`, with the special tokens it may write (`bos_token` …)."""

    model: str
    source: str
    special_tokens: Mapping[str, str] = field(default_factory=dict[str, str])

    async def traits(self) -> TemplateTraits:
        """What the template understands, found out once for each source.

        Raises BadRequest when it cannot be read, or takes too long to be found out.
        """
        try:
            return await in_time(lambda: _traits(self.source))
        except (TemplateError, OutOfTime) as error:
            raise self._refusal(error) from error

    async def syntax(self, control: Mapping[str, int]) -> Syntax:
        """How the model writes thoughts and calls, with `control` tokens in its vocabulary."""
        return recognise(self.source, control)

    async def render(
        self, messages: Sequence[Message], *, continue_last: bool = False, **variables: Any
    ) -> str:
        """The conversation as a prompt that ends where the assistant's answer begins or, with
        `continue_last`, where the last message's text ends.

        Raises BadRequest when the template refuses the messages, is broken, or exceeds its bounds.
        """
        if continue_last:
            messages = [*messages[:-1], marked(messages[-1])]
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
        except (TemplateError, OutOfTime) as error:
            folded = _without_system(messages)
            if folded is None:
                raise self._refusal(error) from error
            text = await self._render_folded(values | {"messages": folded}, error)
        except Exception as error:
            # A template is a program: it can raise anything (a TypeError on content it did not expect …).
            raise self._refusal(error) from error
        return cut(self.model, text) if continue_last else text

    async def _render_folded(self, values: dict[str, Any], first: Exception) -> str:
        """Some templates know no system role: say the same at the head of the first user message."""
        try:
            text = await _render_in_time(self.source, values)
        except Exception:
            raise self._refusal(first) from first
        log.info("%s: the template takes no system message; it leads the first user message", self.model)
        return text

    def _refusal(self, error: Exception) -> BadRequest:
        reason = str(error) or type(error).__name__
        return BadRequest(
            f"the chat template of {self.model!r} refused the messages: {reason[:500]}", param="messages"
        )


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
    """Found by rendering, so only to be called within `in_time`."""
    template = _compiled(source)
    fixed = {"tools": None, "documents": None, "bos_token": "<s>", "eos_token": "</s>"}

    def render(variables: Mapping[str, Any]) -> str:
        return _written(template, {**fixed, "add_generation_prompt": True, **variables})

    return probe(render, Vocabulary(_ENVIRONMENT.parse(source)))


def _written(template: Template, values: Mapping[str, Any]) -> str:
    return _ENVIRONMENT.concat(template.generate(given(dict(values))))


async def _render_in_time(source: str, values: Mapping[str, Any]) -> str:
    return await in_time(lambda: _written(_compiled(source), values))
