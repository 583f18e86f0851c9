"""Types of outlines as output types: what they are there they are here, enforced by the server's grammar."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
from outlines.types import CFG, Regex
from outlines.types import JsonSchema as OutlinesSchema
from outlines.types.dsl import either
from support import smollm2

from agentkit import Agent, OutputInvalid, Server
from agentkit.testing import ScriptedModel

SCHEMA = '{"type": "object", "properties": {"n": {"type": "integer"}}, "required": ["n"]}'
YES_NO = 'start: "yes" | "no"'
KINDS: list[tuple[Any, str, Any, str]] = [
    (Regex(r"(19|20)\d\d"), "regex", "1969", "last year"),
    (either("red", "blue"), "choice", "red", "green"),
    (OutlinesSchema(SCHEMA), "json_schema", {"n": 3}, "three"),
    (CFG(YES_NO), "grammar", "yes", ""),
]


@pytest.fixture(scope="module")
def server() -> Iterator[Server]:
    with smollm2.serving(smollm2.models_folder(), AGENTKIT_CONTEXT_LENGTH="1024") as url:
        yield Server(url)


@pytest.mark.parametrize(("kind", "demand", "value", "wrong"), KINDS, ids=lambda value: str(value)[:12])
def test_a_type_of_outlines_is_sent_as_what_it_is(kind: Any, demand: str, value: Any, wrong: str) -> None:
    text = '{"n": 3}' if isinstance(value, dict) else value
    model = ScriptedModel([text])
    assert Agent("any", kind, backend=model).run_sync("Go").output == value
    [request] = model.requests
    assert request.demand is not None
    assert request.demand.kind == demand


@pytest.mark.parametrize(("kind", "demand", "value", "wrong"), KINDS[:3], ids=lambda value: str(value)[:12])
def test_what_is_no_such_output_is_asked_for_again(kind: Any, demand: str, value: Any, wrong: str) -> None:
    with pytest.raises(OutputInvalid, match="the answer is not valid"):
        Agent("any", kind, backend=ScriptedModel([wrong] * 2), output_retries=1).run_sync("Go")


@pytest.mark.parametrize(("kind", "demand", "value", "wrong"), KINDS, ids=lambda value: str(value)[:12])
def test_the_server_holds_smollm2_to_it(
    kind: Any, demand: str, value: Any, wrong: str, server: Server
) -> None:
    agent = Agent("smollm2", kind, backend=server, output_retries=0, options={"num_predict": 60, "seed": 1})
    output = agent.run_sync("Say something.").output
    assert type(output) is type(value)
    if demand == "grammar":
        assert output in ("yes", "no")
