"""From a turn's prompt to the token ids that the engine continues.

BOS is there exactly once when the model wants it: written by its template or added here, never both.
"""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property, partial
from typing import Any, cast

from agentkit_server.errors import BadRequest, MissingCapability
from agentkit_server.models.go_template import is_bare, readable
from agentkit_server.models.model import Model
from agentkit_server.runner.protocol import Runner
from agentkit_server.turn.conversation.conversation import Conversation, prepare
from agentkit_server.turn.conversation.ending import Ending, ending, ending_of_answer
from agentkit_server.turn.conversation.in_syntax import write_calls
from agentkit_server.turn.conversation.traits import Think
from agentkit_server.turn.go_template import GoChatTemplate, is_go
from agentkit_server.turn.syntaxes.families.generic import instructions
from agentkit_server.turn.syntaxes.recognise import PLAIN as NO_SYNTAX
from agentkit_server.turn.syntaxes.recognise import recognise
from agentkit_server.turn.syntaxes.syntax import Syntax
from agentkit_server.turn.template import PLAIN, ChatTemplate
from agentkit_server.turn.types import Chat, Infill, Prompt, Text, Tokens, Tool, Turn

log = logging.getLogger(__name__)

_SPECIAL_TOKENS = {
    "unk_token": "tokenizer.ggml.unknown_token_id",
    "sep_token": "tokenizer.ggml.seperator_token_id",
    "pad_token": "tokenizer.ggml.padding_token_id",
    "cls_token": "tokenizer.ggml.cls_token_id",
    "mask_token": "tokenizer.ggml.mask_token_id",
}


def with_model_messages(chat: Chat, model: Model) -> Chat:
    """`chat` behind the model's own SYSTEM and MESSAGE lines, unless the caller brings a system message."""
    if any(message.get("role") in ("system", "developer") for message in chat.messages):
        return chat
    system: list[dict[str, Any]] = [{"role": "system", "content": model.system}] if model.system else []
    own: list[dict[str, Any]] = [dict(message) for message in model.messages]
    return replace(chat, messages=(*system, *own, *chat.messages))


@dataclass(frozen=True)
class Rendered:
    """A prompt as text."""

    text: str
    thinking: Ending = "none"
    """Does it end inside a block of thoughts (open), behind one (closed), or is there none at its end?"""


@dataclass(frozen=True)
class Encoded:
    """A prompt as token ids, at least one."""

    tokens: list[int]
    thinking: Ending = "none"
    """As in Rendered; "none" for everything but a conversation."""
    text: str = ""
    """Of a conversation."""


async def encoder_for(turn: Turn, prompt: Prompt, model: Model, runner: Runner) -> tuple[Encoder, Syntax]:
    """What writes `prompt`, that of `turn`, and how the answer to it is written.

    Raises MissingCapability when the turn wants thoughts of a model that has none, BadRequest for a
    conversation whose template cannot be read.
    """
    listed = tuple(tool for tool in turn.tools if tool.listed)
    encoder = Encoder(model, runner, tools=listed, think=turn.think)
    # Raw text is continued as it stands: nothing in it is a thought or a call.
    chat = prompt.then if isinstance(prompt, Tokens) else prompt
    syntax = await encoder.syntax_of(chat) if isinstance(chat, Chat) else NO_SYNTAX
    if not turn.think or syntax.thinking is not None:
        return encoder, syntax
    if not turn.think_if_able:
        raise MissingCapability(f'"{turn.model}" does not support thinking', param="think")
    return replace(encoder, think=None), syntax


