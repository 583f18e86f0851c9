"""Objects and bytes of the Anthropic dialect: ids, server-sent events, usage, and streams that say `ping`
while a model is silent."""

from __future__ import annotations

import asyncio
import secrets
from typing import Any

import msgspec
from starlette.types import Message, Receive, Scope, Send

from agentkit_server.dialects._shared import Stream
from agentkit_server.turn.events import Finish

encode = msgspec.json.encode
PING_S = 10.0
"""A stream that has been silent for so long says that it is still there."""
PING = b'event: ping\ndata: {"type":"ping"}\n\n'


def sse(event: dict[str, Any]) -> bytes:
    """One server-sent event; its name is the type of `event`."""
    return b"event: " + event["type"].encode() + b"\ndata: " + encode(event) + b"\n\n"


def new_message_id() -> str:
    """The id of an answer."""
    return f"msg_{secrets.token_hex(12)}"


def first_usage(prompt_tokens: int) -> dict[str, Any]:
    """The `usage` of a message that has only begun. What of the prompt is cached is not known yet."""
    return _usage(prompt_tokens, 0, 0, 0)


def usage_of(finish: Finish) -> dict[str, Any]:
    """The `usage` of a whole answer. Prompt tokens are counted once: read from the cache, or input."""
    used = finish.usage
    return _usage(
        used.prompt_tokens - used.cached_tokens,
        used.cached_tokens,
        used.completion_tokens,
        finish.thinking_tokens,
    )


def _usage(computed: int, cached: int, output: int, thinking: int) -> dict[str, Any]:
    return {
        "input_tokens": computed,
        # Every prompt stays cached for as long as there is room, and none is charged for it.
        "cache_creation_input_tokens": 0,
        "cache_read_input_tokens": cached,
        "cache_creation": {"ephemeral_5m_input_tokens": 0, "ephemeral_1h_input_tokens": 0},
        "output_tokens": output,
        "output_tokens_details": {"thinking_tokens": thinking},
        "server_tool_use": None,
        "service_tier": "standard",
    }


class PingingStream(Stream):
    """A Stream that sends `PING` between two pieces that are far apart."""

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        pings = _Pings(send)
        pinging = asyncio.create_task(pings.run())

        async def send_piece(message: Message) -> None:
            if not message.get("more_body", True):
                pinging.cancel()
            await send(message)
            pings.heard_at = asyncio.get_running_loop().time()

        try:
            await super().__call__(scope, receive, send_piece)
        finally:
            pinging.cancel()
            # A client that is gone is for the stream to notice.
            await asyncio.gather(pinging, return_exceptions=True)


class _Pings:
    """Sends one whenever nothing was heard for `PING_S`."""

    def __init__(self, send: Send) -> None:
        self._clock = asyncio.get_running_loop().time
        self._send = send
        self.heard_at = self._clock()

    async def run(self) -> None:
        while True:
            left = self.heard_at + PING_S - self._clock()
            if left > 0:
                await asyncio.sleep(left)
                continue
            await self._send({"type": "http.response.body", "body": PING, "more_body": True})
            self.heard_at = self._clock()
