"""Fixtures that every test may use."""

from __future__ import annotations

import signal

import pytest

# A shell ignores SIGINT for what it runs in the background, and whoever is started from there inherits that:
# Ctrl-C would do nothing in the programs that the tests start.
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)


@pytest.fixture
def anyio_backend() -> str:
    """The server runs on asyncio only."""
    return "asyncio"
