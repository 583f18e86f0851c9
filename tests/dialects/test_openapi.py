"""/openapi.json says the truth: of every route, and nothing else than what the server does."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
from fastapi import FastAPI
from jsonschema import Draft202012Validator
from support.described_server import described_app
from support.openapi_truth import Truth

from agentkit_server.openapi import routes_of

pytestmark = pytest.mark.anyio

ROOT = Path(__file__).parents[2]
KEY = "sk-local-0123456789"


@pytest.fixture(scope="module")
def described(tmp_path_factory: pytest.TempPathFactory) -> FastAPI:
    return described_app(tmp_path_factory.mktemp("models"))


@pytest.fixture
async def client(tmp_path: Path) -> AsyncIterator[httpx.AsyncClient]:
    app = described_app(tmp_path)
    async with (
        app.router.lifespan_context(app),
        httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://127.0.0.1") as client,
    ):
        yield client


@pytest.fixture
async def document(client: httpx.AsyncClient) -> dict[str, Any]:
    return (await client.get("/openapi.json")).json()


def operations(document: dict[str, Any]) -> Iterator[tuple[str, str, dict[str, Any]]]:
    for path, methods in document["paths"].items():
        for method, operation in methods.items():
            yield method.upper(), path, operation


def test_every_route_is_described(described: FastAPI) -> None:
    silent = [f"{route.method} {route.path}" for route in routes_of(described) if route.description is None]
    assert silent == [], "put @described(...) of dialects/_described.py on these"


async def test_every_route_is_in_the_document_under_its_own_name(
    described: FastAPI, document: dict[str, Any]
) -> None:
    routes = {(route.method, route.path) for route in routes_of(described)}
    assert {(method, path) for method, path, _ in operations(document)} == routes
    names = [operation["operationId"] for *_, operation in operations(document)]
    assert len(names) == len(set(names))
    assert all(operation["summary"] for *_, operation in operations(document))


async def test_every_schema_is_one(document: dict[str, Any]) -> None:
    for schema in document["components"]["schemas"].values():
        Draft202012Validator.check_schema(schema)


async def test_every_body_of_json_has_an_example_that_is_valid_for_its_schema(
    document: dict[str, Any],
) -> None:
    for method, path, operation in operations(document):
        content = operation.get("requestBody", {}).get("content", {}).get("application/json")
        if content is None:
            continue
        schema = {**content["schema"], "components": document["components"]}
        assert content["examples"], f"{method} {path} has no example"
        for name, example in content["examples"].items():
            errors = [error.message for error in Draft202012Validator(schema).iter_errors(example["value"])]
            assert errors == [], f"{method} {path}, {name}"


async def test_every_example_is_answered_as_the_document_says(
    client: httpx.AsyncClient, document: dict[str, Any]
) -> None:
    truth = Truth(document)
    # What deletes goes last.
    for method, path, operation in sorted(operations(document), key=lambda each: each[0] == "DELETE"):
        examples = operation.get("requestBody", {}).get("content", {}).get("application/json", {})
        for parameter in operation.get("parameters", ()):
            if parameter["in"] == "path":
                path = path.replace(f"{{{parameter['name']}}}", parameter["example"])
        for example in [each["value"] for each in examples.get("examples", {}).values()] or [None]:
            answer = await client.request(method, path, json=example)
            media = answer.headers.get("content-type", "")
            assert truth.lies(method, path, answer.status_code, media, answer.content) == []
            if example is not None:
                assert answer.status_code == 200, (method, path, example, answer.text)


async def test_a_wrong_method_is_told_all_that_the_path_has(client: httpx.AsyncClient) -> None:
    for path, allowed in (("/api/blobs/sha256:0", "HEAD, POST"), ("/v1/models", "GET"), ("/", "GET, HEAD")):
        answer = await client.request("PATCH", path)
        assert (answer.status_code, answer.headers["allow"]) == (405, allowed)


def test_the_page_of_routes_is_what_the_document_says() -> None:
    script = str(ROOT / "scripts" / "http_reference.py")
    said = subprocess.run([sys.executable, script], capture_output=True, text=True, check=True).stdout
    page = (ROOT / "docs" / "reference" / "http.md").read_text(encoding="utf-8")
    assert said == page, "run `just reference`"


async def test_a_key_is_in_the_document_only_where_one_is_asked_for(
    tmp_path: Path, document: dict[str, Any]
) -> None:
    app = described_app(tmp_path / "keyed", KEY)
    transport = httpx.ASGITransport(app)
    async with httpx.AsyncClient(transport=transport, base_url="http://127.0.0.1") as client:
        assert (await client.get("/openapi.json")).status_code == 401
        answer = await client.get("/openapi.json", headers={"authorization": f"Bearer {KEY}"})
    keyed = answer.json()
    assert "security" not in document
    assert all("401" not in operation["responses"] for *_, operation in operations(document))
    assert keyed["security"] == [{"bearer": []}, {"key": []}]
    open_ones = [path for _, path, operation in operations(keyed) if "401" not in operation["responses"]]
    assert set(open_ones) == {"/"}
