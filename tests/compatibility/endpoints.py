"""Every route with parameters, in the order of the page."""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, NamedTuple

import httpx
from fastapi import FastAPI
from support.described_server import described_app
from support.upload_registry import UploadRegistry

from tests.compatibility import anthropic_probes as anthropic
from tests.compatibility import native_probes as native
from tests.compatibility import openai_probes as openai
from tests.compatibility import responses_probes as responses
from tests.compatibility.page import page
from tests.compatibility.probes import Endpoint
from tests.compatibility.rerank_probes import RERANK
from tests.compatibility.uploads import KEEPER, UPLOADS
from tests.compatibility.verdicts import Found, spying, verdicts

ENDPOINTS: dict[str, Endpoint] = {
    "OpenAI: chat completions": openai.CHAT,
    "OpenAI: responses": responses.RESPONSES,
    "OpenAI: count the tokens of a response": responses.COUNT,
    "OpenAI: completions": openai.COMPLETIONS,
    "OpenAI: embeddings": openai.EMBEDDINGS,
    "Rerank": RERANK,
    "Anthropic: messages": anthropic.MESSAGES,
    "Anthropic: count tokens": anthropic.COUNT,
    "Native: generate": native.GENERATE,
    "Native: chat": native.CHAT,
    "Native: options": native.OPTIONS,
    "Native: embed": native.EMBED,
    "Native: embeddings": native.EMBEDDINGS,
    "Native: tokenize": native.TOKENIZE,
    "Native: detokenize": native.DETOKENIZE,
    "Native: apply_template": native.APPLY_TEMPLATE,
    "Native: show": native.SHOW,
    "Native: pull": native.PULL,
    "Native: copy": native.COPY,
    "Native: delete": native.DELETE,
    "Native: push": native.PUSH,
    "Native: create": native.CREATE,
}
PAGE = Path(__file__).parents[2] / "docs/reference/compatibility.md"


async def found_of(client: httpx.AsyncClient, endpoint: Endpoint, pushed: str) -> dict[str, Sequence[Found]]:
    """What the server does with every parameter of `endpoint`. `pushed` is a model that can be pushed."""
    earlier = await client.post("/v1/responses", json=responses.RESPONSES.base)
    with spying() as spy:
        spy.ids[responses.EARLIER] = earlier.json()["id"]
        spy.ids[native.PUSHED] = pushed
        return {name: await verdicts(client, spy, endpoint, name) for name in endpoint.probes}


@asynccontextmanager
async def served(app: FastAPI) -> AsyncIterator[httpx.AsyncClient]:
    """A client of `app`, whose models have copies that may be deleted."""
    transport = httpx.ASGITransport(app)
    async with (
        app.router.lifespan_context(app),
        httpx.AsyncClient(transport=transport, base_url="http://127.0.0.1") as client,
    ):
        for name in ("spare", "mine"):
            await client.post("/api/copy", json={"source": "smollm2", "destination": name})
        for digest, content in UPLOADS.items():
            await client.post(f"/api/blobs/{digest}", content=content)
        # What a probe makes replaces what the one before it made, and blobs that no model has go then.
        made = await client.post("/api/create", json=KEEPER)
        made.raise_for_status()
        yield client


class Server(NamedTuple):
    """What a server says of itself, and what it does."""

    document: dict[str, Any]
    found: dict[str, dict[str, Sequence[Found]]]


async def asked(folder: Path) -> Server:
    """Ask a server over an empty `folder` about every parameter of every endpoint."""
    registry = UploadRegistry()
    async with registry.serving(), served(described_app(folder)) as client:
        document = (await client.get("/openapi.json")).json()
        pushed = f"{registry.address}/me/mine"
        await client.post("/api/copy", json={"source": "smollm2", "destination": pushed})
        found = {title: await found_of(client, each, pushed) for title, each in ENDPOINTS.items()}
        return Server(document, found)


def written(server: Server) -> str:
    """The page."""
    return page({title: (each, server.found[title]) for title, each in ENDPOINTS.items()})
