"""Options of a request as a person types them: `/set parameter NAME VALUE...`."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from agentkit_cli.errors import CommandError

_TRUE, _FALSE = {"true", "t", "1"}, {"false", "f", "0"}


def _boolean(text: str) -> bool:
    if text.lower() in _TRUE | _FALSE:
        return text.lower() in _TRUE
    raise ValueError


PARSERS: Mapping[str, Callable[[str], Any]] = {
    "num_keep": int,
    "seed": int,
    "num_predict": int,
    "top_k": int,
    "top_p": float,
    "min_p": float,
    "typical_p": float,
    "repeat_last_n": int,
    "temperature": float,
    "repeat_penalty": float,
    "presence_penalty": float,
    "frequency_penalty": float,
    "stop": str,
    "num_ctx": int,
    "num_batch": int,
    "num_gpu": int,
    "main_gpu": int,
    "use_mmap": _boolean,
    "num_thread": int,
    "draft_num_predict": int,
}
"""Every option by name, and what reads its value."""

_KINDS: Mapping[Callable[[str], Any], str] = {
    int: "a whole number",
    float: "a number",
    _boolean: "true or false",
}


def parse_option(name: str, values: Sequence[str]) -> Any:
    """The value of option `name`; `stop` takes several.

    Raises:
        CommandError: there is no such option, or the value is of another type.
    """
    parser = PARSERS.get(name)
    if parser is None:
        raise CommandError(f"unknown parameter {name!r}", hint=f"known are {', '.join(PARSERS)}")
    if name == "stop":
        return list(values)
    text = " ".join(values)
    try:
        return parser(text)
    except ValueError:
        raise CommandError(f"{name} must be {_KINDS[parser]}, not {text!r}") from None
