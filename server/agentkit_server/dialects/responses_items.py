"""Items of a Responses conversation, read into the messages that conversations have: what an assistant
thought, said and called, one after the other, is one message."""

from __future__ import annotations

import base64
import binascii
import secrets
from collections.abc import Callable, Mapping, Sequence
from typing import Any, cast

import msgspec

from agentkit_server.dialects._calls import canonical_call
from agentkit_server.dialects._shared import shown
from agentkit_server.dialects.openai_messages import MEDIA_PARTS, PART_SEPARATOR, TEXT_PARTS
from agentkit_server.dialects.responses_tools import flat_name
from agentkit_server.errors import BadRequest, NotBuiltYet
from agentkit_server.responses.searching import LOST, search_call, search_result
from agentkit_server.search import Found
from agentkit_server.turn.custom import INPUT

Item = dict[str, Any]
Message = dict[str, Any]

ROLES = ("user", "assistant", "system", "developer")
PREFIXES = {
    "message": "msg",
    "reasoning": "rs",
    "function_call": "fc",
    "function_call_output": "fco",
    "custom_tool_call": "ctc",
    "custom_tool_call_output": "ctco",
    "web_search_call": "ws",
}
"""What the ids of items begin with; items of other types are refused."""
NOT_BUILT = frozenset(
    {
        "additional_tools",
        "apply_patch_call",
        "apply_patch_call_output",
        "code_interpreter_call",
        "compaction",
        "compaction_trigger",
        "computer_call",
        "computer_call_output",
        "configuration_update",
        "file_search_call",
        "image_generation_call",
        "local_shell_call",
        "local_shell_call_output",
        "mcp_approval_request",
        "mcp_approval_response",
        "mcp_call",
        "mcp_list_tools",
        "program",
        "program_output",
        "shell_call",
        "shell_call_output",
        "tool_search_call",
        "tool_search_output",
    }
)
_SEALED = "agentkit:"
"""Begins `encrypted_content`: base64 of the thoughts. Whoever holds it has been told them anyway."""


def new_id(kind: str) -> str:
    """An id for an item of type `kind`."""
    return f"{PREFIXES[kind]}_{secrets.token_hex(24)}"


def sealed(thoughts: str) -> str:
    """`encrypted_content` for thoughts, which `unsealed` reads."""
    return _SEALED + base64.b64encode(thoughts.encode()).decode()


def read_items(given: str | Sequence[Any] | None) -> list[Item]:
    """The items of `input`, each with a type and an id. References are left as they are.

    Raises BadRequest for what is no item, NotBuiltYet for items of tools that are not built.
    """
    if isinstance(given, str):
        given = [{"role": "user", "content": given}]
    return [_item(item, f"input[{at}]") for at, item in enumerate(given or ())]


def conversation(
    items: Sequence[Item], instructions: str | None = None, *, earlier: int = 0
) -> tuple[Message, ...]:
    """`items` as messages, behind `instructions` as the system's. The first `earlier` of them came with
    earlier requests.

    Raises BadRequest for an empty conversation and items that cannot be read, NotBuiltYet for images and
    files.
    """
    messages: list[Message] = []
    if instructions:
        messages.append({"role": "system", "content": instructions})
    for at, item in enumerate(items):
        _READERS[item["type"]](messages, item, f"input[{at - earlier}]")
    if not items or not messages:
        raise BadRequest("there is no input; send some, as a text or a list of items", param="input")
    return tuple(messages)


def _item(given: Any, where: str) -> Item:
    if not isinstance(given, dict):
        raise BadRequest(f"{where} is {shown(given)}; it must be an item, an object with a type", param=where)
    item = cast("Item", given)
    kind = item.get("type") or ("message" if "role" in item else "item_reference" if "id" in item else None)
    if isinstance(kind, str) and kind in NOT_BUILT:
        raise NotBuiltYet(
            f"{where} is of type {kind!r}, which is not built yet in this version; leave it out", param=where
        )
    if kind != "item_reference" and (not isinstance(kind, str) or kind not in PREFIXES):
        raise BadRequest(
            f"{where}.type is {shown(kind)}; it must be one of {', '.join(PREFIXES)}, item_reference",
            param=f"{where}.type",
        )
    id = item.get("id")
    if id is not None and not isinstance(id, str):
        raise BadRequest(f"{where}.id is {shown(id)}; it must be a text", param=f"{where}.id")
    if kind == "item_reference":
        return {"type": kind, "id": _text(item, "id", where)}
    item = {**item, "id": id or new_id(kind), "type": kind}
    if isinstance(item.get("content"), str) and kind == "message":
        # As stored items have it.
        part = "output_text" if item.get("role") == "assistant" else "input_text"
        item["content"] = [{"type": part, "text": item["content"]}]
    return item


def _message(messages: list[Message], item: Item, where: str) -> None:
    role = item.get("role")
    if role not in ROLES:
        raise BadRequest(
            f"{where}.role is {shown(role)}; it must be one of {', '.join(ROLES)}", param=f"{where}.role"
        )
    content = _content(item.get("content"), f"{where}.content", empty=role == "assistant")
    if role != "assistant":
        messages.append({"role": role, "content": content})
        return
    _assistant(messages, after=("content", "tool_calls"))["content"] = content


def _reasoning(messages: list[Message], item: Item, where: str) -> None:
    thoughts = _thoughts(item, where)
    if thoughts:
        said = _assistant(messages, after=("thinking", "content", "tool_calls"))
        said["thinking"] = thoughts


