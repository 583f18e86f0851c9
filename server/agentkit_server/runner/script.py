"""The script of a scripted runner: its vocabulary, and the replay of one completion.

Nothing here waits; what fails is a script that says what its request's grammar does not allow. Tokens are
UTF-8 bytes (ids 0 to 255), then the control strings.
"""

from __future__ import annotations

import codecs
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

from agentkit_server.engine.constraint import (
    Constraint,
    ConstraintBroken,
    GrammarRefused,
    compile_grammar,
)
from agentkit_server.engine.types import (
    Delta,
    Finished,
    FinishReason,
    Generate,
    LoadSpec,
    ModelFacts,
    Pooling,
    Timings,
    TokenLogprob,
    TopLogprob,
    Usage,
)
from agentkit_server.errors import AgentkitError, InvalidGrammar
from agentkit_server.runner.byte_tokens import byte_tokenizer

BYTES = 256
NS_PER_TOKEN = 1000
SHOWN = 80
"""Characters of an answer that an error quotes."""


class ScriptLeftGrammar(AgentkitError):
    """A script says something that a model could not have said: the request's grammar forbids it."""


@dataclass(frozen=True, kw_only=True)
class ScriptedModel:
    """The facts of a scripted model. `bos`, `eog` and `fim` must be among `control`."""

    control: tuple[str, ...] = ("<|endoftext|>", "<|im_start|>", "<|im_end|>")
    """Each of these texts is one token."""
    bos: str = "<|endoftext|>"
    eog: tuple[str, ...] = ("<|im_end|>", "<|endoftext|>")
    """End-of-generation tokens; the first is `eos`."""
    add_bos: bool = False
    fim: tuple[str, str, str] | None = None
    pooling: Pooling = "none"
    n_ctx_train: int = 8192
    n_embd: int = 8

    @property
    def n_vocab(self) -> int:
        return BYTES + len(self.control)

    def id(self, text: str) -> int:
        """Token id of a control string."""
        return BYTES + self.control.index(text)

    def encode(self, text: str, *, special: bool = True) -> list[int]:
        """Token ids of `text`; with `special`, control strings in it become their own token."""
        if not (special and self.control):
            return list(text.encode())
        pattern = "(" + "|".join(map(re.escape, sorted(self.control, key=len, reverse=True))) + ")"
        tokens: list[int] = []
        for part in re.split(pattern, text):
            tokens += [self.id(part)] if part in self.control else part.encode()
        return tokens

    def piece(self, token: int) -> bytes:
        """Bytes of one token."""
        return bytes([token]) if token < BYTES else self.control[token - BYTES].encode()

    def decode(self, tokens: Sequence[int], *, special: bool = True) -> str:
        """Text of `tokens`; without `special`, control tokens are left out."""
        shown = (self.piece(token) for token in tokens if special or token < BYTES)
        return b"".join(shown).decode(errors="replace")

    def constraint(self, grammar: str) -> Constraint:
        """One at the beginning of `grammar`. Raises InvalidGrammar."""
        ends = tuple(self.id(text) for text in self.eog)
        try:
            matcher = compile_grammar(byte_tokenizer(len(self.control), ends), grammar)
        except GrammarRefused as refused:
            raise InvalidGrammar(f"the grammar cannot be compiled: {refused}") from None
        return Constraint(matcher, frozenset(ends), self.n_vocab)

    def facts(self, spec: LoadSpec) -> ModelFacts:
        """What a runner loaded with `spec` says about itself."""
        return ModelFacts(
            n_vocab=self.n_vocab,
            n_ctx=spec.n_ctx,
            n_ctx_train=self.n_ctx_train,
            n_embd=self.n_embd,
            n_params=1,
            weights_bytes=1,
            pooling=self.pooling,
            bos=self.bos,
            eos=self.eog[0] if self.eog else "",
            eog=[self.id(text) for text in self.eog],
            add_bos=self.add_bos,
            fim=None
            if self.fim is None
            else (self.id(self.fim[0]), self.id(self.fim[1]), self.id(self.fim[2])),
            gpu_layers=0,
            gpu_bytes=0,
            system_info="scripted",
            use_extra_bufts=spec.use_extra_bufts,
            control={text: self.id(text) for text in self.control},
        )


