"""Runs the server in this process until it is told to stop.

SIGINT and SIGTERM end every running stream with an error, close the runners, and return; a second signal
changes nothing. Everything is said on stderr.
"""

from __future__ import annotations

import asyncio
import errno
import logging
import signal
import socket
import sys
import threading
from collections.abc import Callable, Generator
from contextlib import contextmanager
from types import FrameType

import uvicorn
from anyio import move_on_after
from fastapi import FastAPI

from agentkit_server.app import create_app, store_root
from agentkit_server.dialects._shared import OpenRequests
from agentkit_server.errors import BindRefused
from agentkit_server.hosts import Bind, check_bind, parse_bind
from agentkit_server.runner.process import ProcessLauncher
from agentkit_server.runner.protocol import Launcher
from agentkit_server.settings import Settings

GRACE_SECONDS = 3
"""How long requests that were told to end may take to do so."""
_TICK_SECONDS = 1.0


def serve(
    settings: Settings,
    *,
    insecure: bool = False,
    ready: Callable[[str], None] | None = None,
    launcher: Launcher | None = None,
) -> None:
    """Listen on `settings.host` and serve until a signal comes. `ready` is told the URL once requests are
    answered; port 0 takes any free one.

    Raises BindRefused when the address is taken, or open to a network without keys or `insecure`;
    StoreError.
    """
    _log_to_stderr(settings)
    warning = check_bind(settings.host, bool(settings.api_keys), insecure)
    if warning is not None:
        print(warning, file=sys.stderr)
    with _listening(parse_bind(settings.host)) as listener:
        app = create_app(settings, ProcessLauncher() if launcher is None else launcher)
        url = _url(listener)
        print(f"listening on {url}, models in {store_root(settings)}", file=sys.stderr, flush=True)
        asyncio.run(Server(app, (lambda: ready(url)) if ready else None).serve(sockets=[listener]))


class Server(uvicorn.Server):
    """uvicorn, except that it stops quickly, exits cleanly and wakes up once a second at most."""

    def __init__(self, app: FastAPI, ready: Callable[[], None] | None = None) -> None:
        config = uvicorn.Config(
            app,
            access_log=False,
            log_config=None,
            lifespan="on",
            server_header=False,
            # Longer than clients keep idle connections, so that they never reuse one as it closes.
            timeout_keep_alive=75,
            timeout_graceful_shutdown=GRACE_SECONDS,
            ws="none",
        )
        super().__init__(config)
        self._open_requests: OpenRequests = app.state.open_requests
        self.ready = ready
        self._told = asyncio.Event()

    def stop(self) -> None:
        """Begin to shut down. To be called on the server's own event loop."""
        self.should_exit = True
        self._told.set()

    @contextmanager
    def capture_signals(self) -> Generator[None]:
        """Unlike uvicorn's, does not raise the signal again at the end: being told to stop is no failure."""
        if threading.current_thread() is not threading.main_thread():
            yield
            return
        loop = asyncio.get_running_loop()

        def handle(signum: int, frame: FrameType | None) -> None:
            loop.call_soon_threadsafe(self.stop)

        before = {number: signal.signal(number, handle) for number in (signal.SIGINT, signal.SIGTERM)}
        try:
            yield
        finally:
            for number, handler in before.items():
                signal.signal(number, handler)

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        """Start, and tell that it has."""
        await super().startup(sockets)
        if self.started and self.ready is not None:
            self.ready()

    async def main_loop(self) -> None:
        """Wait to be told to stop. The tick keeps uvicorn's Date header right."""
        while not await self.on_tick(0):
            with move_on_after(_TICK_SECONDS):
                await self._told.wait()

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        """End running requests first: uvicorn would wait for the longest answer."""
        self._open_requests.stop()
        await super().shutdown(sockets)


@contextmanager
def _listening(bind: Bind) -> Generator[socket.socket]:
    address = (bind.host, bind.port)
    try:
        family = socket.getaddrinfo(*address, type=socket.SOCK_STREAM)[0][0]
        listener = socket.create_server(address, family=family, backlog=2048)
    except OSError as error:
        raise BindRefused(_cannot_listen(bind, error)) from error
    listener.setblocking(False)
    with listener:
        yield listener


def _cannot_listen(bind: Bind, error: OSError) -> str:
    if error.errno == errno.EADDRINUSE:
        return (
            f"port {bind.port} on {bind.host!r} is in use: another server, perhaps Ollama, listens there; "
            f"stop it, or choose another port with AGENTKIT_HOST={bind.host}:{bind.port + 1}"
        )
    return (
        f"cannot listen on {bind.host!r} port {bind.port}: {error}; set AGENTKIT_HOST to an address of yours"
    )


def _url(listener: socket.socket) -> str:
    host, port = listener.getsockname()[:2]
    return f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"


def _log_to_stderr(settings: Settings) -> None:
    debug = settings.debug.lower() not in ("", "0", "false")
    logging.basicConfig(
        level=logging.DEBUG if debug else logging.INFO,
        format="%(asctime)s %(levelname)s %(name)s: %(message)s",
    )
    # Starting and stopping is said here, in one line each.
    logging.getLogger("uvicorn.error").setLevel(logging.WARNING)
    for chatty in ("httpx", "httpcore", "asyncio"):
        logging.getLogger(chatty).setLevel(logging.WARNING)
