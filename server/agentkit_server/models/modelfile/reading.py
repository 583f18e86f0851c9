"""From text to a `Modelfile`: one command a line, in Ollama's grammar.

What Ollama passes over in silence is a warning here, and every error says line and column.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any

from agentkit_server.errors import ModelfileError
from agentkit_server.models.modelfile.parameters import (
    DEPRECATED,
    KINDS,
    read_number,
    suggestion,
    unknown,
)
from agentkit_server.models.modelfile.parameters import read_value as read_parameter
from agentkit_server.models.modelfile.structure import ROLES, AdapterLine, MessageLine, Modelfile, Place
from agentkit_server.models.modelfile.values import Text, read_value, whole

_ENCODINGS = ((b"\xef\xbb\xbf", "utf-8"), (b"\xff\xfe", "utf-16-le"), (b"\xfe\xff", "utf-16-be"))
# Without a way back (`+` behind), as a place to come back to costs memory at each comment.
_SKIPPED = re.compile(r"[ \t\r\n]*+(?:#[^\r\n]*+[ \t\r\n]*+)*+")
_BLANKS = re.compile(r"[ \t]*")
_WORD = re.compile(r"[^ \t\r\n]*")
_SCALE = "scale="
_VERSION = re.compile(
    r"v?((?:0|[1-9]\d*)(?:\.(?:0|[1-9]\d*)){0,2}(?:-[0-9A-Za-z.-]+)?(?:\+[0-9A-Za-z.-]+)?)", re.ASCII
)


def parse(content: bytes | str) -> Modelfile:
    """Read a Modelfile: text, or its bytes in UTF-8 or, with a byte order mark, UTF-16.

    Raises ModelfileError.
    """
    text = Text(_decoded(content) if isinstance(content, bytes) else content.removeprefix("\ufeff"))
    draft = _Draft()
    for command in _commands(text):
        draft.warn_if_swallowing(command)
        _READERS[command.word](draft, command)
    return draft.finished()


@dataclass(frozen=True)
class _Command:
    """One command: its word in lower case, a parameter's name or a role, and the value. Where an adapter has
    a scale, `key_at` is that one's place."""

    text: Text
    word: str
    key: str
    key_at: int
    value: str
    value_at: int
    scale: str | None = None

    @property
    def place(self) -> Place:
        return self.text.place(self.value_at)

    def error(self, message: str, at: int | None = None) -> ModelfileError:
        return self.text.error(self.value_at if at is None else at, message)

    def given(self) -> str:
        """The value, which may not be empty."""
        if not self.value.strip():
            raise self.error(f"{self.word.upper()} needs a value, for example {_EXAMPLES[self.word]}")
        return self.value


@dataclass
class _Draft:
    """A Modelfile while it is read."""

    many: dict[str, list[Any]] = field(default_factory=dict[str, list[Any]])
    one: dict[str, str] = field(default_factory=dict[str, str])
    parameters: dict[str, Any] = field(default_factory=dict[str, Any])
    warnings: list[str] = field(default_factory=list[str])
    places: dict[str, list[Place]] = field(default_factory=dict[str, list[Place]])

    def add(self, command: _Command, value: Any) -> None:
        """One more value of a command that may be repeated."""
        self.many.setdefault(command.word, []).append(value)
        self.places.setdefault(command.word, []).append(command.place)

    def put(self, command: _Command, value: str) -> None:
        """The value of a command that counts once: the last."""
        if command.word in self.one:
            self.warn(command, f"this {command.word.upper()} replaces the one above it")
        self.one[command.word] = value
        self.places[command.word] = [command.place]

    def warn(self, command: _Command, message: str) -> None:
        line, column = command.place
        self.warnings.append(f"(line {line}, column {column}): {message}")

    def warn_if_empty(self, command: _Command) -> None:
        if not command.value:
            self.warn(command, f"an empty {command.word.upper()} has no effect")

    def warn_if_swallowing(self, command: _Command) -> None:
        """A quote that was forgotten takes the commands below into its text, up to the next one."""
        if not command.text.characters.startswith('"""', command.value_at):
            for found in _SWALLOWED.finditer(command.value):
                self.warn(
                    command, f"the text in quotes has the line {found[1]!r:.50}; is a quote missing above?"
                )

    def finished(self) -> Modelfile:
        if "from" not in self.many:
            message = "no FROM: a Modelfile needs one, for example FROM smollm2"
            raise ModelfileError(message, line=1, column=1)
        return Modelfile(
            from_=tuple(self.many["from"]),
            adapters=tuple(self.many.get("adapter", ())),
            messages=tuple(self.many.get("message", ())),
            license=tuple(self.many.get("license", ())),
            parameters=self.parameters,
            warnings=tuple(self.warnings),
            places={word: tuple(places) for word, places in self.places.items()},
            **self.one,
        )


def _decoded(content: bytes) -> str:
    mark, encoding = next((pair for pair in _ENCODINGS if content.startswith(pair[0])), (b"", "utf-8"))
    body = content[len(mark) :]
    try:
        return body.decode(encoding)
    except UnicodeDecodeError as error:
        before = Text(body[: error.start].decode(encoding, errors="replace"))
        message = f"the byte {body[error.start]:#04x} is no {encoding} text; save the file as UTF-8"
        raise before.error(len(before.characters), message) from None


def _commands(text: Text) -> Iterator[_Command]:
    position = _after(_SKIPPED, text, 0)
    while position < len(text.characters):
        command, end = _command(text, position)
        yield command
        position = _after(_SKIPPED, text, end)


