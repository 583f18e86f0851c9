"""Who runs, who waits, who gives way: admission, batches, eviction and preemption.

Knows sequences, cells and the prefix cache; never calls llama_decode. The stepper asks for a plan,
carries it out, and says whether it worked.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from time import monotonic, monotonic_ns

import numpy as np

from agentkit_server.engine.cells import Cells, Ids
from agentkit_server.engine.llama import Batch, Bytes, Context
from agentkit_server.engine.prefix import LEAST_PARKED, Cached, PrefixCache, common_prefix
from agentkit_server.engine.sequence import IntRow, Sequence
from agentkit_server.engine.turns import Turns
from agentkit_server.machine import probe

# A prompt waits for another that is being computed when it would save at least this many tokens.
WORTH_WAITING = 32
# Cells that admission leaves for each running sequence to grow into.
GROWTH = 32
# While others decode, a prefill chunk is sized to take about this long, so that streams keep flowing.
POLITE_NS = 100_000_000
POLITE_MIN = 16
# This many cells of cached prefixes disturb nobody.
FEW_CELLS = 256
NOTHING = np.empty(0, np.int32)


@dataclass
class Row:
    """`count` tokens of `sequence`, from row `at` of the batch; `ids` are the cells they will hold. If it
    `samples`, the last of them gives the sequence's next token."""

    sequence: Sequence
    at: int
    count: int
    ids: Ids
    samples: bool

    @property
    def last(self) -> int:
        return self.at + self.count - 1


