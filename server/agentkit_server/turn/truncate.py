"""Making a prompt fit its context. Nothing is cut unless the request asked for it, and what was cut is
counted, so that the answer can say so.

A prompt is too long when it leaves no cell to generate into. Once something has to go, room for an
answer is made as well: what `num_predict` asks for, at most a quarter of the context.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

from agentkit_server.errors import PromptTooLong
from agentkit_server.turn.conversation.ending import Ending
from agentkit_server.turn.prompt import Encoded, Encoder
from agentkit_server.turn.types import Chat, Infill, Prompt


@dataclass(frozen=True)
class Fitted:
    """Token ids that fit, and what is missing from them."""

    tokens: list[int]
    cut_tokens: int = 0
    cut_messages: int = 0
    thinking: Ending = "none"
    """Does the prompt end inside a block of thoughts, or behind one?"""


@dataclass(frozen=True)
class Space:
    """How much a prompt may take. Tokens."""

    context_length: int
    answer: int
    """What the request wants to generate; negative = as much as there is."""
    keep: int
    """Leading tokens that survive a cut of plain text."""

    @property
    def most(self) -> int:
        """The longest prompt that leaves one cell."""
        return self.context_length - 1

    @property
    def roomy(self) -> int:
        """The length that a prompt is cut to where there is a choice."""
        quarter = self.context_length // 4
        wanted = quarter if self.answer < 0 else min(self.answer, quarter)
        return max(1, min(self.most, self.context_length - wanted))


async def fit(encoder: Encoder, prompt: Prompt, space: Space, *, truncate: bool) -> Fitted:
    """The tokens of `prompt`, cut to `space` if they have to be and `truncate` allows it.

    Chat loses its oldest turns, keeping system messages and the newest turn; infill the head of its
    prefix; everything else its middle, after the first `keep` tokens.
    Raises PromptTooLong when it does not fit or cannot be cut to fit, and what `Encoder.encode` raises.
    """
    encoded = await encoder.encode(prompt)
    tokens = encoded.tokens
    if len(tokens) <= space.most:
        return Fitted(tokens, thinking=encoded.thinking)
    if not truncate:
        raise PromptTooLong(len(tokens), space.context_length)
    match prompt:
        case Chat():
            return await _cut_chat(encoder, prompt, space, len(tokens))
        case Infill():
            return await _cut_infill(encoder, prompt, space, len(tokens))
        case _:
            return _cut_middle(encoded, space)


def _cut_middle(encoded: Encoded, space: Space) -> Fitted:
    tokens = encoded.tokens
    # The first token is usually BOS, which models do badly without.
    keep = min(max(1, space.keep), space.roomy)
    tail = space.roomy - keep
    kept = [*tokens[:keep], *tokens[len(tokens) - tail :]]
    return Fitted(kept, cut_tokens=len(tokens) - len(kept), thinking=encoded.thinking)


async def _cut_infill(encoder: Encoder, prompt: Infill, space: Space, length: int) -> Fitted:
    tokens = await encoder.infill(prompt, drop=length - space.roomy)
    if len(tokens) > space.most:
        raise _uncuttable(len(tokens), space, "the suffix alone is")
    return Fitted(tokens, cut_tokens=length - len(tokens))


async def _cut_chat(encoder: Encoder, chat: Chat, space: Space, length: int) -> Fitted:
    """Find the fewest turns to drop by bisection: each try renders and tokenizes what would be left."""
    shorter = [replace(chat, messages=kept) for kept in _shorter(chat)]
    best: Fitted | None = None
    low, high = 0, len(shorter) - 1
    while low <= high:
        middle = (low + high) // 2
        tried = await _fitted(encoder, chat, shorter[middle], length)
        if len(tried.tokens) <= space.roomy:
            best = tried
            high = middle - 1
        else:
            low = middle + 1
    if best is not None:
        return best
    least = await _fitted(encoder, chat, shorter[-1] if shorter else chat, length)
    if len(least.tokens) > space.most:
        raise _uncuttable(len(least.tokens), space, "the newest turn and the system message alone are")
    return least


async def _fitted(encoder: Encoder, chat: Chat, shorter: Chat, length: int) -> Fitted:
    encoded = await encoder.encode(shorter)
    cut_messages = len(chat.messages) - len(shorter.messages)
    return Fitted(encoded.tokens, length - len(encoded.tokens), cut_messages, encoded.thinking)


def _shorter(chat: Chat) -> list[tuple[dict[str, Any], ...]]:
    """What is left of the messages after dropping ever more that is old: first whole turns, then rounds of
    calls within the newest one. A turn begins with a user message and a round with an assistant's, so that
    calls stay with their results and templates that insist on alternation are content."""
    messages = chat.messages
    pinned = {at for at, message in enumerate(messages) if message.get("role") in ("system", "developer")}
    body = [at for at in range(len(messages)) if at not in pinned]
    asked = [at for at in body if messages[at].get("role") == "user"]
    starts = [(at, pinned) for at in asked if at != body[0]]
    if asked:
        newest = pinned | {asked[-1]}
        answers = [at for at in body if at > asked[-1] and messages[at].get("role") == "assistant"]
        starts += [(at, newest) for at in answers[1:]]
    else:
        starts = [(at, pinned) for at in body[1:] if messages[at].get("role") != "tool"]
    return [
        tuple(message for at, message in enumerate(messages) if at in kept or at >= start)
        for start, kept in starts
    ]


def _uncuttable(length: int, space: Space, what: str) -> PromptTooLong:
    return PromptTooLong(
        length,
        space.context_length,
        message=f"the prompt is longer than the context length currently available to the model and cannot "
        f"be truncated further: {what} {length} tokens against {space.context_length}; shorten it or "
        f"raise num_ctx",
    )
