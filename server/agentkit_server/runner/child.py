"""The child process of one loaded model: `python -m agentkit_server.runner.child FOLDER`.

Reads a LoadSpec (one line of JSON) from stdin and then watches stdin: when it closes, the parent is
gone and so is this process. Commands come over one ipc socket in FOLDER, replies leave over another.

Threads: the main one loads the model and runs the engine's steps; `commands` receives and tokenises;
`parent` watches stdin; the engine's own build grammars and compute masks.
"""

from __future__ import annotations

import logging
import os
import shutil
import signal
import sys
import threading
from collections.abc import Callable

import msgspec
import zmq

from agentkit_server.engine.grammars import Grammars
from agentkit_server.engine.llama import Batch, Context, LlamaError, Vocabulary
from agentkit_server.engine.stepper import Stepper
from agentkit_server.engine.types import (
    Command,
    Detokenize,
    Detokenized,
    Failed,
    Loaded,
    LoadError,
    LoadProgress,
    LoadSpec,
    Reply,
    Shutdown,
    Tokenize,
    Tokenized,
)
from agentkit_server.runner.pipe import command_address, reply_address

log = logging.getLogger("agentkit.runner")
WARM_UP_TOKENS = 8
POLITE_SECONDS = 1.0
"""That the end waits for a grammar to be built."""

_encoder = msgspec.msgpack.Encoder()
_commands = msgspec.msgpack.Decoder(Command)


class Outbox:
    """One thread's way to the parent. A ZeroMQ socket belongs to the thread that uses it."""

    def __init__(self, zeromq: zmq.Context[zmq.Socket[bytes]], folder: str) -> None:
        self._socket = zeromq.socket(zmq.PUSH)
        self._socket.setsockopt(zmq.SNDHWM, 0)
        self._socket.connect(reply_address(folder))

    def send(self, replies: list[Reply]) -> None:
        self._socket.send(_encoder.encode(replies))


def main(folder: str) -> int:
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    logging.basicConfig(level=logging.INFO, format="%(levelname)s %(name)s: %(message)s")
    spec = msgspec.json.decode(_first_line(), type=LoadSpec)
    threading.Thread(target=_watch_parent, args=(folder,), name="parent", daemon=True).start()
    zeromq = zmq.Context()
    outbox = Outbox(zeromq, folder)
    try:
        context = Context(spec, _progress(outbox))
        _warm_up(context)
    except LlamaError as error:
        outbox.send([LoadError(str(error))])
        zeromq.destroy(linger=2000)
        return 1
    inbox = zeromq.socket(zmq.PULL)
    inbox.setsockopt(zmq.RCVHWM, 0)
    inbox.bind(command_address(folder))
    grammars = Grammars(context.vocabulary)
    stepper = Stepper(context, grammars, outbox.send)
    others = Outbox(zeromq, folder)
    receive = threading.Thread(
        target=lambda: _or_die(lambda: _receive(inbox, others, stepper, context.vocabulary)), name="commands"
    )
    receive.start()
    outbox.send([Loaded(context.facts())])
    _or_die(stepper.run)
    receive.join()
    if grammars.close(POLITE_SECONDS):
        context.free()
    zeromq.destroy(linger=0)
    return 0


def _or_die(work: Callable[[], None]) -> None:
    """A thread that ended by an error would leave a process that lives and answers nobody: end it, for the
    parent to see."""
    try:
        work()
    except BaseException:
        log.exception("the runner cannot go on")
        os._exit(1)


def _first_line() -> bytes:
    line = b""
    while not line.endswith(b"\n"):
        piece = os.read(0, 1)
        if not piece:
            sys.exit("the parent has gone before it said what to load")
        line += piece
    return line


def _watch_parent(folder: str) -> None:
    # Not sys.stdin: a thread that holds its lock is fatal to an interpreter that ends by itself.
    while os.read(0, 1 << 12):
        continue
    shutil.rmtree(folder, ignore_errors=True)
    os._exit(0)


def _progress(outbox: Outbox) -> Callable[[float], None]:
    """llama.cpp reports once a tensor; the parent hears of whole percents."""
    last = -1

    def report(fraction: float) -> None:
        nonlocal last
        percent = int(fraction * 100)
        if percent > last:
            last = percent
            outbox.send([LoadProgress(fraction)])

    return report


def _warm_up(context: Context) -> None:
    """One prefill and, by that, a proof that this build computes on this machine: a crash belongs to
    the load, where the parent can retry it, and not to somebody's request."""
    batch = Batch(context.spec.n_batch)
    token = min(t for t in range(context.vocabulary.size) if t not in context.vocabulary.eog)
    tokens = [token] * min(WARM_UP_TOKENS, context.spec.n_batch, context.spec.n_ctx)
    batch.add(tokens, 0, 0, output=context.spec.embedding)
    # Alone, so that a crowded machine does not hold it up; what may crash is the same on every thread.
    context.set_threads(1)
    if not context.spec.embedding:
        batch.output[batch.size - 1] = 1
    code = context.decode(batch)
    context.set_threads(context.threads)
    context.drop_cells(0)
    if code != 0:
        raise LlamaError(f"the model loads and cannot compute: llama_decode returned {code}")


def _receive(inbox: zmq.Socket[bytes], outbox: Outbox, stepper: Stepper, vocabulary: Vocabulary) -> None:
    while True:
        command = _commands.decode(inbox.recv())
        match command:
            case Tokenize() | Detokenize():
                outbox.send([_text_reply(command, vocabulary)])
            case Shutdown():
                stepper.submit(command)
                return
            case _:
                stepper.submit(command)


def _text_reply(command: Tokenize | Detokenize, vocabulary: Vocabulary) -> Reply:
    if isinstance(command, Tokenize):
        tokens = vocabulary.tokenize(
            command.text, add_special=command.add_special, parse_special=command.parse_special
        )
        return Tokenized(command.id, tokens)
    bad = next((t for t in command.tokens if not 0 <= t < vocabulary.size), None)
    if bad is not None:
        message = f"token id {bad} is outside the vocabulary of {vocabulary.size} tokens"
        return Failed(id=command.id, code="invalid_request", message=message)
    return Detokenized(command.id, vocabulary.text(command.tokens, special=command.special))


if __name__ == "__main__":
    # No more of the interpreter's own end: a grammar that is still being built would be cut off in it.
    os._exit(main(sys.argv[1]))
