"""What a model reads of the result of an MCP tool: text. No binary, and no more than it may have."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

from agentkit._errors import ToolError
from agentkit._result import result_text

if TYPE_CHECKING:
    from mcp.types import BlobResourceContents, CallToolResult, ContentBlock, TextResourceContents

_LONGEST_LABEL = 200


def value_of(result: CallToolResult, most: int) -> Any:
    """The structured content where the text says nothing else, otherwise the text, at most `most` characters.

    Raises ToolError, with the text, for a result that is an error.
    """
    text = "\n".join(block.text for block in result.content if block.type == "text")
    shown = "\n".join(_shown(block) for block in result.content)
    structured = result.structured_content
    if result.is_error:
        raise ToolError(cut(shown, most) or "the tool failed and did not say why")
    if structured is None or (text and not _says(text, structured)):
        return cut(shown, most)
    notes = [_shown(block) for block in result.content if block.type != "text"]
    whole = result_text(structured)
    return structured if not notes and len(whole) <= most else cut("\n".join([whole, *notes]), most)


def cut(text: str, most: int) -> str:
    """`text`, and a note in place of what is beyond `most` characters."""
    if len(text) <= most:
        return text
    return f"{text[:most]}\n[cut: these are the first {most} of {len(text)} characters]"


def _says(text: str, structured: Any) -> bool:
    try:
        return json.loads(text) == structured
    except (ValueError, RecursionError):
        return False


def _shown(block: ContentBlock) -> str:
    if block.type == "text":
        return block.text
    if block.type == "resource":
        return _resource(block.resource)
    if block.type == "resource_link":
        return f"[resource {_label(block.name)}: {_label(block.uri)}]"
    return f"[{block.type}, {_label(block.mime_type)}, {_size(block.data)}: not shown]"


def _resource(resource: TextResourceContents | BlobResourceContents) -> str:
    text = getattr(resource, "text", None)
    if isinstance(text, str):
        return f"[resource {_label(resource.uri)}]\n{text}"
    blob = getattr(resource, "blob", "")
    return f"[resource {_label(resource.uri)}, {_label(resource.mime_type)}, {_size(blob)}: not shown]"


def _label(text: str | None) -> str:
    return (text or "of no type")[:_LONGEST_LABEL]


def _size(base64: str) -> str:
    return f"{len(base64.rstrip('=')) * 3 // 4} bytes"
