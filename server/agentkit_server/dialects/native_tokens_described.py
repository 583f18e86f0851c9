"""What the routes of native_tokens.py take and give, for /openapi.json."""

from __future__ import annotations

import msgspec
from msgspec import UNSET, UnsetType

from agentkit_server.dialects._described import GENERATES, LOADS, Description, Gives, Takes
from agentkit_server.dialects.native_described import MODEL, NATIVE, REFINED
from agentkit_server.errors import DeadlinePassed


class Tokenized(msgspec.Struct, kw_only=True, forbid_unknown_fields=True):
    model: str
    tokens: list[int]
    count: int


class Detokenized(msgspec.Struct, kw_only=True, forbid_unknown_fields=True):
    model: str
    text: str


class WrittenPrompt(msgspec.Struct, kw_only=True, forbid_unknown_fields=True):
    """The prompt, and how many tokens of it the model would read; `tokens` where they were asked for."""

    model: str
    prompt: str
    prompt_eval_count: int
    context_length: int
    tokens: list[int] | UnsetType = UNSET


TOKENIZE = Description(
    dialect=NATIVE,
    takes=Takes(
        refined=REFINED,
        required=(MODEL, ["text"]),
        unknown=True,
        examples={"text": {"model": "smollm2", "text": "Why is the sky blue?"}},
    ),
    gives=[Gives(Tokenized)],
    raises=(*LOADS, DeadlinePassed),
)
DETOKENIZE = Description(
    dialect=NATIVE,
    takes=Takes(
        refined=REFINED,
        required=(MODEL, ["tokens"]),
        unknown=True,
        examples={"ids": {"model": "smollm2", "tokens": [72, 105]}},
    ),
    gives=[Gives(Detokenized)],
    raises=(*LOADS, DeadlinePassed),
)
APPLY_TEMPLATE = Description(
    dialect=NATIVE,
    takes=Takes(
        refined=REFINED,
        required=(MODEL, ["messages"]),
        unknown=True,
        examples={"chat": {"model": "smollm2", "messages": [{"role": "user", "content": "Hello!"}]}},
    ),
    gives=[Gives(WrittenPrompt)],
    raises=GENERATES,
)
