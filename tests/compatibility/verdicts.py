"""Finds out by asking what the server does with a parameter. It is honoured when with it the dialect asks for
something else to be done, or the answer has another form; refused when the answer is an error; else without
effect."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any, Literal

import httpx
from support.openapi_truth import items

from agentkit_server.create import create
from agentkit_server.turn import embed, rerank, run, tokens
from agentkit_server.turn.types import Turn
from tests.compatibility.probes import Endpoint, Probe

WRITE_PROMPT = tokens.write_prompt
ASKED = [
    run.run_turn,
    run.load,
    run.unload,
    embed.embed,
    rerank.rerank,
    tokens.tokenize,
    tokens.detokenize,
    WRITE_PROMPT,
    create.create,
]
"""What the dialects call to have something done."""
VOLATILE = frozenset(
    {
        "id",
        "item_id",
        "response_id",
        "call_id",
        "created",
        "created_at",
        "completed_at",
        "modified_at",
        "total_duration",
        "load_duration",
        "prompt_eval_duration",
        "eval_duration",
        "prompt_eval_cached_count",
        "usage",
        "signature",
        "obfuscation",
    }
)
"""Fields of answers that differ between two answers to the same request."""

Verdict = Literal["honoured", "refused", "without effect"]


@dataclass
class Spy:
    """What the dialects asked to have done."""

    asked: list[str] = field(default_factory=list[str])
    ids: dict[str, str] = field(default_factory=dict[str, str])
    """What probes call something that is there, and what the server calls it."""

    def watching(self, original: Callable[..., Any]) -> Callable[..., Any]:
        def spy(*args: Any, **kwargs: Any) -> Any:
            self.asked.append(repr((_counted(args[1]) if original is WRITE_PROMPT else args[1:], kwargs)))
            return original(*args, **kwargs)

        return spy


def _counted(turn: Turn) -> tuple[Any, ...]:
    """What of a turn counts when its prompt is only written; the prompt shows in the answer."""
    return turn.load, turn.keep_alive, turn.max_seconds


@contextmanager
def spying() -> Iterator[Spy]:
    """Watch every dialect."""
    spy, changed = Spy(), list[tuple[Any, str, Any]]()
    modules = [module for name, module in sys.modules.items() if name.startswith("agentkit_server.")]
    try:
        for original in ASKED:
            watching = spy.watching(original)
            for module in modules:
                for name, value in list(vars(module).items()):
                    if value is original:
                        changed.append((module, name, original))
                        setattr(module, name, watching)
        yield spy
    finally:
        for module, name, original in changed:
            setattr(module, name, original)


@dataclass(frozen=True)
class Seen:
    """What came of a request."""

    status: int
    asked: Sequence[str]
    answer: Any
    afterwards: int = 0


@dataclass(frozen=True)
class Found:
    """What the server does with one value of a parameter."""

    name: str
    value: Any
    verdict: Verdict
    status: int
    message: str = ""


async def verdicts(client: httpx.AsyncClient, spy: Spy, endpoint: Endpoint, name: str) -> list[Found]:
    """What the server does with each probe of a parameter."""
    return [await _verdict(client, spy, endpoint, name, probe) for probe in endpoint.of(name)]


async def _verdict(client: httpx.AsyncClient, spy: Spy, endpoint: Endpoint, name: str, probe: Probe) -> Found:
    plain = endpoint.body(name, probe, given=False)
    headers: dict[str, str] = {}
    changed = endpoint.body(name, probe, given=True)
    if name in endpoint.in_headers:
        headers[endpoint.in_headers[name]] = changed.pop(name)
    with_it = await _seen(client, spy, endpoint, changed, name, headers)
    if with_it.status >= 400:
        return Found(name, probe.value, "refused", with_it.status, str(with_it.answer))
    without = await _seen(client, spy, endpoint, plain, name, {})
    same = (with_it.asked, with_it.answer, with_it.afterwards) == (
        without.asked,
        without.answer,
        without.afterwards,
    )
    required = name in endpoint.base
    verdict: Verdict = "without effect" if same and not required else "honoured"
    return Found(name, probe.value, verdict, with_it.status)


async def _seen(
    client: httpx.AsyncClient,
    spy: Spy,
    endpoint: Endpoint,
    body: dict[str, Any],
    name: str,
    headers: dict[str, str],
) -> Seen:
    spy.asked.clear()
    body = {
        key: spy.ids.get(value, value) if isinstance(value, str) else value for key, value in body.items()
    }
    answer = await client.request(endpoint.method, endpoint.path, json=body, headers=headers)
    asked = list(spy.asked)
    media = answer.headers.get("content-type", "").partition(";")[0]
    told = items(media, answer.content) if answer.content else []
    afterwards = 0
    if endpoint.afterwards and answer.status_code < 400:
        afterwards = (await client.get(endpoint.afterwards.format(id=_id(told)))).status_code
    stable = _stable(told, name if endpoint.echoes else "")
    return Seen(answer.status_code, asked, [media, stable], afterwards)


def _id(told: list[Any]) -> str:
    first = told[0]
    return first.get("response", first)["id"]


def _stable(value: Any, name: str) -> Any:
    """`value` without what differs from answer to answer, and without what only says `name` back."""
    if isinstance(value, dict):
        kept = ((key, each) for key, each in value.items() if key != name)
        return {key: None if key in VOLATILE else _stable(each, name) for key, each in kept}
    return [_stable(each, name) for each in value] if isinstance(value, list) else value
