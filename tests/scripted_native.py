"""A native API that answers from a script: the other end of the CLI's tests.

Special models: `heavy` answers a load once `released` is set; `slow` answers one piece and then waits for
the caller to go away; `broken` answers one piece and an error line; `thinker` thinks; `embedder` makes
embeddings only; `stuck` can be pulled or created, without end. Any other model that is missing becomes
present when it is pulled or created.
"""

from __future__ import annotations

import hashlib
import json
import socket
import threading
from collections.abc import AsyncIterator, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import anyio
import uvicorn
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response, StreamingResponse
from starlette.routing import Route

STATISTICS = {
    "total_duration": 2_500_000_000,
    "load_duration": 500_000_000,
    "prompt_eval_count": 12,
    "prompt_eval_cached_count": 8,
    "prompt_eval_duration": 100_000_000,
    "eval_count": 4,
    "eval_duration": 2_000_000_000,
}


@dataclass
class Script:
    """What the server knows and what it was asked."""

    models: dict[str, str] = field(default_factory=lambda: dict.fromkeys(("tiny:latest",), "a" * 64))
    reply: tuple[str, ...] = ("The sky", " is", " blue.")
    requests: list[tuple[str, dict[str, Any]]] = field(default_factory=list)
    api_key: str | None = None
    expires_at: str = "2999-01-01T00:00:00Z"
    loaded: dict[str, Any] = field(default_factory=dict)
    blobs: dict[str, bytes] = field(default_factory=dict)
    """Content by digest."""
    shown: dict[str, Any] = field(default_factory=dict)
    """Further fields of every `show`."""
    cancelled: threading.Event = field(default_factory=threading.Event)
    started: threading.Event = field(default_factory=threading.Event)
    released: threading.Event = field(default_factory=threading.Event)

    def bodies(self, path: str) -> list[dict[str, Any]]:
        """Bodies sent to `path`, in order."""
        return [body for asked, body in self.requests if asked == path]

    def find(self, name: str) -> str | None:
        """The full name of a present model."""
        full = name if ":" in name else f"{name}:latest"
        return full if full in self.models else None


def application(script: Script) -> Starlette:
    """The scripted API."""

    async def dispatch(request: Request) -> Response:
        if script.api_key and request.headers.get("authorization") != f"Bearer {script.api_key}":
            return _error(401, "invalid API key")
        content = await request.body()
        body = json.loads(content) if content else {}
        script.requests.append((request.url.path, body))
        return _HANDLERS[request.url.path.removeprefix("/api/")](script, body)

    async def blob(request: Request) -> Response:
        digest = request.path_params["digest"]
        if request.method == "HEAD":
            return Response(status_code=200 if digest in script.blobs else 404)
        content = await request.body()
        if digest != f"sha256:{hashlib.sha256(content).hexdigest()}":
            return _error(400, "digest mismatch")
        script.requests.append(("/api/blobs", {"digest": digest}))
        script.blobs[digest] = content
        return Response(status_code=201)

    methods = ["GET", "POST", "DELETE"]
    routes = [Route(f"/api/{name}", dispatch, methods=methods) for name in _HANDLERS]
    return Starlette(routes=[*routes, Route("/api/blobs/{digest}", blob, methods=["HEAD", "POST"])])


