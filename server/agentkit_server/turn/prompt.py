"""From a turn's prompt to the token ids that the engine continues.

BOS is there exactly once when the model wants it: written by its template or added here, never both.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any, cast

from agentkit_server.errors import BadRequest, MissingCapability, NotBuiltYet
from agentkit_server.models.model import Model
from agentkit_server.runner.protocol import Runner
from agentkit_server.turn.template import PLAIN, ChatTemplate
from agentkit_server.turn.types import Chat, Infill, Prompt, Text, Tokens

_SPECIAL_TOKENS = {
    "unk_token": "tokenizer.ggml.unknown_token_id",
    "sep_token": "tokenizer.ggml.seperator_token_id",
    "pad_token": "tokenizer.ggml.padding_token_id",
    "cls_token": "tokenizer.ggml.cls_token_id",
    "mask_token": "tokenizer.ggml.mask_token_id",
}
_BARE_GO_TEMPLATE = "{{.Prompt}}"


def with_model_messages(chat: Chat, model: Model) -> Chat:
    """`chat` behind the model's own SYSTEM and MESSAGE lines, unless the caller brings a system message."""
    if any(message.get("role") == "system" for message in chat.messages):
        return chat
    system: list[dict[str, Any]] = [{"role": "system", "content": model.system}] if model.system else []
    own: list[dict[str, Any]] = [dict(message) for message in model.messages]
    return replace(chat, messages=(*system, *own, *chat.messages))


@dataclass(frozen=True)
class Encoder:
    """Writes prompts as token ids of one loaded model."""

    model: Model
    runner: Runner

    async def encode(self, prompt: Prompt) -> list[int]:
        """Token ids, at least one.

        Raises BadRequest for an empty prompt, ids outside the vocabulary and messages that the template
        refuses; MissingCapability for infill on a model without it; NotBuiltYet for a Go template.
        """
        match prompt:
            case Chat():
                tokens = await self._text(await self.render(prompt))
            case Text():
                tokens = await self._text(prompt.text)
            case Infill():
                tokens = await self.infill(prompt, drop=0)
            case Tokens():
                tokens = await self._tokens(prompt)
        if not tokens:
            raise BadRequest("the prompt has no tokens; send at least one character", param="prompt")
        return tokens

    async def render(self, chat: Chat, *, continuing: bool = False) -> str:
        """The text of `chat` by its own or the model's template. `continuing` leaves out BOS."""
        special = {
            **self._special_tokens,
            "bos_token": "" if continuing else self.runner.facts.bos,
            "eos_token": self.runner.facts.eos,
        }
        source = self._source if chat.template is None else chat.template
        template = ChatTemplate(model=self.model.name.short, source=source, special_tokens=special)
        return await template.render(chat.messages, continue_last=chat.continue_last, **chat.template_kwargs)

    async def infill(self, prompt: Infill, *, drop: int) -> list[int]:
        """Prefix, suffix and middle marks round the two texts, without the first `drop` tokens of the
        prefix."""
        if self.runner.facts.fim is None:
            raise MissingCapability(f"{self.model.name.short} does not support insert", param="suffix")
        pre, suf, mid = self.runner.facts.fim
        begin = await self.runner.tokenize("", add_special=True) if self.runner.facts.add_bos else []
        prefix = await self.runner.tokenize(prompt.prefix, add_special=False, parse_special=False)
        suffix = await self.runner.tokenize(prompt.suffix, add_special=False, parse_special=False)
        return [*begin[:1], pre, *prefix[drop:], suf, *suffix, mid]

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

    async def _tokens(self, prompt: Tokens) -> list[int]:
        n_vocab = self.runner.facts.n_vocab
        for token in prompt.tokens:
            if not 0 <= token < n_vocab:
                raise BadRequest(
                    f"token id {token!r} is outside the vocabulary of {self.model.name.short!r}; "
                    f"ids go from 0 to {n_vocab - 1}",
                    param="prompt",
                )
        match prompt.then:
            case None:
                more: list[int] = []
            case Chat():
                more = await self._text(await self.render(prompt.then, continuing=True), continuing=True)
            case Text():
                more = await self._text(prompt.then.text, continuing=True)
        return [*prompt.tokens, *more]

    @cached_property
    def _source(self) -> str:
        if self.model.gguf.chat_template is not None:
            return self.model.gguf.chat_template
        go_template = self.model.go_template
        if go_template is not None and "".join(go_template.split()) != _BARE_GO_TEMPLATE:
            raise NotBuiltYet(
                f"{self.model.name.short!r} has only a Go template, which this version does not render; "
                f"send raw=true with a complete prompt, or a Jinja `template`"
            )
        return PLAIN

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
