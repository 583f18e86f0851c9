"""What a model says and how it is asked: template, system, licences, parameters, messages. A model made from
another has those of that one, unless it is given its own.

As in Ollama: texts and messages replace, parameters are merged by name, licences are added.
"""

from __future__ import annotations

import difflib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, cast

import msgspec

from agentkit_server.errors import BadRequest, GoTemplateError, UnsupportedParameter
from agentkit_server.models.go_template import parse
from agentkit_server.models.modelfile.structure import ROLES
from agentkit_server.turn.go_template import is_go
from agentkit_server.turn.options import option_schemas, read_options

MAX_TEXT = 1 << 20
"""Characters of a template, a system prompt or a licence, and of all messages. More than a model needs, and
less than a store reads of a layer."""
MAX_LICENSES = 64
MAX_MESSAGES = 10_000


@dataclass(frozen=True)
class Changes:
    """What is given; "" and empty = as it was."""

    template: str
    system: str
    licenses: tuple[str, ...]
    parameters: Mapping[str, Any]
    messages: tuple[dict[str, str], ...]

    def replaced(self) -> frozenset[str]:
        """Kinds of the layers that these take the place of."""
        kinds = {"template": self.template, "prompt": self.template, "system": self.system}
        kinds |= {"params": self.parameters, "messages": self.messages}
        return frozenset(kind for kind, value in kinds.items() if value)

    def layers(self, parameters: Mapping[str, Any]) -> list[tuple[str, bytes]]:
        """Kind and content of the new layers, on a model that has `parameters`."""
        new = [("template", self.template.encode()), ("system", self.system.encode())]
        new += [("license", text.encode()) for text in self.licenses]
        if self.parameters:
            new.append(("params", msgspec.json.encode({**parameters, **self.parameters})))
        if self.messages:
            new.append(("messages", msgspec.json.encode(self.messages)))
        return [(kind, content) for kind, content in new if content]


def changes(
    template: str,
    system: str,
    license: Any,
    parameters: Mapping[str, Any],
    messages: Sequence[Mapping[str, Any]],
) -> Changes:
    """Check what a caller gave. Raises BadRequest."""
    _check_length("template", template)
    _check_length("system", system)
    if template:
        _check_template(template)
    return Changes(template, system, _licenses(license), _parameters(parameters), _messages(messages))


def _check_length(name: str, *texts: str) -> None:
    characters = sum(map(len, texts))
    if characters > MAX_TEXT:
        raise BadRequest(f"{name} has {characters} characters, more than {MAX_TEXT}", param=name)


def _check_template(template: str) -> None:
    if "{%" in template and not is_go(template):
        raise BadRequest(
            "the template is a Jinja one, and a model is given one in Go's template language; leave it out "
            "and the model's own is used, which is in its GGUF file",
            param="template",
        )
    try:
        parse(template)
    except GoTemplateError as error:
        # The place in it is in the message; `param` tells clients which field it is.
        error.param = "template"
        raise


def _licenses(given: Any) -> tuple[str, ...]:
    texts: list[Any] = cast("list[Any]", given) if isinstance(given, list) else [given]
    if not all(text is None or isinstance(text, str) for text in texts):
        raise BadRequest("license must be a string or a list of strings", param="license")
    licenses = tuple(dict.fromkeys(text for text in texts if text))
    if len(licenses) > MAX_LICENSES:
        raise BadRequest(
            f"license has {len(licenses)} texts, more than {MAX_LICENSES}: write several into one",
            param="license",
        )
    for text in licenses:
        _check_length("license", text)
    return licenses


def _parameters(given: Mapping[str, Any]) -> dict[str, Any]:
    """The options as they are stored: checked, with `stop` as a list whether one or several were given."""
    given = {name: value for name, value in given.items() if value is not None}
    if isinstance(given.get("stop"), str):
        given["stop"] = [given["stop"]]
    options = read_options(given)
    if options.unknown:
        name = options.unknown[0]
        close = difflib.get_close_matches(name, [*option_schemas()], n=1)
        hint = f": did you mean {close[0]!r}?" if close else ""
        raise UnsupportedParameter(f"unknown parameter {name[:80]!r}{hint}", param="parameters")
    # What has no effect here is kept: it may have one where the model goes next.
    retired = {name: given[name] for name in options.retired}
    if wrong := next((name for name, value in retired.items() if not isinstance(value, int | float)), None):
        raise BadRequest(f'option "{wrong}" must be a boolean or a number', param="parameters")
    # In the order given: the digest of the layer must not depend on the order of a set.
    kept = [name for name in given if name not in options.runtime and name not in retired]
    return {**options.runtime, **{name: getattr(options.load, name) for name in kept}, **retired}


def _messages(given: Sequence[Mapping[str, Any]]) -> tuple[dict[str, str], ...]:
    if len(given) > MAX_MESSAGES:
        raise BadRequest(f"there are {len(given)} messages, more than {MAX_MESSAGES}", param="messages")
    messages = tuple(map(_message, given))
    _check_length("messages", *(message["content"] for message in messages))
    return messages


def _message(given: Mapping[str, Any]) -> dict[str, str]:
    role, content = given.get("role"), given.get("content", "")
    if role not in ROLES:
        raise BadRequest(
            f'message role must be one of "system", "user", or "assistant": {role!r:.80}', param="messages"
        )
    if not isinstance(content, str):
        raise BadRequest(f"the content of a message must be a string: {content!r:.80}", param="messages")
    other = next((name for name, value in given.items() if value and name not in ("role", "content")), None)
    if other is not None:
        raise UnsupportedParameter(
            f"a message of a model has a role and a content; leave out {other[:80]!r}", param="messages"
        )
    return {"role": role, "content": content}
