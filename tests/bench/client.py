"""A streaming HTTP client that costs next to nothing while it reads: it keeps lines and their arrival
times, and parses them when the stream is over. Client and server share the same cores."""

from __future__ import annotations

import http.client
import json
import threading
import time
from dataclasses import dataclass, field
from typing import Any

TIMEOUT_S = 300


@dataclass
class Stream:
    """One answer: when it was asked for, when each non-empty line came (perf_counter seconds)."""

    asked: float = 0.0
    arrivals: list[float] = field(default_factory=list[float])
    lines: list[bytes] = field(default_factory=list[bytes])
    status: int = 0

    @property
    def first(self) -> float:
        """Seconds to the first line."""
        return self.arrivals[0] - self.asked

    @property
    def objects(self) -> list[dict[str, Any]]:
        return [json.loads(line.removeprefix(b"data: ")) for line in self.lines]


def post(port: int, path: str, body: dict[str, Any]) -> Stream:
    """Send one request and read its stream to the end. Raises SystemExit when it is refused."""
    stream = Stream()
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=TIMEOUT_S)
    payload = json.dumps(body).encode()
    connection.connect()
    stream.asked = time.perf_counter()
    connection.request("POST", path, payload, {"Content-Type": "application/json"})
    response = connection.getresponse()
    stream.status = response.status
    while line := response.readline():
        if len(line) > 2:
            stream.arrivals.append(time.perf_counter())
            stream.lines.append(line)
    connection.close()
    if stream.status != 200:
        raise SystemExit(f"bench: {path} on port {port} answered {stream.status}: {b''.join(stream.lines)!r}")
    return stream


def together(port: int, path: str, bodies: list[dict[str, Any]]) -> list[Stream]:
    """Send all requests at once, one thread each."""
    streams: list[Stream | None] = [None] * len(bodies)

    def read(i: int) -> None:
        streams[i] = post(port, path, bodies[i])

    threads = [threading.Thread(target=read, args=(i,)) for i in range(len(bodies))]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    answered = [stream for stream in streams if stream is not None]
    if len(answered) != len(bodies):
        raise SystemExit("bench: a stream failed; its error is above")
    return answered


def rate(arrivals: list[list[float]], tokens: list[int]) -> float:
    """Tokens a second of all streams together while every one of them was running. `arrivals` are the
    times of the lines that carry text, `tokens` the counts that the server reports: a line may carry more
    than one."""
    start = max(times[0] for times in arrivals)
    end = min(times[-1] for times in arrivals)
    arrived = 0.0
    for times, count in zip(arrivals, tokens, strict=True):
        arrived += count / len(times) * sum(1 for at in times if start < at <= end)
    return arrived / (end - start)