class Scheduler:
    """Owns the waiting queue, the running list, the cells and the cache. `on_preempt` gets every sequence
    that has to wait again."""

    def __init__(self, context: Context, on_preempt: Callable[[Sequence], None] = lambda _: None) -> None:
        spec = context.spec
        self._context = context
        self._on_preempt = on_preempt
        self._whole_only = context.whole_only
        self._limit = min(spec.n_seq_max, spec.n_batch)
        self.cells = Cells(spec.n_cells)
        self.cache = PrefixCache(whole_only=context.whole_only)
        self.waiting: deque[Sequence] = deque()
        self.running: list[Sequence] = []
        self.batch = Batch(spec.n_batch)
        self._turns = Turns()
        self.preemptions = 0
        self.tokens_reused = 0
        self._free_ids = list(range(spec.n_seq_max - 1, -1, -1))
        self._ns_per_token = 0.0
        self._blocked: Sequence | None = None
        # Of a parked state, known once one was made.
        self._cell_bytes = 0

    # Admission

    def admit(self) -> None:
        """Move sequences from waiting to running while ids and cells allow, first come first served."""
        held: list[Sequence] = []
        while self.waiting and len(self.running) < self._limit:
            sequence = self.waiting.popleft()
            if self._worth_waiting(sequence):
                held.append(sequence)
            elif sequence is self._blocked or not self._try_admit(sequence):
                # Nothing changes for it until somebody gives cells up.
                self._blocked = sequence
                self.waiting.appendleft(sequence)
                break
        self.waiting.extendleft(reversed(held))

    def _worth_waiting(self, sequence: Sequence) -> bool:
        """Is a longer shared prefix being computed right now than any that is ready?"""
        prefilling = [r for r in self.running if not r.decoding and r.adapters == sequence.adapters]
        if not prefilling:
            return False
        wanted = sequence.tokens.view[:-1]
        coming = 0
        for other in prefilling:
            n = common_prefix(other.tokens.view[:-1], wanted)
            if not self._whole_only or n == len(other.tokens) - 1:
                coming = max(coming, n)
        return coming >= WORTH_WAITING and coming >= self._source(sequence)[1] + WORTH_WAITING

    def _source(self, sequence: Sequence) -> tuple[Cached | Sequence | None, int]:
        """Where the longest computed prefix of `sequence` is, and how long it is."""
        wanted = sequence.tokens.view[:-1]
        best: Cached | Sequence | None
        best, length = self.cache.longest(wanted, sequence.adapters)
        for other in self.running:
            if other.adapters != sequence.adapters:
                continue
            n = common_prefix(other.tokens.view[: other.computed], wanted)
            if self._whole_only and n < other.computed:
                continue
            if n > length or (n == length > 0 and isinstance(best, Cached) and best.parked):
                best, length = other, n
        return best, length

    def _try_admit(self, sequence: Sequence) -> bool:
        source, length = self._source(sequence)
        promised = sum(r.remaining + GROWTH for r in self.running)
        need = len(sequence.tokens) - length + promised
        keep = source.cells[:length] if isinstance(source, Cached) else NOTHING
        if isinstance(source, Cached) and source.parked:
            # Its copy comes back whole and is cut then.
            need += len(source.tokens)
        if need > self.cells.free and self.running and need > self._obtainable(keep):
            return False
        self._take_place(sequence, source, length)
        length = sequence.computed
        now = monotonic_ns()
        if not sequence.admitted_ns:
            sequence.admitted_ns = now
            sequence.cached_tokens = length
        self.tokens_reused += length
        self.running.append(sequence)
        self._park_bystanders()
        return True

    def _take_place(self, sequence: Sequence, source: Cached | Sequence | None, length: int) -> None:
        """Give `sequence` an id and the cells of its prefix."""
        if isinstance(source, Cached) and source.state is not None:
            self._bring_back(sequence, source.state, source, length)
            return
        # A recurrent state moves on with whoever takes it over, so there the entry is copied. So is one that
        # somebody else wants kept.
        whole = (
            isinstance(source, Cached)
            and length == len(source.tokens)
            and not self._whole_only
            and not (source.held and source.pins.keys() - {sequence.pin})
        )
        if isinstance(source, Cached) and (whole or not self._spare_id(source)):
            self._take_over(sequence, source, length)
            return
        sequence.seq_id = self._new_id(source if isinstance(source, Cached) else None)
        if source is None or length == 0:
            return
        ids = source.cells[:length] if isinstance(source, Cached) else source.cells.view[:length]
        self._context.copy_cells(source.seq_id, sequence.seq_id, length)
        self.cells.share(ids)
        sequence.cells = IntRow(ids)
        # A prefix of a few tokens is no sign that the rest of the entry is still wanted.
        if isinstance(source, Cached) and 2 * length >= len(source.tokens):
            self.cache.touch(source)

    def _take_over(self, sequence: Sequence, source: Cached, length: int) -> None:
        """Continue a cached sequence in place: nothing of it is lost, or there is no other id."""
        self.cache.remove(source)
        sequence.carried |= source.pins
        sequence.seq_id = source.seq_id
        sequence.cells = IntRow(source.cells)
        if length < len(source.tokens):
            self.trim(sequence, length)

    def _bring_back(self, sequence: Sequence, state: Bytes, source: Cached, length: int) -> None:
        """Begin with a copy of a parked entry, which stays. Without cells for it, begin with nothing."""
        self.cache.touch(source)
        sequence.seq_id = self._new_id()
        if not self._evict_until(len(source.tokens)):
            return
        if not self._context.restore_state(sequence.seq_id, state):
            self._context.drop_cells(sequence.seq_id)
            return
        sequence.cells = IntRow(self.cells.take(len(source.tokens)))
        if length < len(source.tokens):
            self.trim(sequence, length)

    def trim(self, sequence: Sequence, length: int) -> None:
        """Give up the cells from `length` on; all of them where the model cannot remove a part."""
        self._blocked = None
        sequence.due = 1
        if not self._context.drop_cells(sequence.seq_id, length):
            self._context.drop_cells(sequence.seq_id)
            length = 0
        self.cells.release(sequence.cells.cut(length))

    def _spare_id(self, but: Cached) -> bool:
        return bool(self._free_ids) or self.cache.oldest(but=but) is not None

    def _new_id(self, but: Cached | None = None) -> int:
        if not self._free_ids:
            oldest = self.cache.oldest(but=but)
            if oldest is None:
                raise RuntimeError("no sequence id is free: more sequences run than n_seq_max")
            self._evict(oldest)
        return self._free_ids.pop()

    # Room

    def _held_by_running(self) -> int:
        if not self.running:
            return 0
        return len(np.unique(np.concatenate([r.cells.view for r in self.running])))

    @property
    def cells_cached(self) -> int:
        """Cells that no running sequence holds."""
        return self.cells.used - self._held_by_running()

    def _obtainable(self, keep: Ids) -> int:
        """Cells that evicting everything cached would leave free, if the cells `keep` stayed."""
        return self.cells.free + self.cells_cached - self.cells.only_held_once(keep)

    def _evict(self, entry: Cached) -> None:
        """Give up the cells of a resident entry; what they held is parked where memory allows."""
        state = self._copy_out(entry)
        self._release(entry.seq_id, entry.cells)
        if state is None:
            self.cache.remove(entry)
        else:
            entry.seq_id, entry.cells, entry.state = -1, NOTHING, state

    def _copy_out(self, entry: Cached) -> Bytes | None:
        limit = self._context.spec.park_bytes
        size = len(entry.tokens) * self._cell_bytes
        if len(entry.tokens) < LEAST_PARKED or size > min(limit, probe().available // 4):
            return None
        state = self._context.save_state(entry.seq_id)
        if not state.nbytes:
            return None
        self._cell_bytes = state.nbytes // len(entry.tokens)
        # What is pinned does not leave for what is not.
        if state.nbytes > limit - (0 if entry.held else self.cache.held_bytes):
            return None
        while self.cache.parked_bytes + state.nbytes > limit:
            oldest = self.cache.oldest(parked=True)
            if oldest is None:
                break
            self.cache.remove(oldest)
        return state

    def _park_bystanders(self) -> None:
        """Cells that nobody computes with slow down everybody who does: once they are the larger part,
        those that were not used for longest leave."""
        while True:
            running = self._held_by_running()
            oldest = self.cache.oldest()
            if oldest is None or self.cells.used - running <= max(FEW_CELLS, running):
                return
            self._evict(oldest)

    def _release(self, seq_id: int, cells: Ids) -> None:
        self._blocked = None
        self._context.drop_cells(seq_id)
        self.cells.release(cells)
        self._free_ids.append(seq_id)

    def _evict_until(self, free: int) -> bool:
        while self.cells.free < free:
            oldest = self.cache.oldest()
            if oldest is None:
                return False
            self._evict(oldest)
        return True

    def unpin(self, pin: str) -> None:
        """Let what is pinned as `pin`, or would be at its end, go like any other."""
        self.cache.unpin(pin)
        for sequence in (*self.running, *self.waiting):
            sequence.unpin(pin)

    def drop_cache(self, adapters: int | None = None) -> None:
        """Forget all prefixes, or those that were computed with one set of adapters."""
        for entry in self.cache.entries:
            if adapters is None or entry.adapters == adapters:
                self._forget(entry)
                self.cache.remove(entry)

    def _forget(self, entry: Cached) -> None:
        if not entry.parked:
            self._release(entry.seq_id, entry.cells)

    def preempt(self) -> bool:
        """Send the youngest running sequence back to the front of the queue; what it had computed is
        computed again later. False when it is the only one."""
        if len(self.running) < 2:
            return False
        youngest = self.running.pop()
        self._release(youngest.seq_id, youngest.cells.cut(0))
        youngest.seq_id = -1
        youngest.due = 1
        self.waiting.appendleft(youngest)
        self.preemptions += 1
        self._on_preempt(youngest)
        return True

    def make_room(self) -> bool:
        """After llama_decode found no cells: evict one prefix, else preempt one sequence."""
        oldest = self.cache.oldest()
        if oldest is not None:
            self._evict(oldest)
            return True
        return self.preempt()

    # Batches

    def plan(self) -> list[Row]:
        """Fill the batch, with those whose turn it is: every decoding sequence's tokens, then prefill chunks
        in order of arrival. All rows have the same adapters."""
        self._room_to_decode()
        self.batch.clear()
        group = self._turns.pick(self.running)
        rows = self._decoding_rows(group)
        others_decode = group is not self.running and any(r.decoding for r in self.running)
        budget = self._polite_chunk() if rows or others_decode else self.batch.capacity
        for sequence in group:
            todo = min(sequence.remaining - 1, budget, self.batch.room)
            if sequence.decoding or todo <= 0:
                continue
            self._evict_until(todo)
            todo = min(todo, self.cells.free)
            if todo > 0:
                rows.append(self._add(sequence, todo))
                budget -= todo
        if not rows:
            self._turns.give_up()
        return rows

    def _decoding_rows(self, group: list[Sequence]) -> list[Row]:
        """A token of every decoding sequence, and those forced after it as far as there is room."""
        decoding = [r for r in group if r.decoding]
        self._evict_until(sum(r.remaining for r in decoding))
        spare = min(self.batch.capacity, self.cells.free) - len(decoding)
        rows: list[Row] = []
        for sequence in decoding:
            more = min(sequence.remaining - 1, spare)
            spare -= more
            rows.append(self._add(sequence, 1 + more))
        return rows

    def _room_to_decode(self) -> None:
        while self.running:
            need = max(1, sum(r.decoding for r in self.running))
            if self._evict_until(need) or not self.preempt():
                return

    def _add(self, sequence: Sequence, count: int) -> Row:
        samples = sequence.decoding and count == sequence.remaining
        start = sequence.computed
        tokens = sequence.tokens.view[start : start + count]
        at = self.batch.add(tokens, start, sequence.seq_id, output=False)
        self.batch.output[at + count - 1] = samples
        return Row(sequence, at, count, self.cells.take(count), samples)

    def commit(self, rows: list[Row], took_ns: int) -> None:
        """The batch was computed."""
        for row in rows:
            row.sequence.cells.extend(row.ids)
        prefill = sum(row.count for row in rows if not row.samples)
        if prefill >= POLITE_MIN:
            fresh = took_ns / prefill
            self._ns_per_token = fresh if not self._ns_per_token else 0.7 * self._ns_per_token + 0.3 * fresh

    def roll_back(self, rows: list[Row]) -> None:
        """The batch was not computed."""
        for row in rows:
            self.cells.release(row.ids)

    def _polite_chunk(self) -> int:
        if not self._ns_per_token:
            return POLITE_MIN * 4
        return max(POLITE_MIN, min(self.batch.capacity, int(POLITE_NS / self._ns_per_token)))

    # Ends

    def retire(self, sequence: Sequence, *, keep: bool) -> None:
        """`sequence` is done: its cells become a cached prefix, or are given up."""
        self._blocked = None
        sequence.chain.free()
        if sequence in self.running:
            self.running.remove(sequence)
        elif sequence in self.waiting:
            self.waiting.remove(sequence)
            return
        if not keep or sequence.computed == 0:
            self._release(sequence.seq_id, sequence.cells.cut(0))
            return
        tokens = sequence.tokens.view[: sequence.computed].copy()
        pins = sequence.carried | ({sequence.pin: monotonic()} if sequence.pin else {})
        cells = sequence.cells.view.copy()
        entry = Cached(sequence.seq_id, tokens, cells, pins=pins, adapters=sequence.adapters)
        for stale in self.cache.add(entry):
            self._forget(stale)
