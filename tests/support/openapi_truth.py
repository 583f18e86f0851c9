"""Holds what a server answers against its own /openapi.json."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from typing import Any

from jsonschema import Draft202012Validator

SSE, NDJSON = "text/event-stream", "application/x-ndjson"


class Truth:
    """Says what about an answer the document does not say."""

    def __init__(self, document: dict[str, Any]) -> None:
        self.document = document
        # Plain paths first, as they are routed, then long ones: a parameter may take slashes.
        paths = sorted(document["paths"], key=lambda path: ("{" in path, -len(path)))
        self._paths = {path: re.compile(re.sub(r"{(\w+)}", self._any, path)) for path in paths}
        self._validators: dict[str, Draft202012Validator] = {}

    def _any(self, parameter: re.Match[str]) -> str:
        """What a parameter of a path may be: anything, slashes too, unless it has a pattern."""
        operations = self.document["paths"][parameter.string].values()
        named = (each for operation in operations for each in operation.get("parameters", ()))
        schema = next(each["schema"] for each in named if each["name"] == parameter[1])
        return "[^/]+" if "pattern" in schema else ".*"

    def operation(self, method: str, path: str) -> dict[str, Any] | None:
        """What the document says of a request to `path`; None when it is no operation."""
        found = next((known for known, pattern in self._paths.items() if pattern.fullmatch(path)), None)
        return None if found is None else self.document["paths"][found].get(method.lower())

    def lies(self, method: str, path: str, status: int, media: str, body: bytes) -> list[str]:
        """What of an answer is not as the document says; [] for a path or method that it has not."""
        operation = self.operation(method, path)
        if operation is None:
            return []
        response = operation["responses"].get(str(status))
        if response is None:
            return [f"{method} {path} answers {status}: {body[:300]!r}"]
        media = media.partition(";")[0]
        content = response.get("content", {})
        if not body and (not content or method == "HEAD"):
            return []
        if media not in content:
            return [f"{method} {path} answers {status} with {media!r}"]
        schema = content[media]["schema"]
        return [
            f"{method} {path}: {lie}"
            for item in items(media, body)
            for lie in self._errors(schema, media, item)
        ]

    def _errors(self, schema: dict[str, Any], media: str, item: Any) -> Iterator[str]:
        if media == SSE:
            data = schema["properties"]["data"]
            schema = next(
                each["contentSchema"] for each in data.get("anyOf", [data]) if "contentSchema" in each
            )
        for error in self._validator(schema).iter_errors(item):
            deepest = min(error.context, key=lambda inner: len(inner.context), default=error)
            yield f"{deepest.message} at {list(deepest.absolute_path)} of {item!r}"

    def _validator(self, schema: dict[str, Any]) -> Draft202012Validator:
        key = json.dumps(schema)
        if key not in self._validators:
            whole = {**schema, "components": self.document["components"]}
            self._validators[key] = Draft202012Validator(whole)
        return self._validators[key]


def items(media: str, body: bytes) -> list[Any]:
    """The JSON values that `body` holds: one, one a line, or one an event."""
    text = body.decode()
    if media == NDJSON:
        return [json.loads(line) for line in text.split("\n") if line]
    if media == SSE:
        data = re.findall("^data: (.*)$", text, re.MULTILINE)
        return [json.loads(each) for each in data if each != "[DONE]"]
    return [text] if media == "text/plain" else [json.loads(text)]
