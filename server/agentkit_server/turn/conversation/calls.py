"""Earlier tool calls and their results: told apart by ids, put in order, and written in the form that a
template wants, or as plain text for one that knows no calls."""

from __future__ import annotations

import hashlib
import json
import re
import string
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, cast

from agentkit_server.errors import BadRequest
from agentkit_server.turn.conversation.traits import CallForm

Message = dict[str, Any]
WriteCalls = Callable[[Sequence[Message]], str]
"""From calls in canonical form, at least one, to the text that the model would have written."""

_LETTERS = string.digits + string.ascii_letters
_SHORT = re.compile(r"[A-Za-z0-9]{9}")


def calls_of(message: Mapping[str, Any]) -> list[Message]:
    """The calls of an assistant message."""
    return list(cast("Sequence[Message]", message.get("tool_calls") or ()))


def linked(messages: Iterable[Mapping[str, Any]]) -> list[Message]:
    """`messages` in which every call has an id, every result names its call by id and name, and results
    stand in the order of their calls. A result without an id belongs to the first unanswered call of its
    name, or to the first of all."""
    done: list[Message] = []
    waiting: list[Message] = []
    asked: list[str] = []
    count = 0
    for given in messages:
        message = dict(given)
        if message.get("role") == "tool":
            done.append(_result(message, waiting))
            continue
        _in_order(done, asked)
        if message.get("role") == "assistant":
            waiting = []
            for call in calls_of(message):
                count += 1
                waiting.append({**call, "id": call.get("id") or f"call_{count}"})
            asked = [call["id"] for call in waiting]
            message = _with_calls(message, waiting)
            waiting = list(waiting)
        done.append(message)
    _in_order(done, asked)
    return done


def one_call_each(messages: Sequence[Message]) -> list[Message]:
    """`messages` with parallel calls written one after the other, each followed by its results."""
    done: list[Message] = []
    at = 0
    while at < len(messages):
        message = messages[at]
        at += 1
        calls = calls_of(message)
        if len(calls) < 2:
            done.append(message)
            continue
        end = at
        while end < len(messages) and messages[end].get("role") == "tool":
            end += 1
        results, at = messages[at:end], end
        left = list(results)
        for number, call in enumerate(calls):
            first = message if number == 0 else {"role": "assistant", "content": ""}
            done.append({**first, "tool_calls": [call]})
            done += [result for result in left if result.get("tool_call_id") == call["id"]]
            left = [result for result in left if result.get("tool_call_id") != call["id"]]
        done += left
    return done


def in_form(messages: Iterable[Message], form: CallForm) -> list[Message]:
    """`messages` with calls as `form` wants them. Raises BadRequest for arguments that cannot be written."""
    done: list[Message] = []
    ids: dict[str, str] = {}
    count = 0
    for message in messages:
        written = dict(message)
        calls = calls_of(message)
        if calls:
            if form.ids == "named anew":
                count = 0
            if message.get("content") and not form.with_content:
                done.append({"role": "assistant", "content": message["content"]})
                written["content"] = ""
            for call in calls:
                ids[call["id"]] = _id(call, count, form)
                count += 1
            written["tool_calls"] = [_call(call, ids[call["id"]], form) for call in calls]
            written["content"] = written.get("content") or form.empty_content
        if "tool_call_id" in message:
            given = message["tool_call_id"]
            written["tool_call_id"] = ids.get(given) or _id({"id": given, **_NAMELESS}, count, form)
        done.append(written)
    return done


def written(calls: Sequence[Message]) -> str:
    """Calls as the generic syntax writes them."""
    texts: list[str] = []
    for call in calls:
        name = _json(_function(call).get("name", ""))
        texts.append(f'<tool_call>\n{{"name": {name}, "arguments": {_arguments_text(call)}}}\n</tool_call>')
    return "\n".join(texts)


def calls_as_text(messages: Iterable[Message], write: WriteCalls) -> list[Message]:
    """`messages` whose calls stand at the end of their content."""
    done: list[Message] = []
    for message in messages:
        calls = calls_of(message)
        rest = {key: value for key, value in message.items() if key != "tool_calls"}
        if calls:
            content = message.get("content") or ""
            rest["content"] = f"{content}\n{write(calls)}" if content else write(calls)
        done.append(rest)
    return done


