"""An app on a real port of the loopback interface, served on the test's own event loop."""

from __future__ import annotations

import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import anyio
from fastapi import FastAPI

from agentkit_server.serve import Server

START_SECONDS = 30


@asynccontextmanager
async def listening(app: FastAPI) -> AsyncIterator[str]:
    """Yields the URL of `app`; it stops when the block ends."""
    server = Server(app)
    ready = anyio.Event()
    server.ready = ready.set
    with socket.create_server(("127.0.0.1", 0)) as listener:
        listener.setblocking(False)
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(server.serve, [listener])
            with anyio.fail_after(START_SECONDS):
                await ready.wait()
            yield f"http://127.0.0.1:{listener.getsockname()[1]}"
            server.stop()
