"""Demands on the form of an answer: OpenAI's, vLLM's and SGLang's fields, on both completion routes."""

from __future__ import annotations

import json
from typing import Any

import httpx
import pytest

from agentkit_server.turn.types import ResponseFormat

from .conftest import Turns

pytestmark = pytest.mark.anyio

SCHEMA: dict[str, Any] = {"type": "object", "properties": {"b": {}, "a": {}}}
OF_SCHEMA = ResponseFormat(kind="json_schema", value=SCHEMA)
OBJECT = ResponseFormat(kind="json_object")
REGEX = ResponseFormat(kind="regex", value="[ab]+")
CHOICE = ResponseFormat(kind="choice", value=["yes", "no"])
GRAMMAR = ResponseFormat(kind="grammar", value='root ::= "a"')
ROUTES = {
    "/v1/chat/completions": {"messages": [{"role": "user", "content": "hi"}]},
    "/v1/completions": {"prompt": "hi"},
}


def strict(schema: Any, **more: Any) -> dict[str, Any]:
    return {
        "response_format": {"type": "json_schema", "json_schema": {"name": "x", "schema": schema, **more}}
    }


async def ask(http: httpx.AsyncClient, path: str, **fields: Any) -> httpx.Response:
    return await http.post(path, json={"model": "tiny", **ROUTES[path], **fields})


@pytest.mark.parametrize("path", ROUTES)
@pytest.mark.parametrize(
    ("fields", "wanted"),
    [
        ({}, None),
        ({"response_format": {"type": "text"}}, None),
        ({"response_format": {"type": "json_object"}}, OBJECT),
        ({"response_format": {"type": "json_object", "schema": SCHEMA}}, OF_SCHEMA),
        (strict(SCHEMA), OF_SCHEMA),
        (strict(SCHEMA, strict=True, description="What it is."), OF_SCHEMA),
        (strict(SCHEMA, strict=None, description=None), OF_SCHEMA),
        (strict(False), ResponseFormat(kind="json_schema", value=False)),
        ({"structured_outputs": {"json": SCHEMA}}, OF_SCHEMA),
        ({"structured_outputs": {"json": json.dumps(SCHEMA), "disable_fallback": True}}, OF_SCHEMA),
        ({"structured_outputs": {"regex": "[ab]+"}}, REGEX),
        ({"structured_outputs": {"choice": ["yes", "no"]}}, CHOICE),
        ({"structured_outputs": {"grammar": 'root ::= "a"'}}, GRAMMAR),
        ({"structured_outputs": {"json_object": True, "regex": None}}, OBJECT),
        (
            {"structured_outputs": {"json": SCHEMA, "whitespace_pattern": "[ ]?"}},
            ResponseFormat(kind="json_schema", value=SCHEMA, whitespace_pattern="[ ]?"),
        ),
        (
            {"structured_outputs": {"json_object": True, "disable_any_whitespace": True}},
            ResponseFormat(kind="json_object", compact=True),
        ),
        ({"guided_json": SCHEMA, "guided_decoding_backend": "outlines"}, OF_SCHEMA),
        ({"guided_json": json.dumps(SCHEMA)}, OF_SCHEMA),
        ({"guided_regex": "[ab]+"}, REGEX),
        ({"guided_choice": ["yes", "no"]}, CHOICE),
        ({"guided_grammar": 'root ::= "a"'}, GRAMMAR),
        (
            {"guided_json": SCHEMA, "guided_whitespace_pattern": " "},
            ResponseFormat(kind="json_schema", value=SCHEMA, whitespace_pattern=" "),
        ),
        ({"regex": "[ab]+"}, REGEX),
        ({"ebnf": 'root ::= "a"'}, GRAMMAR),
        ({**strict(SCHEMA), "compact": True}, ResponseFormat(kind="json_schema", value=SCHEMA, compact=True)),
    ],
)
async def test_every_way_to_demand_a_form_is_understood(
    http: httpx.AsyncClient,
    turns: Turns,
    path: str,
    fields: dict[str, Any],
    wanted: ResponseFormat | None,
) -> None:
    answer = await ask(http, path, **fields)
    assert answer.status_code == 200, answer.text
    [turn] = turns.asked
    assert turn.response_format == wanted
    if wanted == OF_SCHEMA:
        assert list(turn.response_format.value["properties"]) == ["b", "a"]  # pyright: ignore


@pytest.mark.parametrize("path", ROUTES)
@pytest.mark.parametrize(
    ("fields", "status", "param"),
    [
        ({"response_format": "json"}, 400, "response_format"),
        ({"response_format": {}}, 400, "response_format"),
        ({"response_format": {"type": "yaml"}}, 400, "response_format.type"),
        ({"response_format": {"type": "text", "schema": {}}}, 400, "response_format"),
        ({"response_format": {"type": "json_schema"}}, 400, "response_format"),
        (
            {"response_format": {"type": "json_schema", "json_schema": {"name": "x"}}},
            400,
            "response_format.json_schema",
        ),
        (strict("{}"), 400, "response_format.json_schema.schema"),
        (strict({}, stict=True), 400, "response_format.json_schema"),
        ({"structured_outputs": {}}, 400, "structured_outputs"),
        ({"structured_outputs": {"whitespace_pattern": " "}}, 400, "structured_outputs"),
        ({"structured_outputs": {"regexp": "a"}}, 400, "structured_outputs"),
        ({"structured_outputs": {"choice": []}}, 400, "structured_outputs.choice"),
        ({"structured_outputs": {"json": "{"}}, 400, "structured_outputs.json"),
        ({"structured_outputs": {"json": "[" * 20_000}}, 400, "structured_outputs.json"),
        ({"structured_outputs": {"json": '"a"'}}, 400, "structured_outputs.json"),
        ({"structured_outputs": {"structural_tag": "{}"}}, 501, "structured_outputs.structural_tag"),
        (
            {"structured_outputs": {"json": {}, "disable_additional_properties": True}},
            501,
            "structured_outputs.disable_additional_properties",
        ),
        ({"structural_tag": {}}, 501, "structural_tag"),
        ({"guided_json": 7}, 400, "guided_json"),
        ({"regex": 7}, 400, "regex"),
        # Two demands at once.
        ({**strict(SCHEMA), "regex": "a"}, 400, "regex"),
        ({"regex": "a", "ebnf": "b"}, 400, "ebnf"),
        ({"structured_outputs": {"json": {}, "regex": "a"}}, 400, "structured_outputs.regex"),
        ({"structured_outputs": {"json": {}, "json_object": True}}, 400, "structured_outputs.json_object"),
        ({"structured_outputs": {"json": {}}, "guided_json": {}}, 400, "guided_json"),
        (
            {"structured_outputs": {"json": {}, "whitespace_pattern": " "}, "guided_whitespace_pattern": ""},
            400,
            "guided_whitespace_pattern",
        ),
        ({"structured_outputs": {"json": {}, "whitespace_pattern": " "}, "compact": True}, 400, "compact"),
    ],
)
async def test_a_form_that_cannot_be_read_is_refused_by_its_place(
    http: httpx.AsyncClient,
    turns: Turns,
    path: str,
    fields: dict[str, Any],
    status: int,
    param: str,
) -> None:
    answer = await ask(http, path, **fields)
    assert (answer.status_code, answer.json()["error"]["param"]) == (status, param)
    assert turns.asked == []
