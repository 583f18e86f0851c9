"""What a sequence may still write: a matcher of llguidance that walks along with its tokens, and beside it a
guard where items may not be repeated.

One thread at a time uses a constraint. It never lets a token through that the grammar does not allow: when
the matcher itself breaks (a grammar can outgrow its limits while it is followed) it raises.
"""

from __future__ import annotations

from time import thread_time_ns

import numpy as np
import numpy.typing as npt
from llguidance import LLMatcher, LLParserLimits, LLTokenizer

from agentkit_server.engine.distinct import Guard

Ints = npt.NDArray[np.int64]
Bools = npt.NDArray[np.bool_]

# Of llguidance. A row of 8,000 items is an object with 2,000 optional properties. The items of a step are
# what an ambiguous grammar multiplies: at the default of 50,000 one step took 300 ms before it was given up,
# at 20,000 it took 28. A lexer state takes up to 2 KB: at the default of 250,000 one sequence could hold half
# a gigabyte.
LIMITS = LLParserLimits(
    max_items_in_row=8_000, step_max_items=20_000, max_lexer_states=100_000, verbose_errors=False
)
# Consuming a token has no limit of its own: under an ambiguous grammar each costs more than the one before,
# a second after 250 of them, and every sequence of the batch waits. So each call may take this much CPU time,
# and what is taken beyond adds up to so much.
FAIR_NS = 10_000_000
MOST_NS = 300_000_000
LONGEST_MESSAGE = 300
# Where more than one word in so many of a mask has bits, the allowed ids are not listed.
SPARSE = 8


class GrammarRefused(Exception):
    """A grammar that cannot be compiled, or not within the limits."""


class ConstraintBroken(Exception):
    """The grammar cannot be followed any further; nothing is known of the tokens that come next."""


def compile_grammar(tokenizer: LLTokenizer, grammar: str, limits: LLParserLimits = LIMITS) -> LLMatcher:
    """A matcher at the beginning of `grammar` (Lark or JSON text of llguidance), its first mask computed.

    Raises GrammarRefused with llguidance's own words.
    """
    matcher = LLMatcher(tokenizer, grammar, log_level=0, limits=limits)
    if not matcher.is_error():
        # Copies keep what this has worked out. And a grammar that nothing can begin shows itself here.
        matcher.compute_bitmask()
    if matcher.is_error():
        raise GrammarRefused(_words(matcher))
    if matcher.is_stopped() and not matcher.is_accepting():
        raise GrammarRefused("nothing can be written that it allows")
    return matcher


def _words(matcher: LLMatcher) -> str:
    said = matcher.get_error().replace("<non-verbose/>", "").strip()
    return said[:LONGEST_MESSAGE]


