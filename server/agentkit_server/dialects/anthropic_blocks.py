"""Content blocks that the Anthropic dialect reads, and the text that a model sees of them. What this version
lacks is refused by its place."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, Literal, cast

import msgspec

from agentkit_server.dialects.anthropic_thinking import Effort
from agentkit_server.errors import BadRequest, NotBuiltYet

NOT_BUILT = frozenset(
    {
        "advisor_tool_result",
        "bash_code_execution_tool_result",
        "browser_state",
        "code_execution_tool_result",
        "compaction",
        "container_upload",
        "image",
        "mcp_tool_listing",
        "mcp_tool_result",
        "mcp_tool_use",
        "server_tool_use",
        "text_editor_code_execution_tool_result",
        "tool_addition",
        "tool_removal",
        "tool_search_tool_result",
        "web_fetch_tool_result",
        "web_search_tool_result",
    }
)
"""Types of blocks that are refused with 501: images, and what belongs to tools of Anthropic's servers."""
SEPARATOR = "\n"
"""Between the blocks of one message."""
Reference = Callable[[str, str], str]
"""From the name of a tool and the place that names it to the text that makes the tool known."""


class MessageConfig(msgspec.Struct, kw_only=True, forbid_unknown_fields=True):
    effort: Effort | None = None


class Block(msgspec.Struct, kw_only=True, forbid_unknown_fields=True, tag_field="type"):
    cache_control: dict[str, Any] | None = None
    """Accepted: every prompt is cached as far as it can be."""


class Citations(msgspec.Struct, kw_only=True, forbid_unknown_fields=True):
    enabled: bool = False

    def __post_init__(self) -> None:
        if self.enabled:
            raise ValueError("citations are not built yet in this version; turn them off")


class Text(Block, tag="text"):
    text: str
    citations: list[Any] | None = None
    """Of an earlier answer; not part of the prompt."""


class PlainSource(msgspec.Struct, kw_only=True, forbid_unknown_fields=True, tag="text", tag_field="type"):
    data: str
    media_type: str | None = None


class ContentSource(
    msgspec.Struct, kw_only=True, forbid_unknown_fields=True, tag="content", tag_field="type"
):
    content: str | list[Text]


class Document(Block, tag="document"):
    source: PlainSource | ContentSource
    title: str | None = None
    context: str | None = None
    citations: Citations | None = None


class SearchResult(Block, tag="search_result"):
    source: str
    title: str
    content: list[Text]
    citations: Citations | None = None


class ToolReference(Block, tag="tool_reference"):
    tool_name: str


class ToolUse(Block, tag="tool_use"):
    id: str
    name: str
    input: dict[str, Any]
    caller: dict[str, Any] | None = None
    """Accepted: who calls is always the model."""
    toolset_name: str | None = None


class ToolResult(Block, tag="tool_result"):
    tool_use_id: str
    content: str | list[Text | Document | SearchResult | ToolReference] | None = None
    is_error: bool | None = None
    toolset_name: str | None = None


class Thought(Block, tag="thinking"):
    thinking: str
    signature: str | None = None


class RedactedThought(Block, tag="redacted_thinking"):
    """Accepted: nobody but the server that wrote it can read it."""

    data: str


class Fallback(Block, tag="fallback", forbid_unknown_fields=False):
    """Accepted: where another server went over to another model; not part of the prompt."""


AnyBlock = (
    Text
    | Document
    | SearchResult
    | ToolReference
    | ToolUse
    | ToolResult
    | Thought
    | RedactedThought
    | Fallback
)


class Message(msgspec.Struct, kw_only=True, forbid_unknown_fields=True):
    role: Literal["user", "assistant", "system"]
    content: str | list[AnyBlock]
    clear_at: Literal["next_user_message", "never"] | None = None
    """Of a system message: whether it is shown once there is a later message of the user."""
    output_config: MessageConfig | None = None
    """Of a system message: what holds from there on."""


def text_of(block: Text | Document | SearchResult | ToolReference, where: str, refer: Reference) -> str:
    """What the model reads of `block`."""
    match block:
        case Text(text=text):
            return text
        case Document():
            about = {"title": block.title, "context": block.context}
            return _tagged("document", about, _source_text(block.source))
        case SearchResult():
            texts = SEPARATOR.join(each.text for each in block.content)
            return _tagged("search_result", {"title": block.title, "source": block.source}, texts)
        case ToolReference():
            return refer(block.tool_name, where)


def result_text(result: ToolResult, where: str, refer: Reference) -> str:
    """What the model reads of a result."""
    blocks = result.content or ""
    if not isinstance(blocks, str):
        texts = (text_of(block, f"{where}.content[{at}]", refer) for at, block in enumerate(blocks))
        blocks = SEPARATOR.join(texts)
    return f"Error: {blocks}" if result.is_error else blocks


def refuse_unbuilt(messages: Any) -> None:
    """Raises NotBuiltYet for the first block in `messages`, as they came, that this version cannot read."""
    for block, where in _raw_blocks(messages):
        kind = block.get("type")
        if isinstance(kind, str) and kind in NOT_BUILT:
            raise NotBuiltYet(
                f"{where} is of type {kind!r}, which is not built yet in this version", param=where
            )
        held = _dict(block.get("source")).get("type")
        if kind == "document" and held in ("base64", "url", "file"):
            raise NotBuiltYet(
                f"{where}.source is of type {held!r}, which is not built yet in this version; send the text "
                f"of the document, as {{'type': 'text', 'media_type': 'text/plain', 'data': '...'}}",
                param=f"{where}.source",
            )


def misplaced(block: AnyBlock, role: str, where: str) -> BadRequest:
    """The error for a block that has no place in a message of `role`."""
    kind = type(block).__struct_config__.tag
    return BadRequest(
        f"{where} is of type {kind!r}, which a message of role {role!r} cannot hold", param=where
    )


def _raw_blocks(messages: Any) -> Iterator[tuple[dict[str, Any], str]]:
    """The blocks of `messages` and those within results and documents, each with its place."""
    for at, message in enumerate(_dicts(messages)):
        for number, block in enumerate(_dicts(message.get("content"))):
            where = f"messages[{at}].content[{number}]"
            yield block, where
            for name, holder in (("content", block), ("source.content", _dict(block.get("source")))):
                for inner, part in enumerate(_dicts(holder.get("content"))):
                    yield part, f"{where}.{name}[{inner}]"


def _dicts(value: Any) -> Sequence[dict[str, Any]]:
    """The entries of `value` if it is a list; in the place of what is no object, an empty one."""
    if not isinstance(value, list):
        return ()
    return [_dict(one) for one in cast("list[Any]", value)]


def _dict(value: Any) -> dict[str, Any]:
    return cast("dict[str, Any]", value) if isinstance(value, dict) else {}


def _source_text(source: PlainSource | ContentSource) -> str:
    if isinstance(source, PlainSource):
        return source.data
    if isinstance(source.content, str):
        return source.content
    return SEPARATOR.join(block.text for block in source.content)


def _tagged(tag: str, about: Mapping[str, str | None], text: str) -> str:
    attributes = "".join(
        f" {name}={json.dumps(said, ensure_ascii=False)}" for name, said in about.items() if said
    )
    return f"<{tag}{attributes}>\n{text}\n</{tag}>"
