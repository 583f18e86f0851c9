"""`just bench`: our server beside a bare llama_decode loop and, when it can be found, llama-server.

Same GGUF, threads, cells, batch and prompts; greedy everywhere; rounds go A B C, C B A, … so that a
machine that slows down slows down all of them. Nothing here is asserted: it is for reading.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import re
import shutil
import signal
import sys
import time
from pathlib import Path

import httpx
import psutil

from tests.bench import contenders, cost, imports, prompts, report, schemas, stored
from tests.bench.bare import Vocabulary
from tests.bench.contenders import Agentkit, Contender, Server, Setup
from tests.bench.report import Metric, Results

PARTS = ["speed", "structured", "cost", "import", "stored"]
IDLE_S = 5
IDLE = Metric("CPU while idle", "cores", more_is_better=False, compared=False)
PREFILL = Metric("prefill", "tokens/s", more_is_better=True)
COLD = Metric("first token, cold", "s", more_is_better=False)
SHARED = Metric("first token, shared prefix", "s", more_is_better=False)

RECORD = Metric("object of 20 fields", "tokens/s", more_is_better=True)
RECORD_SECONDS = Metric("object of 20 fields, whole", "s", more_is_better=False)
RECORD_OF_FREE = Metric("object of 20 fields, times free text", "", more_is_better=True, compared=False)
LONGEST_RECORD = 500

SHARED_OF_COLD = Metric("shared prefix, part of cold", "", more_is_better=False, compared=False)


def decode_metric(streams: int) -> Metric:
    return Metric(f"decode, {streams} stream{'s' * (streams > 1)}", "tokens/s", more_is_better=True)


def scaling_metric(streams: int) -> Metric:
    return Metric(f"{streams} streams, times the first row", "", more_is_better=True, compared=False)


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="just bench", description=__doc__)
    parser.add_argument("--peer", help="llama-server (default: the one on PATH, if any)")
    parser.add_argument("--peer-arg", action="append", default=[], help="one more argument for llama-server")
    parser.add_argument("--model", default="smollm2", help="model name, pulled when missing")
    parser.add_argument("--gguf", help="its file (default: asked of the server)")
    parser.add_argument("--threads", type=int, default=psutil.cpu_count(logical=False) or 1)
    parser.add_argument("--context", type=int, default=2048, help="tokens a stream")
    parser.add_argument("--batch", type=int, default=512)
    parser.add_argument("--streams", type=int, nargs="+", default=[1, 4, 8])
    parser.add_argument("--predict", type=int, default=128, help="tokens to decode a stream")
    parser.add_argument("--prefix", type=int, default=2000, help="tokens of the shared prefix")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--only", choices=PARTS, help="one part of five")
    parser.add_argument("--stored", type=int, default=10_000, help="responses to store")
    parser.add_argument("--out", type=Path, default=Path(), help="folder of the JSON file")
    return parser.parse_args()


def model_file(server: Agentkit, model: str) -> str:
    """The GGUF behind a model name, from the server itself; the model is pulled when it is missing."""
    base = f"http://127.0.0.1:{server.port}"
    if httpx.post(f"{base}/api/show", json={"model": model}).status_code == 404:
        print(f"pulling {model}", flush=True)
        pulled = httpx.post(f"{base}/api/pull", json={"model": model, "stream": False}, timeout=None)
        pulled.raise_for_status()
    shown = httpx.post(f"{base}/api/show", json={"model": model}).raise_for_status().json()
    found = re.search(r"^FROM (/.+)$", shown.get("modelfile", ""), flags=re.MULTILINE)
    if found is None:
        raise SystemExit(f"bench: the server does not say which file {model!r} is; give it with --gguf")
    return found.group(1)


def measure(
    results: Results, contender: Contender, vocabulary: Vocabulary, options: argparse.Namespace, round_: int
) -> None:
    """One round of one contender. Every contender gets the same prompts in a round, other rounds others."""
    rates: list[float] = []
    for streams in options.streams:
        texts = prompts.stories(1 + 100 * round_, streams)
        rates.append(contender.decode(texts, options.predict))
        results.add(decode_metric(streams), contender.name, rates[-1])
    for streams, rate in list(zip(options.streams, rates, strict=True))[1:]:
        results.add(scaling_metric(streams), contender.name, rate / rates[0])
    prefix = prompts.filler(1 + round_, options.prefix, vocabulary.count)
    cold, *shared = contender.first_token(prefix, prompts.ENDINGS)
    results.add(PREFILL, contender.name, vocabulary.count(prefix + prompts.ENDINGS[0]) / cold)
    results.add(COLD, contender.name, cold)
    # The worst of several: a cache that misses now and then must not hide behind its median.
    results.add(SHARED, contender.name, max(shared))
    results.add(SHARED_OF_COLD, contender.name, max(shared) / cold)


def measure_structured(results: Results, server: Server) -> None:
    """One object, and as many tokens of free text right after it."""
    for prompt in (schemas.RECORD_PROMPT, schemas.FREE_PROMPT):
        server.answer(prompt, None, 1)
    record = server.answer(schemas.RECORD_PROMPT, schemas.RECORD, LONGEST_RECORD)
    if set(json.loads(record.text)) != set(schemas.RECORD["required"]):
        raise SystemExit(f"bench: {server.name} left fields out: {record.text!r}")
    free = server.answer(schemas.FREE_PROMPT, None, record.tokens)
    results.add(RECORD, server.name, record.rate)
    results.add(RECORD_SECONDS, server.name, record.seconds)
    results.add(RECORD_OF_FREE, server.name, record.rate / free.rate)


def measure_idle(results: Results, contender: Contender) -> None:
    before = contender.cpu_seconds()
    if before is None:
        return
    time.sleep(IDLE_S)
    results.add(IDLE, contender.name, ((contender.cpu_seconds() or 0) - before) / IDLE_S)


def main() -> None:
    options = arguments()
    if options.only in (None, "import"):
        # First, while no model warms the machine.
        imports.show(imports.measured(2 * options.rounds))
    if options.only in (None, "stored"):
        stored.show(stored.measured(options.stored))
    if options.only in ("import", "stored"):
        return
    gguf = options.gguf if options.only == "cost" else compare(options)
    if gguf is None:
        raise SystemExit("bench: --only cost starts no server to ask for the file; give it with --gguf")
    if options.only in (None, "cost"):
        cost.show(cost.measured(gguf, options.rounds))


def compare(options: argparse.Namespace) -> str:
    """Measure, show and write what the servers do; returns the model's file."""
    # Ends the servers too.
    signal.signal(signal.SIGTERM, lambda number, _: sys.exit(128 + number))
    peer = options.peer or shutil.which("llama-server")
    streams = max(options.streams)
    with contextlib.ExitStack() as stack:
        ours = stack.enter_context(contenders.agentkit_server(streams))
        gguf = options.gguf or model_file(ours, options.model)
        setup = Setup(options.model, gguf, options.threads, options.context, streams, options.batch)
        ours.setup = setup
        rivals: list[Contender] = [ours, stack.enter_context(contenders.bare_loop(setup))]
        if peer:
            rivals.append(stack.enter_context(contenders.llama_server(peer, setup, options.peer_arg)))
        else:
            print("no llama-server on PATH and no --peer: measuring without it")
        vocabulary = Vocabulary(gguf)
        for rival in rivals:
            rival.decode(prompts.stories(0, 1), 16)
        results = Results()
        for round_ in range(options.rounds):
            for rival in rivals if round_ % 2 == 0 else reversed(rivals):
                if options.only in (None, "speed"):
                    measure(results, rival, vocabulary, options, round_)
                if options.only in (None, "structured") and isinstance(rival, Server):
                    measure_structured(results, rival)
            print(f"round {round_ + 1} of {options.rounds}", flush=True)
        for rival in rivals if options.only in (None, "speed") else ():
            measure_idle(results, rival)

    names, commands = [rival.name for rival in rivals], {rival.name: rival.command for rival in rivals}
    facts = json.loads(json.dumps({"options": vars(options), "commands": commands}, default=str))
    path = report.write(results, facts, options.out)
    report.show(results, names, commands)
    print(path)
    return gguf


if __name__ == "__main__":
    main()
