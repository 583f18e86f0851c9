"""Prints docs/reference/http.md: a preface, then every route of the server's /openapi.json.

python scripts/http_reference.py > docs/reference/http.md
"""

from __future__ import annotations

import json
import re
import sys
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from agentkit_server.app import create_app
from agentkit_server.models.store import Store
from agentkit_server.openapi import document
from agentkit_server.runner.scripted import ScriptedLauncher
from agentkit_server.settings import Settings

PREFACE = Path(__file__).with_suffix(".md")
EVERYWHERE = ("403", "500")
"""Statuses that the preface names for all routes."""
_CODE = re.compile(r"^- `(\w+)`: (.*)$", re.MULTILINE)
BOUNDS = {
    "minimum": "from {}",
    "exclusiveMinimum": "above {}",
    "maximum": "to {}",
    "minLength": "at least {} characters",
    "maxLength": "at most {} characters",
    "minItems": "at least {}",
    "maxItems": "at most {}",
}

Schema = dict[str, Any]


def reference() -> str:
    """The whole page."""
    with tempfile.TemporaryDirectory() as folder:
        settings = Settings.model_validate({"host": "127.0.0.1:0", "models": folder})
        said = document(create_app(settings, ScriptedLauncher(), Store(Path(folder))), keyed=True)
    schemas = said["components"]["schemas"]
    bodies = {
        content["schema"]["$ref"].rpartition("/")[2]
        for _, _, operation in _operations(said)
        for content in operation.get("requestBody", {}).get("content", {}).values()
        if "$ref" in content["schema"]
    }
    parts = [PREFACE.read_text(encoding="utf-8")]
    for tag in dict.fromkeys(tag for _, _, operation in _operations(said) for tag in operation["tags"]):
        parts.append(f"## {tag}\n")
        parts += [_route(*each, schemas) for each in _operations(said) if tag in each[2]["tags"]]
    shapes = [f"- {_shape(name, schemas[name])}" for name in schemas if name not in bodies]
    return "\n".join([*parts, *_errors(said), "## Shapes\n", *shapes, ""])


def _operations(said: Schema) -> Iterator[tuple[str, str, Schema]]:
    for path, methods in said["paths"].items():
        for method, operation in methods.items():
            yield method.upper(), path, operation


def _route(method: str, path: str, operation: Schema, schemas: dict[str, Schema]) -> str:
    lines = [f"### {method} {path}\n", operation.get("description") or f"{operation['summary']}.", ""]
    for media, content in operation.get("requestBody", {}).get("content", {}).items():
        lines += _body(media, content, schemas)
    lines += _parameters(operation.get("parameters", ()))
    for status, answer in operation["responses"].items():
        if status in EVERYWHERE:
            continue
        if codes := _CODE.findall(answer["description"]):
            lines.append(f"- {status}: {', '.join(f'`{code}`' for code, _ in codes)}")
        else:
            lines.append(f"- {status} {_contents(answer)} {answer['description']}".replace("  ", " "))
    return "\n".join([*lines, ""])


def _parameters(parameters: Sequence[Schema]) -> list[str]:
    if not parameters:
        return []
    named = [each for each in parameters if each["in"] != "header"]
    lines = [
        f"- `{each['name']}` ({each['in']}): {_type(each['schema'])}. {each.get('description', '')}".rstrip()
        for each in named
    ]
    headers = ", ".join(f"`{each['name']}`" for each in parameters if each["in"] == "header")
    return [*lines, *([f"- headers: {headers}"] if headers else [])]


def _errors(said: Schema) -> list[str]:
    """A line for each code of an error, by status."""
    found = {
        (status, code): what
        for _, _, operation in _operations(said)
        for status, answer in operation["responses"].items()
        for code, what in _CODE.findall(answer["description"])
    }
    lines = [f"| {status} | `{code}` | {_cell(found[status, code])} |" for status, code in sorted(found)]
    return ["## Errors\n", "| Status | Code | |", "|---|---|---|", *lines, ""]


def _body(media: str, content: Schema, schemas: dict[str, Schema]) -> list[str]:
    if "$ref" not in content["schema"]:
        return [f"Body: `{media}`.", ""]
    schema = schemas[content["schema"]["$ref"].rpartition("/")[2]]
    required = set(schema.get("required", ()))
    lines = ["| Field | Type | Default |", "|---|---|---|"]
    for name, field in sorted(schema["properties"].items(), key=lambda each: each[0] not in required):
        shown = f"**`{name}`**" if name in required else f"`{name}`"
        default = f"`{json.dumps(field['default'])}`" if "default" in field else ""
        lines.append(f"| {shown} | {_type(field, described=True)} | {default} |")
    for group in schema.get("allOf", ()):
        names = [f"`{each['required'][0]}`" for each in group["anyOf"]]
        lines += ["", f"Required: {' or '.join(names)}."]
    others = schema.get("additionalProperties", True)
    lines += ["", f"Other fields are {'ignored' if others else 'refused'}.", ""]
    example = json.dumps(next(iter(content["examples"].values()))["value"], indent=2, ensure_ascii=False)
    return [*lines, f"```json\n{example}\n```", ""]


def _contents(answer: Schema) -> str:
    shown = (f"`{media}`, {_type(each['schema'])}" for media, each in answer.get("content", {}).items())
    told = "; ".join(shown)
    return f"({told}):" if told else ":"


def _shape(name: str, schema: Schema) -> str:
    required = schema.get("required", ())
    fields = (
        f"{f'**`{field}`**' if field in required else f'`{field}`'} {_type(of)}"
        for field, of in schema.get("properties", {}).items()
    )
    return f"**{name}**: {', '.join(fields) or 'no fields'}"


def _type(schema: Schema, *, described: bool = False) -> str:
    """`schema` in a few words; null goes without saying."""
    words = _words(schema)
    said = schema.get("description", "") if described else ""
    return _cell(f"{words}. {said}" if words != "anything" and said else said or words)


def _words(schema: Schema) -> str:
    match schema:
        case {"$ref": ref}:
            return ref.rpartition("/")[2]
        case {"const": value}:
            return f"`{value}`"
        case {"enum": values}:
            return " or ".join(
                f"`{value if isinstance(value, str) else json.dumps(value)}`" for value in values
            )
        case {"anyOf": options}:
            words = (_words(option) for option in options if option != {"type": "null"})
            return " or ".join(dict.fromkeys(words))
        case {"contentSchema": inner}:
            return f"JSON of {_words(inner)}"
        case {"type": "array"}:
            return _bounded(f"list of {_words(schema.get('items', {}))}", schema)
        case {"type": "object", "properties": {"data": data}, "description": "One event."}:
            return f"events, whose data is {_words(data)}"
        case {"type": "object"}:
            return "object"
        case {"type": list()}:
            return " or ".join(each for each in schema["type"] if each != "null")
        case {"type": type_}:
            return _bounded(type_, schema)
        case _:
            return "anything"


def _bounded(words: str, schema: Schema) -> str:
    bounds = " ".join(text.format(schema[key]) for key, text in BOUNDS.items() if schema.get(key))
    return f"{words}, {bounds}" if bounds else words


def _cell(text: str) -> str:
    return text.replace("|", "\\|").replace("\n", " ")


if __name__ == "__main__":
    sys.stdout.write(reference())
