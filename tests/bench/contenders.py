"""Who is measured: our server, the bare loop and llama-server, each a process started here with the same
GGUF, threads, cells and batch, and each behind the same three questions."""

from __future__ import annotations

import contextlib
import json
import os
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Generator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import httpx
import psutil

from tests.bench import client
from tests.bench.client import Stream
from tests.bench.schemas import Schema

START_TIMEOUT_S = 120


@dataclass(frozen=True)
class Setup:
    """What all contenders are given alike."""

    model: str
    """Name of the model in our store."""
    gguf: str
    threads: int
    context: int
    """Tokens of one stream; the cells are this many for each of `streams`."""
    streams: int
    batch: int

    @property
    def cells(self) -> int:
        return self.context * self.streams


@dataclass(frozen=True)
class Answer:
    """One whole answer, and the seconds from the request to its last line."""

    text: str
    tokens: int
    seconds: float

    @property
    def rate(self) -> float:
        return self.tokens / self.seconds


class Contender(Protocol):
    name: str
    command: str

    def decode(self, prompts: list[str], n_predict: int) -> float:
        """Tokens a second of all prompts together, greedy, once all of them are decoding."""
        ...

    def first_token(self, prefix: str, endings: list[str]) -> list[float]:
        """Seconds to the first token of prefix + ending, one ending after the other: the first is cold."""
        ...

    def cpu_seconds(self) -> float | None:
        """CPU time used so far by the process and its children; None where idling is no question."""
        ...


class Bare:
    """The loop of bare.py."""

    name = "bare loop"

    def __init__(self, process: subprocess.Popen[str], command: str) -> None:
        self._process = process
        self.command = command

    def _ask(self, method: str, *args: object) -> Any:
        assert self._process.stdin is not None and self._process.stdout is not None
        self._process.stdin.write(json.dumps([method, *args]) + "\n")
        self._process.stdin.flush()
        answer = self._process.stdout.readline()
        if not answer:
            raise SystemExit("bench: the bare loop died; its last words are above")
        return json.loads(answer)

    def decode(self, prompts: list[str], n_predict: int) -> float:
        return self._ask("decode", prompts, n_predict)

    def first_token(self, prefix: str, endings: list[str]) -> list[float]:
        return self._ask("first_tokens", [prefix + ending for ending in endings])

    def cpu_seconds(self) -> float | None:
        return None


class Server:
    """What both HTTP servers have in common; subclasses say how a request looks and a stream is read."""

    name = ""
    path = ""

    def __init__(self, process: subprocess.Popen[bytes], command: str, port: int) -> None:
        self._process = psutil.Process(process.pid)
        self.command = command
        self.port = port

    def body(self, prompt: str, n_predict: int) -> dict[str, Any]:
        raise NotImplementedError

    def token_count(self, last: dict[str, Any]) -> int:
        raise NotImplementedError

    def decode(self, prompts: list[str], n_predict: int) -> float:
        streams = client.together(self.port, self.path, [self.body(prompt, n_predict) for prompt in prompts])
        counts = [self.token_count(stream.objects[-1]) for stream in streams]
        # A stream that the model ends early ends the window in which the rate is taken.
        if min(counts) < n_predict // 4:
            raise SystemExit(f"bench: {self.name} ended a stream after {min(counts)} of {n_predict} tokens")
        return client.rate([self._texts(stream) for stream in streams], counts)

    def structured_body(self, prompt: str, schema: Schema, n_predict: int) -> dict[str, Any]:
        raise NotImplementedError

    def answer(self, prompt: str, schema: Schema | None, n_predict: int) -> Answer:
        """One greedy answer to a prompt that was just computed: free text, or JSON that `schema` allows."""
        if schema is None:
            body = self.body(prompt, n_predict)
        else:
            body = self.structured_body(prompt, schema, n_predict)
        stream = client.post(self.port, self.path, body)
        seconds = stream.arrivals[-1] - stream.asked
        return Answer(self.text(stream), self.token_count(stream.objects[-1]), seconds)

    def text(self, stream: Stream) -> str:
        return "".join(line.get("response") or line.get("content") or "" for line in stream.objects)

    def _texts(self, stream: Stream) -> list[float]:
        """Arrival times of the lines that carry text."""
        pairs = zip(stream.arrivals, stream.objects, strict=True)
        return [at for at, line in pairs if line.get("response") or line.get("content")]

    def first_token(self, prefix: str, endings: list[str]) -> list[float]:
        return [client.post(self.port, self.path, self.body(prefix + ending, 4)).first for ending in endings]

    def cpu_seconds(self) -> float | None:
        family = [self._process, *self._process.children(recursive=True)]
        return sum(times.user + times.system for times in (process.cpu_times() for process in family))