@contextmanager
def serving(app: Any) -> Iterator[str]:
    """Runs `app` on a free loopback port in a thread and yields its URL."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        server = uvicorn.Server(uvicorn.Config(app, log_level="error", ws="none", lifespan="off"))
        thread = threading.Thread(target=server.run, args=([listener],))
        thread.start()
        try:
            yield f"http://127.0.0.1:{listener.getsockname()[1]}"
        finally:
            server.should_exit = server.force_exit = True
            thread.join()


def _error(status: int, text: str) -> Response:
    return JSONResponse({"error": text}, status)


def _missing(name: str) -> Response:
    return _error(404, f"model '{name}' not found")


def _lines(pieces: AsyncIterator[dict[str, Any]]) -> Response:
    async def encoded() -> AsyncIterator[str]:
        async for piece in pieces:
            yield json.dumps(piece) + "\n"

    return StreamingResponse(encoded(), media_type="application/x-ndjson")


def _version(script: Script, body: dict[str, Any]) -> Response:
    return JSONResponse({"version": "9.9.9"})


def _listed(name: str, digest: str) -> dict[str, Any]:
    return {
        "name": name,
        "model": name,
        "digest": digest,
        "size": 98_000_000,
        "modified_at": "2020-01-01T00:00:00Z",
        "details": {"family": "llama"},
    }


def _tags(script: Script, body: dict[str, Any]) -> Response:
    return JSONResponse({"models": [_listed(name, digest) for name, digest in script.models.items()]})


def _ps(script: Script, body: dict[str, Any]) -> Response:
    loaded = [
        {
            **_listed(name, digest),
            "size_vram": 24_500_000,
            "context_length": 4096,
            "expires_at": script.expires_at,
            **script.loaded,
        }
        for name, digest in script.models.items()
    ]
    return JSONResponse({"models": loaded})


def _show(script: Script, body: dict[str, Any]) -> Response:
    name = script.find(body["model"])
    if name is None:
        return _missing(body["model"])
    capabilities = ["embedding"] if name.startswith("embedder") else ["completion"]
    return JSONResponse(
        {
            "license": "First line\nSecond line\nThird line",
            "modelfile": f"FROM {name}",
            "parameters": "temperature 0.2",
            "template": "{{ prompt }}",
            "details": {"family": "llama", "parameter_size": "134.52M", "quantization_level": "Q4_1"},
            "model_info": {
                "general.architecture": "llama",
                "llama.context_length": 2048,
                "llama.embedding_length": 576,
            },
            "capabilities": capabilities,
            **script.shown,
            **(
                {"tensors": [{"name": "token_embd.weight", "type": "Q4_1", "shape": [576, 49152]}]}
                if body.get("verbose")
                else {}
            ),
        }
    )


def _copy(script: Script, body: dict[str, Any]) -> Response:
    if script.find(body["source"]) is None:
        return _error(404, f'model "{body["source"]}" not found')
    script.models[f"{body['destination']}:latest"] = "b" * 64
    return Response()


def _delete(script: Script, body: dict[str, Any]) -> Response:
    name = script.find(body["model"])
    if name is None:
        return _missing(body["model"])
    del script.models[name]
    return Response()


def _pull(script: Script, body: dict[str, Any]) -> Response:
    async def steps() -> AsyncIterator[dict[str, Any]]:
        yield {"status": "pulling manifest"}
        blob = {"status": "pulling aaaaaaaaaaaa", "digest": "sha256:" + "a" * 64, "total": 100}
        yield {**blob, "completed": 50}
        if body["model"] == "stuck":
            await _until_gone(script)
        if body["model"] == "nowhere":
            yield {"error": "pull model manifest: file does not exist"}
            return
        yield {**blob, "completed": 100}
        script.models[f"{body['model']}:latest"] = "c" * 64
        yield {"status": "success"}

    return _lines(steps())


def _create(script: Script, body: dict[str, Any]) -> Response:
    if body["model"].count("/") > 2:
        return _error(400, "invalid model name")
    if body.get("from") and script.find(body["from"]) is None:
        return _error(404, f"model '{body['from']}' not found")
    named = [*body.get("files", {}).items(), *body.get("adapters", {}).items()]
    if missing := [digest for _, digest in named if digest not in script.blobs]:
        return _error(404, f'blob "{missing[0]}" not found')

    async def steps() -> AsyncIterator[dict[str, Any]]:
        yield {"status": "reading model metadata"}
        if body["model"] == "stuck":
            await _until_gone(script)
        script.models[f"{body['model']}:latest"] = "d" * 64
        yield {"status": "success"}

    return _lines(steps())


def _generate(script: Script, body: dict[str, Any]) -> Response:
    if script.find(body["model"]) is None:
        return _missing(body["model"])
    if not body.get("prompt"):
        reason = "unload" if body.get("keep_alive") == 0 else "load"
        return JSONResponse({"model": body["model"], "response": "", "done": True, "done_reason": reason})
    if body.get("format") == {"not": {}}:
        return _error(400, "the JSON schema cannot be enforced:\n- /not: not: cannot be negated")
    return _lines(_answer(script, body, lambda kind, text: {{"content": "response"}.get(kind, kind): text}))


def _chat(script: Script, body: dict[str, Any]) -> Response:
    if script.find(body["model"]) is None:
        return _missing(body["model"])
    if not body["messages"]:
        loaded = {"message": {"role": "assistant", "content": ""}, "done": True, "done_reason": "load"}
        return _lines(_after_release(script, loaded)) if body["model"] == "heavy" else JSONResponse(loaded)
    if body["stream"] is False:
        message = {"role": "assistant", "content": "".join(script.reply)}
        return JSONResponse({"message": message, "done": True, "done_reason": "stop", **STATISTICS})
    return _lines(_answer(script, body, lambda kind, text: {"message": {"role": "assistant", kind: text}}))


async def _answer(script: Script, body: dict[str, Any], shaped: Any) -> AsyncIterator[dict[str, Any]]:
    if body["model"] == "thinker":
        yield {**shaped("thinking", "Hmm, colours."), "done": False}
    for text in script.reply:
        yield {**shaped("content", text), "done": False}
        if body["model"] == "slow":
            await _until_gone(script)
        if body["model"] == "broken":
            yield {"error": "model runner has unexpectedly stopped"}
            return
    yield {**shaped("content", ""), "done": True, "done_reason": "stop", **STATISTICS}


async def _after_release(script: Script, answer: dict[str, Any]) -> AsyncIterator[dict[str, Any]]:
    await anyio.to_thread.run_sync(script.released.wait, 20)
    yield answer


async def _until_gone(script: Script) -> None:
    script.started.set()
    try:
        await anyio.sleep_forever()
    finally:
        script.cancelled.set()


def _embed(script: Script, body: dict[str, Any]) -> Response:
    vector = [0.6, 0.8, 0.0][: body.get("dimensions")]
    return JSONResponse({"model": body["model"], "embeddings": [vector], "prompt_eval_count": 3})


_HANDLERS = {
    "version": _version,
    "tags": _tags,
    "ps": _ps,
    "show": _show,
    "copy": _copy,
    "delete": _delete,
    "pull": _pull,
    "create": _create,
    "generate": _generate,
    "chat": _chat,
    "embed": _embed,
}
