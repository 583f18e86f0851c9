"""The process that quantises one file: `python -m agentkit_server.runner.quantize_child JOB`.

JOB is a QuantizeJob in JSON. Writes a QuantizeReply a line to stdout and watches stdin: when it closes, the
parent is gone and so is this process.
"""

from __future__ import annotations

import os
import signal
import sys
import threading

import msgspec

from agentkit_server.engine.quantize import quantize
from agentkit_server.engine.quantize_job import QuantizeJob, QuantizeReply

POLITE = 10
"""How much nicer than the server: whoever waits for an answer goes first."""


def main(job: str) -> int:
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    threading.Thread(target=_watch_parent, name="parent", daemon=True).start()
    if hasattr(os, "nice"):
        os.nice(POLITE)
    # Whatever else writes to stdout must not end up between the replies.
    replies = os.dup(1)
    os.dup2(2, 1)
    encode = msgspec.json.encode

    def say(reply: QuantizeReply) -> None:
        os.write(replies, encode(reply) + b"\n")

    quantize(msgspec.json.decode(job, type=QuantizeJob), say)
    return 0


def _watch_parent() -> None:
    # Not sys.stdin: a thread that holds its lock is fatal to an interpreter that ends by itself.
    while os.read(0, 1 << 12):
        continue
    os._exit(0)


if __name__ == "__main__":
    sys.stdout.flush()
    os._exit(main(sys.argv[1]))