def results_as_text(messages: Iterable[Message]) -> list[Message]:
    """`messages` with each run of results as one user message."""
    done: list[Message] = []
    running = False
    for message in messages:
        if message.get("role") != "tool":
            running = False
            done.append(message)
            continue
        text = f"<tool_response>\n{message.get('content') or ''}\n</tool_response>"
        if running:
            done[-1]["content"] += f"\n{text}"
        else:
            done.append({"role": "user", "content": text})
        running = True
    return done


def results_with_calls(messages: Iterable[Message], key: str) -> list[Message]:
    """`messages` with each run of results as a list under `key` of the message before it."""
    done: list[Message] = []
    for message in messages:
        if message.get("role") != "tool" or not done:
            done.append(dict(message))
            continue
        response = {"name": message.get("name", ""), "response": _object_or_text(message.get("content"))}
        done[-1][key] = [*done[-1].get(key, ()), response]
    return done


def _object_or_text(content: Any) -> Any:
    try:
        value = json.loads(content or "")
    except (ValueError, RecursionError):
        return content
    return cast("Any", value) if isinstance(value, dict) else content


_NAMELESS: Message = {"function": {"name": "", "arguments": {}}}


def _with_calls(message: Message, calls: Sequence[Message]) -> Message:
    if calls:
        return {**message, "tool_calls": list(calls)}
    # Templates ask whether the key is there, and take an empty list for a call.
    return {key: value for key, value in message.items() if key != "tool_calls"}


def _result(message: Message, waiting: list[Message]) -> Message:
    given = message.get("tool_call_id")
    name = message.get("name")
    found = (
        next((call for call in waiting if call["id"] == given), None)
        if given
        else next((call for call in waiting if name and _function(call).get("name") == name), None)
        or (waiting[0] if waiting else None)
    )
    if found is None:
        return {**message, "tool_call_id": given or "", "name": name or ""}
    waiting.remove(found)
    return {**message, "tool_call_id": found["id"], "name": name or _function(found).get("name", "")}


def _in_order(done: list[Message], asked: Sequence[str]) -> None:
    """Sort the results at the end of `done` as their calls stand: templates that write no ids rely on it."""
    begin = len(done)
    while begin and done[begin - 1].get("role") == "tool":
        begin -= 1
    place = {id: at for at, id in enumerate(asked)}
    done[begin:] = sorted(done[begin:], key=lambda one: place.get(one["tool_call_id"], len(place)))


def _function(call: Message) -> Message:
    return cast("Message", call.get("function") or {})


def _call(call: Message, id: str, form: CallForm) -> Message:
    function = _function(call)
    arguments = _arguments_text(call) if form.arguments == "text" else _arguments_object(call, form)
    if form.arguments == "values" and isinstance(arguments, dict):
        values = cast("dict[str, Any]", arguments)
        arguments = {key: value if isinstance(value, str) else _json(value) for key, value in values.items()}
    return {**call, "id": id, "type": "function", "function": {**function, "arguments": arguments}}


def _arguments_text(call: Message) -> str:
    arguments = _function(call).get("arguments")
    if isinstance(arguments, str):
        return arguments or "{}"
    return _json(arguments or {})


def _json(value: Any) -> str:
    return json.dumps(value, ensure_ascii=False)


def _arguments_object(call: Message, form: CallForm) -> Any:
    function = _function(call)
    arguments: Any = function.get("arguments") or {}
    if isinstance(arguments, str) and not form.takes_text:
        raise BadRequest(
            f"the arguments of the call {call['id']!r} of {function.get('name')!r} are no JSON object, and "
            f"the model's chat template can show nothing else: {arguments[:80]!r}; leave the call out",
            param="messages",
        )
    return arguments


def _id(call: Message, count: int, form: CallForm) -> str:
    given = str(call["id"])
    match form.ids:
        case "any":
            return given
        case "named" | "named anew":
            return f"functions.{_function(call).get('name', '')}:{count}"
        case "short":
            return given if _SHORT.fullmatch(given) else _short(given)


def _short(given: str) -> str:
    number = int.from_bytes(hashlib.sha256(given.encode(errors="surrogatepass")).digest())
    letters = ""
    for _ in range(9):
        number, digit = divmod(number, len(_LETTERS))
        letters += _LETTERS[digit]
    return letters
