"""A live server on smollm2 for everything that the documentation shows."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from support import smollm2


@pytest.fixture(scope="session")
def live_server() -> Iterator[str]:
    """URL of the server."""
    # A small context bounds how long an answer may become; tools in the prompt take 300 tokens of it.
    with smollm2.serving(smollm2.models_folder(), AGENTKIT_CONTEXT_LENGTH="1024") as url:
        yield url
