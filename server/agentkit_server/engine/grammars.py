"""The grammars of one loaded model: its tokenizer for llguidance, and prepared matchers by grammar text.

Both can take long (0.1 s and more), so threads of their own build them while the model goes on computing
for others. A build cannot be interrupted: whoever waits for one decides for how long.
"""

from __future__ import annotations

import logging
import threading
from collections import OrderedDict
from collections.abc import Callable
from concurrent.futures import Future
from queue import SimpleQueue
from typing import Protocol

from llguidance import LLMatcher, LLTokenizer

from agentkit_server.engine.constraint import Constraint, GrammarRefused, compile_grammar

log = logging.getLogger("agentkit.grammars")

BUILDERS = 2
"""So that one grammar that takes seconds does not hold up the rest."""
MOST_BYTES = 8 << 20
"""Of one grammar's text."""
MOST_KEPT = 128
MOST_KEPT_BYTES = 32 << 20
"""Of the texts of all that are kept. A matcher takes up to a hundred times its text: 0.3 MB for 60 fields."""

Done = Callable[[Constraint | GrammarRefused], None]


class Lexicon(Protocol):
    """What must be known of a vocabulary; `llama.Vocabulary` is one."""

    size: int
    eog: frozenset[int]

    @property
    def takes_any_text(self) -> bool: ...

    def written(self) -> list[bytes | None]: ...

    @property
    def pointer(self) -> int: ...

    @property
    def tokenize_address(self) -> int: ...


def make_tokenizer(vocabulary: Lexicon) -> LLTokenizer:
    """llguidance's view of `vocabulary`.

    Control tokens, and only they, are special: no text contains them and a grammar names them by id.
    Every end-of-generation id may come where a grammar may end. One id more than the vocabulary has stands
    for it where there is none: llguidance wants one.

    Raises GrammarRefused.
    """
    if not vocabulary.takes_any_text:
        raise GrammarRefused("it has no token for some bytes")
    tokens = [
        b"\xff<%d>" % token if piece is None else piece for token, piece in enumerate(vocabulary.written())
    ]
    tokens.append(b"\xff<end>")
    ends = sorted(vocabulary.eog) or [vocabulary.size]
    return LLTokenizer.from_llamacpp(  # pyright: ignore[reportUnknownVariableType, reportUnknownMemberType, reportAttributeAccessIssue]
        tokens=tokens,
        vocab_ptr=vocabulary.pointer,
        tokenize_fptr=vocabulary.tokenize_address,
        eos_token=ends,
    )


class Grammars:
    """Builds each grammar once, however many ask for it, and keeps the ones used last."""

    def __init__(self, vocabulary: Lexicon) -> None:
        self._vocabulary = vocabulary
        self._tokenizer: Future[LLTokenizer] = Future()
        self._jobs: SimpleQueue[str | None] = SimpleQueue()
        self._lock = threading.Lock()
        self._waiting: dict[str, list[Done]] = {}
        self._kept: OrderedDict[str, LLMatcher] = OrderedDict()
        self._threads: list[threading.Thread] = []

    def start(self) -> None:
        """Begin with the tokenizer; without this the first grammar does.

        llguidance holds the interpreter lock for most of it: 0.1 s at 49k tokens, 0.6 s at 152k, 1.5 s at
        262k, in which nothing else moves. So not while a model loads, for a request waits for that, but in
        the first quiet moment.
        """
        if not self._threads:
            # Not an executor: its threads would have to end before the process can.
            self._threads = [
                threading.Thread(target=self._work, args=(i == 0,), name=f"grammars-{i}", daemon=True)
                for i in range(BUILDERS)
            ]
            for thread in self._threads:
                thread.start()

    def close(self, timeout: float) -> bool:
        """Begin nothing more; True once no thread uses the vocabulary, False when one still did after
        `timeout` seconds."""
        for _ in self._threads:
            self._jobs.put(None)
        for thread in self._threads:
            thread.join(timeout)
        return not any(thread.is_alive() for thread in self._threads)

    def ready(self, grammar: str) -> Constraint | None:
        """A constraint at the beginning of `grammar` if it is prepared already."""
        with self._lock:
            matcher = self._kept.get(grammar)
            if matcher is None:
                return None
            self._kept.move_to_end(grammar)
        return self._constraint(matcher)

    def build(self, grammar: str, done: Done) -> None:
        """Prepare `grammar`; a builder's thread calls `done` with a constraint or with why not."""
        if len(grammar) > MOST_BYTES:
            done(GrammarRefused(f"it has {len(grammar)} characters and {MOST_BYTES} are allowed"))
            return
        self.start()
        with self._lock:
            waiting = self._waiting.setdefault(grammar, [])
            waiting.append(done)
            if len(waiting) == 1:
                self._jobs.put(grammar)

    def _constraint(self, matcher: LLMatcher) -> Constraint:
        return Constraint(matcher.deep_copy(), self._vocabulary.eog, self._vocabulary.size)

    # On a builder's thread

    def _work(self, first: bool) -> None:
        if first:
            self._make_tokenizer()
        while (grammar := self._jobs.get()) is not None:
            made = self._compile(grammar)
            with self._lock:
                if isinstance(made, LLMatcher):
                    self._keep(grammar, made)
                waiting = self._waiting.pop(grammar)
            for done in waiting:
                done(self._constraint(made) if isinstance(made, LLMatcher) else made)

    def _make_tokenizer(self) -> None:
        try:
            self._tokenizer.set_result(make_tokenizer(self._vocabulary))
        except BaseException as error:  # a panic in Rust is no Exception
            log.warning("this vocabulary cannot be constrained: %s", error)
            self._tokenizer.set_exception(GrammarRefused(f"this model's vocabulary cannot be used: {error}"))

    def _compile(self, grammar: str) -> LLMatcher | GrammarRefused:
        try:
            return compile_grammar(self._tokenizer.result(), grammar)
        except GrammarRefused as refused:
            return refused
        except BaseException as error:
            log.exception("a grammar broke its compiler")
            return GrammarRefused(f"the compiler broke on it: {error}")

    def _keep(self, grammar: str, matcher: LLMatcher) -> None:
        self._kept[grammar] = matcher
        while len(self._kept) > MOST_KEPT or sum(map(len, self._kept)) > MOST_KEPT_BYTES:
            self._kept.popitem(last=False)
