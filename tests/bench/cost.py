"""What a constraint costs: the CPU time between the model's logits and the next token, with a grammar and
without, for each token of an answer. In this process, on the engine's own parts, one sequence. Where masks
are computed first they are not counted: the engine computes them beside the model.

    python -m tests.bench.cost MODEL.gguf
"""

from __future__ import annotations

import argparse
import itertools
import json
import time
from threading import Event

import numpy as np
from rich.console import Console
from rich.table import Table

from agentkit_server.engine.constraint import Constraint, GrammarRefused
from agentkit_server.engine.grammars import Grammars
from agentkit_server.engine.llama import Context
from agentkit_server.engine.sampler import next_tokens
from agentkit_server.engine.scheduler import Row, Scheduler
from agentkit_server.engine.sequence import Sequence, start_sequences
from agentkit_server.engine.types import Generate, LoadSpec, Sampling
from tests.bench import schemas

SAMPLINGS = {"greedy": Sampling(temperature=0), "top-k, top-p": Sampling(seed=1)}
MOST_TOKENS = 160
WHITE_SPACE = "[ \\n]{0,8}"


def prepared(grammars: Grammars, schema: schemas.Schema) -> Constraint:
    grammar = "start: %json " + json.dumps({"x-guidance": {"whitespace_pattern": WHITE_SPACE}, **schema})
    outcome: list[Constraint | GrammarRefused] = []
    built = Event()

    def done(made: Constraint | GrammarRefused) -> None:
        outcome.append(made)
        built.set()

    grammars.build(grammar, done)
    built.wait()
    made = outcome[0]
    if isinstance(made, GrammarRefused):
        raise SystemExit(f"bench: {made}")
    return made


class Writer:
    """One sequence at a time, decoded to its end."""

    def __init__(self, context: Context) -> None:
        self._context = context

    def costs(self, sampling: Sampling, constraint: Constraint | None) -> list[float]:
        """Microseconds that each sampled or forced token took; forced ones share what their step took."""
        scheduler = Scheduler(self._context)
        prompt = self._context.vocabulary.tokenize(
            schemas.RECORD_PROMPT, add_special=True, parse_special=True
        )
        request = Generate(id=1, prompt=prompt, sampling=sampling)
        (sequence,) = start_sequences(self._context, request, 0, constraint)
        scheduler.waiting.append(sequence)
        scheduler.admit()
        took: list[float] = []
        while len(took) < MOST_TOKENS:
            rows = scheduler.plan()
            if sequence.constraint is not None and not sequence.tries_first:
                # As the engine does, only that there it happens while the model computes.
                sequence.constraint.prepare()
            if self._context.decode(scheduler.batch) != 0:
                raise SystemExit("bench: llama_decode failed")
            scheduler.commit(rows, 0)
            if rows[0].samples and not self._sample(sequence, rows[0], took):
                break
        scheduler.retire(sequence, keep=False)
        return took

    def _sample(self, sequence: Sequence, row: Row, took: list[float]) -> bool:
        began = time.thread_time_ns()
        tokens = next_tokens(self._context, sequence, row.last)
        cost = (time.thread_time_ns() - began) / len(tokens) / 1e3
        took += [cost] * len(tokens)
        sequence.tokens.extend(tokens)
        sequence.generated += len(tokens)
        sequence.due = len(tokens)
        ends = not self._context.vocabulary.eog.isdisjoint(tokens)
        return not (ends or (sequence.constraint is not None and sequence.constraint.complete))


def measured(gguf: str, rounds: int) -> dict[str, dict[str, list[float]]]:
    """Sampling -> shape -> microseconds of each token above the median of free text."""
    spec = LoadSpec(path=gguf, n_ctx=1024, n_cells=1024, n_seq_max=1, n_threads=1)
    context = Context(spec, lambda _: None)
    grammars = Grammars(context.vocabulary)
    writer = Writer(context)
    results: dict[str, dict[str, list[float]]] = {}
    for sampling, (shape, schema) in itertools.product(SAMPLINGS, schemas.SHAPES.items()):
        constraint = prepared(grammars, schema)
        chosen = SAMPLINGS[sampling]
        free = float(np.median([c for _ in range(rounds) for c in writer.costs(chosen, None)]))
        bound = [c - free for _ in range(rounds) for c in writer.costs(chosen, constraint.copy())]
        results.setdefault(sampling, {})[shape] = bound
    grammars.close(60)
    context.free()
    return results


def show(results: dict[str, dict[str, list[float]]]) -> None:
    table = Table(title="cost of a constraint a token, µs, above free text: p50 / p99 (tokens)")
    table.add_column("")
    for shape in schemas.SHAPES:
        table.add_column(shape, justify="right")
    for sampling, shapes in results.items():
        cells = [f"{np.median(v):.0f} / {np.percentile(v, 99):.0f} ({len(v)})" for v in shapes.values()]
        table.add_row(sampling, *cells)
    Console(width=140).print(table)


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m tests.bench.cost", description=__doc__)
    parser.add_argument("gguf")
    parser.add_argument("--rounds", type=int, default=3)
    options = parser.parse_args()
    show(measured(options.gguf, options.rounds))


if __name__ == "__main__":
    main()