@dataclass(frozen=True)
class Encoder:
    """Writes prompts as token ids of one loaded model."""

    model: Model
    runner: Runner
    tools: tuple[Tool, ...] = ()
    """Shown in every conversation, whichever of them may be called."""
    think: Think = None

    async def encode(self, prompt: Prompt) -> Encoded:
        """The tokens of `prompt`.

        Raises BadRequest for an empty prompt, ids outside the vocabulary and messages that the template
        refuses; MissingCapability for infill on a model without it.
        """
        thinking: Ending = "none"
        text = ""
        match prompt:
            case Chat():
                rendered = await self.render(prompt)
                tokens = await self._text(rendered.text)
                text, thinking = rendered.text, rendered.thinking
            case Text():
                tokens = await self._text(prompt.text)
            case Infill():
                tokens = await self.infill(prompt, drop=0)
            case Tokens():
                tokens, thinking = await self._tokens(prompt)
        if not tokens:
            raise BadRequest("the prompt has no tokens; send at least one character", param="prompt")
        return Encoded(tokens, thinking, text)

    async def syntax_of(self, chat: Chat) -> Syntax:
        """How the answer to `chat` writes thoughts and calls. Raises BadRequest when the template cannot
        be read."""
        control = self.runner.facts.control
        syntax = await self._template(chat).syntax(control)
        if syntax.thinking is None and chat.template is None and self._go is not None:
            # A template may know nothing of the thoughts that its model has all the same.
            other = recognise(self.model.gguf.chat_template, control)
            return syntax if other.marked else replace(syntax, thinking=other.thinking)
        return syntax

    async def render(self, chat: Chat, *, continuing: bool = False) -> Rendered:
        """The text of `chat` by its own or the model's template. `continuing` leaves out BOS."""
        last = chat.messages[-1] if chat.messages else {}
        if chat.continue_last and last.get("tool_calls"):
            raise BadRequest(
                "the last message has tool calls, so that it cannot be continued; end the conversation with "
                "the results of the calls, or with a user message",
                param="messages",
            )
        template = self._template(chat, continuing=continuing)
        syntax = await self.syntax_of(chat)
        prepared = prepare(self._conversation(chat, syntax), await template.traits())
        for note in prepared.notes:
            log.info("%s: %s", self.model.name.short, note)
        variables = prepared.variables | chat.template_kwargs
        text = await template.render(prepared.messages, continue_last=chat.continue_last, **variables)
        if continuing and self.runner.facts.bos:
            text = text.removeprefix(self.runner.facts.bos)
        said = last.get("content") or ""
        if chat.continue_last and said.strip():
            return Rendered(text, ending_of_answer(said, syntax.thinking))
        return Rendered(text, ending(text, syntax.thinking, behind=said))

    def _template(self, chat: Chat, *, continuing: bool = False) -> ChatTemplate | GoChatTemplate:
        """The template of `chat`: its own, else the Go template that the model's owner stated, else that of
        the GGUF file."""
        model = self.model.name.short
        if chat.template is None and self._go is not None:
            return GoChatTemplate(model=model, source=self._go)
        if chat.template is not None and is_go(chat.template):
            return GoChatTemplate(model=model, source=chat.template, param="template")
        special = {
            **self._special_tokens,
            "bos_token": "" if continuing else self.runner.facts.bos,
            "eos_token": self.runner.facts.eos,
        }
        own = self.model.gguf.chat_template or PLAIN
        source = own if chat.template is None else chat.template
        return ChatTemplate(model=model, source=source, special_tokens=special)

    def _conversation(self, chat: Chat, syntax: Syntax) -> Conversation:
        generic = syntax.name == "generic"
        return Conversation(
            messages=chat.messages,
            tools=self.tools,
            think=self.think,
            generic=generic,
            instructions=instructions(self.tools) if generic and self.tools else "",
            write=partial(write_calls, syntax, self.tools),
        )

    async def infill(self, prompt: Infill, *, drop: int) -> list[int]:
        """Prefix, suffix and middle marks round the two texts, without the first `drop` tokens of the
        prefix. A Go template with a place for a suffix says how; else it is the vocabulary."""
        if self._go is not None and (found := readable(self._go)) and found.infills:
            left = await self._without(prompt.prefix, drop) if drop else prompt.prefix
            template = GoChatTemplate(model=self.model.name.short, source=self._go, param="suffix")
            return await self._text(await template.infill(left, prompt.suffix))
        if self.runner.facts.fim is None:
            raise MissingCapability(f"{self.model.name.short} does not support insert", param="suffix")
        pre, suf, mid = self.runner.facts.fim
        begin = await self.runner.tokenize("", add_special=True) if self.runner.facts.add_bos else []
        prefix = await self.runner.tokenize(prompt.prefix, add_special=False, parse_special=False)
        suffix = await self.runner.tokenize(prompt.suffix, add_special=False, parse_special=False)
        return [*begin[:1], pre, *prefix[drop:], suf, *suffix, mid]

    async def _without(self, text: str, drop: int) -> str:
        """`text` without its first `drop` tokens."""
        tokens = await self.runner.tokenize(text, add_special=False, parse_special=False)
        left = await self.runner.detokenize(tokens[drop:])
        # What is left of a character that was cut in two counts as one.
        return text[max(0, len(text) - len(left)) :] if left else ""

    async def _text(self, text: str, *, continuing: bool = False) -> list[int]:
        bos = self.runner.facts.bos
        add_special = not continuing and not (bos and text.startswith(bos))
        tokens = await self.runner.tokenize(text, add_special=add_special)
        metadata = self.model.gguf.metadata
        eos = metadata.get("tokenizer.ggml.eos_token_id")
        if add_special and metadata.get("tokenizer.ggml.add_eos_token") and tokens[-1:] == [eos]:
            # An end-of-sequence mark closes the text, and the model is to continue it.
            return tokens[:-1]
        return tokens

    async def _tokens(self, prompt: Tokens) -> tuple[list[int], Ending]:
        n_vocab = self.runner.facts.n_vocab
        for token in prompt.tokens:
            if not 0 <= token < n_vocab:
                raise BadRequest(
                    f"token id {token!r} is outside the vocabulary of {self.model.name.short!r}; "
                    f"ids go from 0 to {n_vocab - 1}",
                    param="prompt",
                )
        if prompt.then is None:
            return [*prompt.tokens], "none"
        if isinstance(prompt.then, Chat):
            rendered = await self.render(prompt.then, continuing=True)
        else:
            rendered = Rendered(prompt.then.text)
        return [*prompt.tokens, *await self._text(rendered.text, continuing=True)], rendered.thinking

    @cached_property
    def _go(self) -> str | None:
        """The model's Go template, where it is the one to use: not if it says nothing, or cannot be read
        where there is another."""
        source = self.model.go_template
        if source is None or not source.strip() or is_bare(source):
            return None
        unreadable = self.model.gguf.chat_template is not None and readable(source) is None
        return None if unreadable else source

    @cached_property
    def _special_tokens(self) -> dict[str, str]:
        metadata = self.model.gguf.metadata
        vocabulary = cast("Sequence[str]", metadata.get("tokenizer.ggml.tokens", ()))
        found: dict[str, str] = {}
        for name, key in _SPECIAL_TOKENS.items():
            token = metadata.get(key)
            if isinstance(token, int) and 0 <= token < len(vocabulary):
                found[name] = str(vocabulary[token])
        return found