def _command(text: Text, start: int) -> tuple[_Command, int]:
    end = _after(_WORD, text, start)
    word = text.characters[start:end].lower()
    if word not in _READERS:
        raise text.error(start, _unknown(text.characters[start:end]))
    key, key_at = "", end
    if word in _KEYS:
        key, key_at, end = _key(text, word, end)
    value_at = _after(_BLANKS, text, end)
    if value_at == end:
        raise text.error(start, f"{word.upper()} needs a value on its line, for example {_EXAMPLES[word]}")
    if word == "adapter" and (scaled := _scaled(text, value_at)):
        path, scale, key_at, end = scaled
        return _Command(text, word, key, key_at, path, value_at, scale), end
    value, end = read_value(text, value_at)
    return _Command(text, word, key, key_at, value, value_at), end


def _key(text: Text, word: str, start: int) -> tuple[str, int, int]:
    """The name or role behind PARAMETER or MESSAGE, where it begins and where it ends."""
    begin = _after(_BLANKS, text, start)
    end = _after(_WORD, text, begin)
    if begin == end:
        raise text.error(begin, f"{word.upper()} needs {_KEYS[word]}, for example {_EXAMPLES[word]}")
    return text.characters[begin:end], begin, end


def _scaled(text: Text, start: int) -> tuple[str, str, int, int] | None:
    """Path, scale, its place and the end of an ADAPTER whose one line ends in a scale, None for any other.

    A path in quotes that itself ends so is whole only with these words.
    """
    end = text.line_end(start)
    line = text.characters[start:end].rstrip()
    words = line.rsplit(maxsplit=1)
    if len(words) < 2 or not words[1].startswith(_SCALE):
        return None
    path = whole(words[0])
    if path is None:
        return None
    scale = words[1].removeprefix(_SCALE)
    return path, scale, start + len(line) - len(scale), end


def _after(pattern: re.Pattern[str], text: Text, start: int) -> int:
    match = pattern.match(text.characters, start)
    return match.end() if match else start


def _unknown(word: str) -> str:
    known = [name.upper() for name in _READERS]
    near = suggestion(word.upper(), known) or f"; the commands are {_list(known)}"
    return f"unknown command {word!r:.50}{near}"


def _list(words: list[str] | tuple[str, ...]) -> str:
    return f"{', '.join(words[:-1])} and {words[-1]}"


def _read_name(draft: _Draft, command: _Command) -> None:
    draft.add(command, command.given())


def _read_adapter(draft: _Draft, command: _Command) -> None:
    path = command.given()
    scale = 1.0 if command.scale is None else read_number(command.scale)
    if scale is None:
        raise command.error(
            f"the scale of an adapter is a number such as 0.5: {command.scale!r:.50}", command.key_at
        )
    draft.add(command, AdapterLine(path, scale))


def _read_text(draft: _Draft, command: _Command) -> None:
    draft.warn_if_empty(command)
    draft.put(command, command.value)


def _read_word(draft: _Draft, command: _Command) -> None:
    draft.put(command, command.given())


def _read_license(draft: _Draft, command: _Command) -> None:
    draft.warn_if_empty(command)
    draft.add(command, command.value)


def _read_message(draft: _Draft, command: _Command) -> None:
    role = command.key.lower()
    if role not in ROLES:
        raise command.error(
            f"the role of a MESSAGE is one of {_list(ROLES)}: {command.key!r:.50}", command.key_at
        )
    draft.add(command, MessageLine(role, command.value))


def _read_version(draft: _Draft, command: _Command) -> None:
    match = _VERSION.fullmatch(command.given())
    if match is None:
        raise command.error(f"REQUIRES needs a version such as 0.14.0: {command.value!r:.50}")
    draft.put(command, match[1])


def _read_parameter(draft: _Draft, command: _Command) -> None:
    name = command.key.lower()
    if name in DEPRECATED:
        draft.warn(command, f"the parameter {name} is deprecated and left out")
        return
    if name not in KINDS:
        raise command.error(unknown(command.key), command.key_at)
    try:
        value = read_parameter(name, command.value)
    except ValueError as error:
        raise command.error(str(error)) from None
    if KINDS[name] == "strings":
        draft.parameters.setdefault(name, []).append(value)
        return
    if name in draft.parameters:
        draft.warn(command, f"this {name} replaces the one above it")
    draft.parameters[name] = value


_READERS: dict[str, Callable[[_Draft, _Command], None]] = {
    "from": _read_name,
    "adapter": _read_adapter,
    "draft": _read_word,
    "template": _read_text,
    "system": _read_text,
    "parameter": _read_parameter,
    "message": _read_message,
    "license": _read_license,
    "renderer": _read_word,
    "parser": _read_word,
    "requires": _read_version,
}
_SWALLOWED = re.compile(rf"[\r\n][ \t]*((?:{'|'.join(_READERS).upper()})[ \t][^\r\n]*)")
_KEYS = {"parameter": "a name", "message": "a role"}
_EXAMPLES = {
    "from": "FROM smollm2",
    "adapter": "ADAPTER ./lora.gguf",
    "draft": "DRAFT ./draft.gguf",
    "template": 'TEMPLATE "{{ .Prompt }}"',
    "system": "SYSTEM Answer briefly.",
    "parameter": "PARAMETER temperature 0.2",
    "message": "MESSAGE user Hello",
    "license": "LICENSE Apache-2.0",
    "renderer": "RENDERER qwen3-coder",
    "parser": "PARSER qwen3-coder",
    "requires": "REQUIRES 0.14.0",
}