@dataclass
class Completion:
    """One index of a request: which script steps are left, what text is certain."""

    model: ScriptedModel
    request: Generate
    index: int
    steps: Iterator[list[int]]
    room: int
    cached: int
    constraint: Constraint | None = None
    tokens: list[int] = field(default_factory=list[int])
    reason: FinishReason | None = None
    stop_string: str | None = None
    shifted: int = 0
    _fresh: str = ""
    """Decoded and not said yet."""
    _utf8: codecs.IncrementalDecoder = field(
        default_factory=lambda: codecs.getincrementaldecoder("utf-8")("replace")
    )

    def advance(self) -> Delta:
        """Take the next step of the script; sets `reason` when it was the last.

        Raises ScriptLeftGrammar.
        """
        delta = Delta(id=self.request.id, index=self.index, text="", tokens=[], cached_tokens=self.cached)
        for token in next(self.steps, list[int]()):
            if (reason := self._end_before(token)) is not None:
                self.reason = reason
                if reason == "stop":
                    self._check(token)
                    self._mark(delta, token)
                break
            self._check(token)
            self._mark(delta, token)
            if self.stop_string is not None:
                break
            delta.tokens.append(token)
            self.tokens.append(token)
            self._fresh += self._text(token)
            delta.text += self._certain(final=False)
            delta.ends.append(len(delta.text))
            if self.stop_string is not None:
                break
            if self._at_limit():
                self.reason = "length"
                break
        else:
            if not delta.tokens:
                self.reason = "stop"
                self._check_end()
        delta.text += self._certain(final=self.reason is not None)
        delta.ends = delta.ends if len(delta.tokens) > 1 else []
        delta.logprobs = self._logprobs(delta.tokens)
        return delta

    def _mark(self, delta: Delta, token: int) -> None:
        if token in self.request.marks:
            delta.text += self._certain(final=True)
            if self.stop_string is None:
                delta.marks.append((len(delta.text), token))

    def _check(self, token: int) -> None:
        try:
            fits = self.constraint is None or self.constraint.take(token)
        except ConstraintBroken as error:
            said = self._said()
            raise AgentkitError(f"the grammar cannot be followed after {said!r}: {error}") from None
        if not fits:
            raise ScriptLeftGrammar(
                f"the script leaves the grammar after {self._said()!r}: {self.model.decode([token])!r} is "
                f"not allowed there; correct the script, or what was asked for"
            )

    def _check_end(self) -> None:
        constraint = self.constraint
        ends = [self.model.id(text) for text in self.model.eog]
        if constraint is None or constraint.accepting or any(map(constraint.take, ends)):
            return
        raise ScriptLeftGrammar(
            f"the script ends after {self._said()!r}, where the grammar goes on; complete the script, or "
            f"correct what was asked for"
        )

    def _said(self) -> str:
        said = self.model.decode(self.tokens)
        return said if len(said) <= SHOWN else f"…{said[-SHOWN:]}"

    def finished(self) -> Finished:
        prompt = len(self.request.prompt)
        return Finished(
            id=self.request.id,
            index=self.index,
            reason=self.reason or "stop",
            usage=Usage(prompt, self.cached, len(self.tokens)),
            timings=Timings(0, NS_PER_TOKEN * (prompt - self.cached), NS_PER_TOKEN * len(self.tokens)),
            stop_string=self.stop_string,
            shifted=self.shifted,
        )

    def _end_before(self, token: int) -> FinishReason | None:
        ends = token >= BYTES and self.model.control[token - BYTES] in self.model.eog
        if ends and not self.request.ignore_eos:
            return "stop"
        return "length" if self._at_limit() else None

    def _at_limit(self) -> bool:
        if 0 <= self.request.max_tokens <= len(self.tokens):
            return True
        if len(self.tokens) - self.shifted < self.room:
            return False
        if not self.request.shift:
            return True
        self.shifted += max(1, (len(self.request.prompt) + self.room - self.request.keep) // 2)
        return False

    def _text(self, token: int) -> str:
        if token >= BYTES and not self.request.special:
            return ""
        return self._utf8.decode(self.model.piece(token))

    def _certain(self, *, final: bool) -> str:
        """Text that no stop string can still begin in, or all there is; cuts at the first stop string."""
        if self.stop_string is not None:
            return ""
        text = self._fresh + (self._utf8.decode(b"", final=True) if final else "")
        found = [(at, stop) for stop in self.request.stop if stop and (at := text.find(stop)) >= 0]
        if found:
            at, self.stop_string = min(found)
            self.reason, self._fresh = "stop", ""
            return text[:at]
        keep = 0 if final else max((_overlap(text, stop) for stop in self.request.stop), default=0)
        self._fresh = text[len(text) - keep :]
        return text[: len(text) - keep]

    def _logprobs(self, tokens: list[int]) -> list[TokenLogprob] | None:
        if self.request.logprobs is None:
            return None
        return [self._logprob(token, self.request.logprobs) for token in tokens]

    def _logprob(self, token: int, alternatives: int) -> TokenLogprob:
        others = [(token + i) % self.model.n_vocab for i in range(alternatives)]
        top = [
            TopLogprob(self.model.decode([other]), other, -0.1 - rank, list(self.model.piece(other)))
            for rank, other in enumerate(others)
        ]
        return TokenLogprob(self.model.decode([token]), token, -0.1, list(self.model.piece(token)), top)


def _overlap(text: str, stop: str) -> int:
    """Length of the longest end of `text` that begins `stop`."""
    return next((n for n in range(min(len(text), len(stop)), 0, -1) if text.endswith(stop[:n])), 0)


def common(left: Sequence[int], right: Sequence[int]) -> int:
    pairs = enumerate(zip(left, right, strict=False))
    return next((i for i, (a, b) in pairs if a != b), min(len(left), len(right)))