class Constraint:
    """The matcher of one sequence, made with a tokenizer of `n_vocab` ids and one more.

    `ends` are the ids that end generation: when one comes, the sequence is over and the matcher is asked
    nothing more.
    """

    def __init__(
        self, matcher: LLMatcher, ends: frozenset[int], n_vocab: int, guard: Guard | None = None
    ) -> None:
        self._matcher = matcher
        self._guard = guard
        self._ends = ends
        self._n_vocab = n_vocab
        self._words = np.zeros(n_vocab // 32 + 1, np.uint32)
        self._masked = False
        self._excluded: set[int] = set()
        """Tokens that the guard refused here; the mask is without them."""
        self._overdrawn_ns = 0

    def copy(self, *, ignore_ends: bool = False, guard: Guard | None = None) -> Constraint:
        """One at the same place, with a copy of `guard` or of its own one. With `ignore_ends`
        end-of-generation ids end nothing."""
        ends = frozenset[int]() if ignore_ends else self._ends
        guard = guard or self._guard
        return Constraint(self._matcher.deep_copy(), ends, self._n_vocab, guard and guard.copy())

    def ends(self, token: int) -> bool:
        """Is the sequence over with this token?"""
        return token in self._ends

    @property
    def accepting(self) -> bool:
        """May the answer end here?"""
        return self._matcher.is_accepting()

    @property
    def complete(self) -> bool:
        """Must it?"""
        return self._matcher.is_stopped() and not self._matcher.is_error()

    def take(self, token: int) -> bool:
        """Go on by `token`; False, and nothing has changed, when the grammar does not allow it here. When the
        guard does not, it is no longer in the mask of this place.

        An id that ends generation is checked and not consumed: llguidance refuses to consume one that the
        grammar names in the midst of a rule.
        """
        if token in self._ends:
            return self.accepting or self._allows(token)
        began = thread_time_ns()
        taken = self._matcher.try_consume_tokens([token]) == 1
        self._charge(began)
        self._check()
        if taken and self._guard is not None and not self._passes(self._guard, token):
            self._exclude(token)
            return False
        if taken:
            self._moved()
        return taken

    def excludes(self, token: int) -> bool:
        """Has the guard refused `token` here?"""
        return token in self._excluded

    def _passes(self, guard: Guard, token: int) -> bool:
        """Take `token`, on which the matcher has gone on, in the guard too; False when it is refused, or when
        all that could follow is."""
        before = guard.position()
        if not guard.take(token):
            return False
        if guard.repeats and self._stuck(guard):
            guard.go_back(before)
            return False
        return True

    def _stuck(self, guard: Guard) -> bool:
        here, self._excluded, self._masked = self._excluded, set(), False
        ids = None if self._matcher.is_stopped() else self.few()
        self._excluded, self._masked = here, False
        return ids is not None and not guard.goes_on(map(int, ids))

    def _exclude(self, token: int) -> None:
        self._matcher.rollback(1)
        self._excluded.add(token)
        self._masked = False
        self.prepare()
        self._check()

    def _moved(self) -> None:
        self._masked = False
        if self._excluded:
            self._excluded = set()

    def forced(self) -> list[int]:
        """Go on by all tokens that the grammar leaves no choice about, up to one that the guard refuses;
        returns them. Only the last can be one that ends generation."""
        began = thread_time_ns()
        tokens = self._matcher.compute_ff_tokens()
        if not tokens:
            return []
        end = next((i for i, token in enumerate(tokens) if token in self._ends), len(tokens))
        taken = self._guarded(self._matcher.try_consume_tokens(tokens[:end]), tokens)
        self._charge(began)
        self._check()
        if taken:
            self._moved()
        return tokens[: end + 1] if taken == end else tokens[:taken]

    def _guarded(self, taken: int, tokens: list[int]) -> int:
        """How many of the first `taken` of `tokens` the guard takes too; the matcher goes back to there."""
        if self._guard is None:
            return taken
        for count, token in enumerate(tokens[:taken]):
            if not self._guard.take(token):
                self._matcher.rollback(taken - count)
                return count
        return taken

    def prepare(self) -> None:
        """Compute the mask of this place, unless it is known. Releases the GIL; raises nothing."""
        if not self._masked:
            began = thread_time_ns()
            self._matcher.unsafe_compute_mask_ptr(self._words.ctypes.data, self._words.nbytes)
            self._charge(began)
            for token in self._excluded:
                self._words[token >> 5] &= ~np.uint32(1 << (token & 31))
            self._masked = True

    def few(self) -> Ints | None:
        """The ids that may come next, in order; None when they are so many that `mask` is quicker."""
        self._mask_here()
        full = np.flatnonzero(self._words)
        if len(full) * SPARSE > len(self._words):
            return None
        # Not nonzero() of two dimensions, which takes ten times as long.
        at = np.flatnonzero(np.unpackbits(self._words[full].view(np.uint8), bitorder="little"))
        ids = full[at >> 5] * 32 + (at & 31)
        return ids[ids < self._n_vocab]

    def mask(self) -> Bools:
        """(n_vocab,) of the caller's own: may this id come next?"""
        self._mask_here()
        bits = np.unpackbits(self._words.view(np.uint8), count=self._n_vocab, bitorder="little")
        return bits.view(np.bool_)

    def _mask_here(self) -> None:
        self.prepare()
        self._check()
        if self._excluded and not self._words.any():
            raise ConstraintBroken("whatever it allows here repeats an item of an array with uniqueItems")

    def _allows(self, token: int) -> bool:
        self.prepare()
        self._check()
        return bool(self._words[token >> 5] >> (token & 31) & 1)

    def _charge(self, began_ns: int) -> None:
        took = thread_time_ns() - began_ns
        if took > FAIR_NS:
            self._overdrawn_ns += took - FAIR_NS

    def _check(self) -> None:
        if self._overdrawn_ns > MOST_NS:
            raise ConstraintBroken("it is too ambiguous, each token takes longer than the one before")
        if self._matcher.is_error():
            raise ConstraintBroken(_words(self._matcher))
