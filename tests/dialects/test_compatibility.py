"""docs/reference/compatibility.md says what the server does with every parameter of every dialect."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from tests.compatibility.endpoints import ENDPOINTS, PAGE, Server, asked, written

TITLES = list(ENDPOINTS)


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Server:
    return asyncio.run(asked(tmp_path_factory.mktemp("models")))


@pytest.mark.parametrize("title", TITLES)
def test_every_parameter_that_the_sdk_has_is_probed(title: str) -> None:
    endpoint = ENDPOINTS[title]
    assert endpoint.names - set(endpoint.probes) == set(), "add a probe to tests/compatibility"


@pytest.mark.parametrize("title", TITLES)
def test_what_is_without_effect_says_why_and_what_is_not_says_nothing(title: str, server: Server) -> None:
    endpoint, found = ENDPOINTS[title], server.found[title]
    idle = {name for name, rows in found.items() if any(row.verdict == "without effect" for row in rows)}
    assert idle - set(endpoint.why) == set(), "say why in the endpoint's `why`"
    honoured = {name for name, rows in found.items() if all(row.verdict == "honoured" for row in rows)}
    assert set(endpoint.why) & honoured == set(), "these do have an effect"


@pytest.mark.parametrize("title", TITLES)
def test_the_document_has_the_parameters_that_are_accepted(title: str, server: Server) -> None:
    endpoint, found = ENDPOINTS[title], server.found[title]
    operation = server.document["paths"][endpoint.path][endpoint.method.lower()]
    if "requestBody" not in operation:
        assert all(row.verdict == "refused" for rows in found.values() for row in rows)
        return
    schema = _resolved(server.document, operation["requestBody"]["content"]["application/json"]["schema"])
    if endpoint.within:
        schema = schema["properties"][endpoint.within]["anyOf"][0]
    headers = set(endpoint.in_headers)
    accepted = {name for name, rows in found.items() if any(row.verdict != "refused" for row in rows)}
    documented, accepted = set(schema["properties"]) - headers, accepted - headers
    if schema.get("additionalProperties", True) is False:
        assert documented == accepted
    else:
        # What nobody knows is accepted too.
        assert documented <= set(endpoint.probes)


def test_the_page_is_what_the_server_does(server: Server) -> None:
    assert PAGE.read_text(encoding="utf-8") == written(server), "run `just reference`"


def _resolved(document: dict[str, Any], schema: dict[str, Any]) -> dict[str, Any]:
    return document["components"]["schemas"][schema["$ref"].rpartition("/")[2]]
