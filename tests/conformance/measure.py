"""What becomes of schemas and their instances."""

from __future__ import annotations

import copy
import gc
import time
from collections import Counter
from dataclasses import dataclass, field

from agentkit_server.errors import BadRequest
from agentkit_server.turn.schema.prepare import prepare
from agentkit_server.turn.schema.prepared import PreparedSchema
from tests.conformance.corpus import Case
from tests.conformance.reach import Grammar, guard_passes, names_in


@dataclass
class Tally:
    levels: Counter[str] = field(default_factory=Counter[str])
    instances: int = 0
    invalid: Counter[str] = field(default_factory=Counter[str])
    invalid_refused: Counter[str] = field(default_factory=Counter[str])
    """While decoding: by the grammar in every order of keys that is tried for a valid one, or by the guard
    beside it."""
    guarded: Counter[str] = field(default_factory=Counter[str])
    """Of those, the ones that the grammar alone accepts."""
    unseen: int = 0
    """Invalid instances that are accepted while decoding and that `problems` finds nothing against."""
    valid: int = 0
    reached: int = 0
    build: list[float] = field(default_factory=list[float])
    """Seconds, one schema after the other, each for the first time."""
    build_cpu: list[float] = field(default_factory=list[float])
    """… of processor time: the same whatever else the machine does, or nearly."""
    repeated: list[float] = field(default_factory=list[float])
    failures: list[str] = field(default_factory=list[str])


def measure(cases: list[Case]) -> Tally:
    """The figures over `cases`. An instance of a refused schema counts neither as valid nor as invalid."""
    tally = Tally()
    # The schemas and instances of a whole set, which no server holds: to go through them all for garbage, in
    # the middle of a build, takes 0.4 s.
    gc.collect()
    gc.freeze()
    for case in cases:
        tally.instances += len(case.instances)
        prepared = _prepared(case, tally)
        if prepared is not None:
            _instances(case, prepared, tally)
    return tally


def _prepared(case: Case, tally: Tally) -> PreparedSchema | None:
    started, started_cpu = time.perf_counter(), time.thread_time()
    try:
        prepared = prepare(case.schema)
    except BadRequest as refused:
        tally.levels["refused"] += 1
        tally.failures.append(f"refused {case.name}: {str(refused)[:300]}")
        return None
    finally:
        tally.build.append(time.perf_counter() - started)
        tally.build_cpu.append(time.thread_time() - started_cpu)
    again = copy.deepcopy(case.schema)
    started = time.perf_counter()
    prepare(again)
    tally.repeated.append(time.perf_counter() - started)
    tally.levels[prepared.level] += 1
    return prepared


def _instances(case: Case, prepared: PreparedSchema, tally: Tally) -> None:
    grammar = Grammar(f"start: value\n{prepared.fragment('value')}")
    names = names_in(case.schema)
    for value, valid in case.instances:
        reachable = grammar.reachable(value, names)
        accepted = reachable and guard_passes(prepared.distinct, value, names)
        if valid:
            tally.valid += 1
            tally.reached += accepted
        else:
            tally.invalid[prepared.level] += 1
            tally.invalid_refused[prepared.level] += not accepted
            tally.guarded[prepared.level] += reachable and not accepted
            tally.unseen += accepted and not prepared.problems(value)
        if valid != accepted:
            tally.failures.append(f"{prepared.level} {case.name}: {valid=} {accepted=} {str(value)[:200]}")