def _function_call(messages: list[Message], item: Item, where: str) -> None:
    _call(messages, item, item.get("arguments"), where)


def _custom_call(messages: list[Message], item: Item, where: str) -> None:
    text = item.get("input")
    if not isinstance(text, str):
        raise BadRequest(f"{where}.input is {shown(text)}; it must be a text", param=f"{where}.input")
    _call(messages, item, {INPUT: text}, where)


def _call(messages: list[Message], item: Item, arguments: Any, where: str) -> None:
    name, namespace = _text(item, "name", where), item.get("namespace")
    if namespace is not None and not isinstance(namespace, str):
        raise BadRequest(f"{where}.namespace is {shown(namespace)}; it must be a text", param=where)
    function = {"name": flat_name(name, namespace), "arguments": arguments}
    call = canonical_call(_text(item, "call_id", where), function, where)
    _assistant(messages).setdefault("tool_calls", []).append(call)


def _output(messages: list[Message], item: Item, where: str) -> None:
    content = _content(item.get("output"), f"{where}.output", empty=True)
    messages.append({"role": "tool", "tool_call_id": _text(item, "call_id", where), "content": content})


def _search(messages: list[Message], item: Item, where: str) -> None:
    """A search that a server did: a call and its result."""
    match item.get("action"):
        case {"type": "search", "query": str(query)}:
            pass
        case action:
            raise NotBuiltYet(
                f"{where}.action is {shown(action)}; only searches are built in this version",
                param=f"{where}.action",
            )
    _assistant(messages).setdefault("tool_calls", []).append(search_call(item["id"], query))
    messages.append(search_result(item["id"], _found(item, where), _not_found(item)))


def _found(item: Item, where: str) -> list[Found]:
    try:
        return msgspec.convert(item.get("results") or [], list[Found])
    except msgspec.ValidationError as error:
        raise BadRequest(
            f"{where}.results cannot be read: {error}; leave them out", param=f"{where}.results"
        ) from None


def _not_found(item: Item) -> str:
    """What the model reads in place of results."""
    failed = item.get("error")
    return failed if isinstance(failed, str) else LOST if "results" not in item else ""


_READERS: Mapping[str, Callable[[list[Message], Item, str], None]] = {
    "message": _message,
    "reasoning": _reasoning,
    "function_call": _function_call,
    "function_call_output": _output,
    "custom_tool_call": _custom_call,
    "custom_tool_call_output": _output,
    "web_search_call": _search,
}


def _assistant(messages: list[Message], after: Sequence[str] = ()) -> Message:
    """The assistant's message that is going on; a new one where it has one of the keys in `after`."""
    last = messages[-1] if messages else {}
    if last.get("role") != "assistant" or any(last.get(key) for key in after):
        messages.append({"role": "assistant", "content": ""})
    return messages[-1]


def _thoughts(item: Item, where: str) -> str:
    """The text of a reasoning item: its content, else what is sealed in it, else its summary."""
    for key, kind in (("content", "reasoning_text"), ("encrypted_content", ""), ("summary", "summary_text")):
        given = item.get(key)
        if not given:
            continue
        if key == "encrypted_content":
            return _unsealed(given, item, f"{where}.{key}")
        if not isinstance(given, list):
            raise BadRequest(f"{where}.{key} is {shown(given)}; it must be a list", param=f"{where}.{key}")
        parts = cast("list[Any]", given)
        return PART_SEPARATOR.join(
            _part(part, f"{where}.{key}[{at}]", {kind: "text"}) for at, part in enumerate(parts)
        )
    return ""


def _unsealed(given: Any, item: Item, where: str) -> str:
    if isinstance(given, str) and given.startswith(_SEALED):
        try:
            return base64.b64decode(given.removeprefix(_SEALED), validate=True).decode()
        except (binascii.Error, UnicodeDecodeError):
            pass
    if item.get("summary"):
        # Of another server: its summary is what can be read.
        return _thoughts({**item, "encrypted_content": None}, where.rpartition(".")[0])
    raise BadRequest(
        f"{where} is {shown(given)}, which was not made by this server; leave the item out", param=where
    )


def _content(given: Any, where: str, *, empty: bool = False) -> str:
    if isinstance(given, str):
        return given
    if not isinstance(given, list) or not (given or empty):
        raise BadRequest(f"{where} is {shown(given)}; it must be a text or a list of parts", param=where)
    parts = cast("list[Any]", given)
    return PART_SEPARATOR.join(_part(part, f"{where}[{at}]", TEXT_PARTS) for at, part in enumerate(parts))


def _part(part: Any, where: str, kinds: Mapping[str, str]) -> str:
    fields = cast("dict[str, Any]", part) if isinstance(part, dict) else {}
    kind = str(fields.get("type"))
    if kind in MEDIA_PARTS or kind == "computer_screenshot":
        raise NotBuiltYet(f"{where} is of type {kind!r}, which is not built yet in this version", param=where)
    text = fields.get(kinds.get(kind, ""))
    if not isinstance(text, str):
        wanted = next(iter(kinds))
        raise BadRequest(
            f"{where} is {shown(part)}; it must be like {{'type': {wanted!r}, 'text': '...'}}", param=where
        )
    return text


def _text(item: Item, name: str, where: str) -> str:
    value = item.get(name)
    if not isinstance(value, str) or not value:
        raise BadRequest(f"{where}.{name} is {shown(value)}; it must be a text", param=f"{where}.{name}")
    return value