class Agentkit(Server):
    """Our server, through its native dialect."""

    name = "agentkit"
    path = "/api/generate"

    def __init__(
        self, process: subprocess.Popen[bytes], command: str, port: int, setup: Setup | None = None
    ) -> None:
        super().__init__(process, command, port)
        self.setup = setup

    def body(self, prompt: str, n_predict: int) -> dict[str, Any]:
        assert self.setup is not None
        options = {
            "temperature": 0,
            "num_predict": n_predict,
            "num_ctx": self.setup.context,
            "num_batch": self.setup.batch,
            "num_thread": self.setup.threads,
        }
        return {"model": self.setup.model, "prompt": prompt, "raw": True, "options": options}

    def structured_body(self, prompt: str, schema: Schema, n_predict: int) -> dict[str, Any]:
        return {**self.body(prompt, n_predict), "format": schema}

    def token_count(self, last: dict[str, Any]) -> int:
        return last["eval_count"]


class LlamaServer(Server):
    """llama.cpp's own server, through its own completion route."""

    name = "llama-server"
    path = "/completion"

    def body(self, prompt: str, n_predict: int) -> dict[str, Any]:
        return {
            "prompt": prompt,
            "n_predict": n_predict,
            "temperature": 0,
            "samplers": ["top_k"],
            "top_k": 1,
            "ignore_eos": True,
            "cache_prompt": True,
            "stream": True,
        }

    def structured_body(self, prompt: str, schema: Schema, n_predict: int) -> dict[str, Any]:
        return {**self.body(prompt, n_predict), "json_schema": schema, "ignore_eos": False}

    def token_count(self, last: dict[str, Any]) -> int:
        return last["tokens_predicted"]


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


@contextlib.contextmanager
def _running(
    command: list[str], env: dict[str, str], log: Path, ready_url: str
) -> Generator[subprocess.Popen[bytes]]:
    """Start a server, wait until it answers, and end it by its own process id."""
    with log.open("wb") as output:
        process = subprocess.Popen(command, env=env, stdout=output, stderr=output, stdin=subprocess.DEVNULL)
    try:
        deadline = time.monotonic() + START_TIMEOUT_S
        while not _answers(ready_url):
            if process.poll() is not None or time.monotonic() > deadline:
                raise SystemExit(
                    f"bench: {command[0]} did not start:\n{log.read_text(errors='replace')[-2000:]}"
                )
            time.sleep(0.1)
        yield process
    finally:
        process.terminate()
        try:
            process.wait(timeout=20)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def _answers(url: str) -> bool:
    try:
        return httpx.get(url, timeout=2).status_code == 200
    except httpx.HTTPError:
        return False


@contextlib.contextmanager
def agentkit_server(streams: int) -> Generator[Agentkit]:
    """Our server with the caller's own store. Its `setup` is filled in later: it tells which file it is."""
    port = free_port()
    command = [str(Path(sys.executable).parent / "agentkit"), "serve"]
    changed = {
        "AGENTKIT_HOST": f"127.0.0.1:{port}",
        "AGENTKIT_NUM_PARALLEL": str(streams),
        "AGENTKIT_KEEP_ALIVE": "-1",
    }
    shown = " ".join([*(f"{name}={value}" for name, value in changed.items()), "agentkit serve"])
    with tempfile.TemporaryDirectory() as folder:
        log = Path(folder) / "log"
        with _running(command, os.environ | changed, log, f"http://127.0.0.1:{port}/api/version") as process:
            yield Agentkit(process, shown, port)


@contextlib.contextmanager
def llama_server(program: str, setup: Setup, extra: list[str]) -> Generator[LlamaServer]:
    port = free_port()
    command = [program, "-m", setup.gguf, "-t", str(setup.threads), "-tb", str(setup.threads)]
    command += [
        "-c",
        str(setup.cells),
        "-np",
        str(setup.streams),
        "-b",
        str(setup.batch),
        "-ub",
        str(setup.batch),
    ]
    command += ["-fa", "auto", "--no-webui", "--host", "127.0.0.1", "--port", str(port), *extra]
    with tempfile.TemporaryDirectory() as folder:
        log = Path(folder) / "log"
        with _running(command, dict(os.environ), log, f"http://127.0.0.1:{port}/health") as process:
            yield LlamaServer(process, " ".join(command), port)


@contextlib.contextmanager
def bare_loop(setup: Setup) -> Generator[Bare]:
    command = [sys.executable, "-m", "tests.bench.bare", setup.gguf, "--threads", str(setup.threads)]
    command += ["--cells", str(setup.cells), "--streams", str(setup.streams), "--batch", str(setup.batch)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        yield Bare(process, " ".join(["python", *command[1:]]))
        assert process.stdin is not None
        process.stdin.close()
