"""The counts, times and rates that `--verbose` shows after an answer."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from agentkit_cli.output import duration_text

if TYPE_CHECKING:
    from agentkit import ChatResponse, EmbedResponse, GenerateResponse


def statistics_text(last: ChatResponse | GenerateResponse | EmbedResponse) -> str:
    """One line for each number that `last`, the final piece of an answer, carries."""
    return "\n".join(f"{name + ':':<23}{value}" for name, value in _lines(last))


def _lines(last: ChatResponse | GenerateResponse | EmbedResponse) -> Iterator[tuple[str, str]]:
    if last.total_duration:
        yield "total duration", duration_text(last.total_duration)
    if last.load_duration:
        yield "load duration", duration_text(last.load_duration)
    yield from _counted("prompt eval", last.prompt_eval_count, last.prompt_eval_duration)
    if last.prompt_eval_cached_count is not None:
        yield "prompt cached count", f"{last.prompt_eval_cached_count} token(s)"
    yield from _counted("eval", last.eval_count, last.eval_duration)


def _counted(name: str, count: int | None, duration: int | None) -> Iterator[tuple[str, str]]:
    if count is not None:
        yield f"{name} count", f"{count} token(s)"
    if duration:
        yield f"{name} duration", duration_text(duration)
        yield f"{name} rate", f"{(count or 0) / duration * 1e9:.2f} tokens/s"
