"""Chat templates in Go's text/template language, rendered as Ollama renders them: the TEMPLATE layer of a
model of its registry, or the `template` of a request.

A template is untrusted: what it may do is bounded by its language (gotemplate/) and in time (bounded.py).
Whatever goes wrong is a BadRequest that names the model and says where in the template it was.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from agentkit_server.errors import BadRequest, GoTemplateError
from agentkit_server.models.go_template import parse
from agentkit_server.turn.bounded import OutOfTime, Result, in_time
from agentkit_server.turn.continuing import cut
from agentkit_server.turn.conversation.traits import TemplateTraits, Think
from agentkit_server.turn.go_facts import facts, go_syntax
from agentkit_server.turn.go_rendering import Given, filled, rendered
from agentkit_server.turn.syntaxes.recognise import signs_in
from agentkit_server.turn.syntaxes.syntax import Syntax

# What Go's actions begin with, and nothing in Jinja's braces can.
_GO = re.compile(
    r"""\{\{-?\s*(?:/\*|[.$]|(?:if|with|else)\s|(?:end|else|break|continue)\s*-?\}\}|range\s+[.$(]"""
    r"""|(?:define|block|template|json|slice|index|len|print\w*)\s+[.$"`]|(?:and|or|eq|ne)\s+[.$("`]"""
    r"""|not\s+[.$])"""
)


def is_go(source: str) -> bool:
    """Is `source` a Go template, rather than a Jinja one? Text without any action is a Jinja one."""
    return _GO.search(source) is not None


@dataclass(frozen=True, kw_only=True)
class GoChatTemplate:
    """A Go template of `model`."""

    model: str
    source: str
    param: str = "messages"
    """What a caller has to change when the template fails."""

    async def traits(self) -> TemplateTraits:
        """What the template understands, found out once for each source. Raises BadRequest."""
        found = await self._bounded(lambda: facts(self.source))
        return found.traits

    async def syntax(self, control: Mapping[str, int]) -> Syntax:
        """How the model writes thoughts and calls, with `control` tokens in its vocabulary. Raises
        BadRequest."""
        return await self._bounded(lambda: go_syntax(self.source, signs_in(control)))

    async def render(
        self, messages: Sequence[Mapping[str, Any]], *, continue_last: bool = False, **variables: Any
    ) -> str:
        """The conversation as a prompt that ends where the assistant's answer begins or, with
        `continue_last`, where the last message's text ends. Variables are `tools`, in OpenAI's form, and
        `think`. A model that can think does so where nothing is said about it, as in Ollama.

        Raises BadRequest when the template cannot be carried out, exceeds its bounds, or drops what is to be
        continued.
        """
        unknown = variables.keys() - {"tools", "think"}
        if unknown:
            raise BadRequest(
                f"the chat template of {self.model!r} is a Go template, whose variables are given: it takes "
                f"no {', '.join(map(repr, sorted(unknown)))}; leave the template's arguments out",
                param="chat_template_kwargs",
            )

        def work() -> str:
            given = Given(messages, variables.get("tools") or (), self._think(variables.get("think")))
            return rendered(parse(self.source), given, "continued" if continue_last else "answer")

        text = await self._bounded(work)
        return cut(self.model, text) if continue_last else text

    async def infill(self, prefix: str, suffix: str) -> str:
        """The prompt for what stands between the two texts. Raises BadRequest."""
        return await self._bounded(lambda: filled(parse(self.source), prefix, suffix))

    def _think(self, wanted: Think) -> Think:
        if wanted is not None:
            return wanted
        found = facts(self.source)
        able = bool(found.traits.switches) and go_syntax(self.source, frozenset[str]()).thinking is not None
        return True if able else None

    async def _bounded(self, work: Callable[[], Result]) -> Result:
        try:
            return await in_time(work)
        except GoTemplateError as error:
            where = f"line {error.line}, column {error.column}"
            raise self._refusal(f"{where}: {error.reason}") from error
        except OutOfTime as error:
            raise self._refusal(str(error)) from error
        except (TypeError, ValueError, RecursionError) as error:
            # What the messages hold, and no Go value can.
            raise self._refusal(str(error) or type(error).__name__) from error

    def _refusal(self, reason: str) -> BadRequest:
        return BadRequest(
            f"the chat template of {self.model!r} cannot be rendered: {reason[:500]}", param=self.param
        )
