"""How byte-level BPE cuts a text into words before merging: which of llama.cpp's ways a tokenizer.json has.

llama.cpp's own programs find that out by tokenizing a sample with the original library. Here the steps in
the file are compared with those that llama.cpp's expressions were made from; others are an error, because
a model with the wrong one answers, and poorly.
"""

from __future__ import annotations

from typing import Any

from agentkit_server.errors import ConversionError
from agentkit_server.models.convert.files import Fields

_ENDING = r" ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"
_CONTRACTIONS = "(?i:'s|'t|'re|'ve|'m|'ll|'d)"
_UPPER, _LOWER = r"[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]", r"[\p{Ll}\p{Lm}\p{Lo}\p{M}]"
_SLASHED = _ENDING.replace(r"[\r\n]*", r"[\r\n/]*")


def _cased(after: str) -> str:
    """Words that begin with capitals, then words that may be nothing else."""
    first = rf"[^\r\n\p{{L}}\p{{N}}]?{_UPPER}*{_LOWER}+{after}"
    return rf"{first}|[^\r\n\p{{L}}\p{{N}}]?{_UPPER}+{_LOWER}*{after}"


_LLAMA3 = rf"{_CONTRACTIONS}|[^\r\n\p{{L}}\p{{N}}]?\p{{L}}+|\p{{N}}{{1,3}}|{_ENDING}"
_PATTERNS = {
    _LLAMA3: "llama-bpe",
    _LLAMA3.replace("{1,3}", ""): "qwen2",
    rf"{_CONTRACTIONS}|[^\r\n\p{{L}}\p{{N}}]?[\p{{L}}\p{{M}}]+|\p{{N}}|"
    + _ENDING.replace(r"\p{L}", r"\p{L}\p{M}"): "qwen35",
    rf"{_cased('')}|\p{{N}}|{_SLASHED}": "tekken",
    rf"{_cased(_CONTRACTIONS + '?')}|\p{{N}}{{1,3}}|{_SLASHED}": "gpt-4o",
}
"""An expression that cuts a whole text -> llama.cpp's name."""
_IGNORE_MERGES = {"llama-bpe": True, "qwen2": False, "qwen35": False, "gpt-4o": False, "smollm": False}
"""Names for which llama.cpp decides whether a word that is a token is taken without merging."""
_KNOWN = (*_PATTERNS.values(), "dbrx", "smollm", "gpt-2")


def name(tokenizer: Fields, ignore_merges: bool) -> str:
    """llama.cpp's name for the pre-tokenizer of a byte-level BPE. Raises ConversionError."""
    steps = [_step(step) for step in tokenizer.steps("pre_tokenizer", "pretokenizers")]
    found = _name(steps)
    if found == "llama-bpe" and not ignore_merges:
        return "dbrx"
    if found is None or _IGNORE_MERGES.get(found, ignore_merges) != ignore_merges:
        raise ConversionError(
            f"{tokenizer.where}: the pre-tokenizer {steps!r:.600} with ignore_merges {ignore_merges} is none "
            f"of those that are known ({', '.join(sorted(_KNOWN))}); with another one, answers would be poor"
        )
    return found


def _name(steps: list[tuple[Any, ...]]) -> str | None:
    match steps:
        case [("ByteLevel", False, True)]:
            return "gpt-2"
        case [("Digits", True), ("ByteLevel", False, True)]:
            return "smollm"
        case [
            ("Split", pattern, "Isolated", False) | ("Split", pattern, "Removed", True),
            ("ByteLevel", False, False),
        ]:
            # Each of these expressions matches everything, so keeping only the matches changes nothing.
            return _PATTERNS.get(pattern)
        case _:
            return None


def _step(given: Fields) -> tuple[Any, ...]:
    """What matters of one step."""
    kind = given.text("type")
    match kind:
        case "ByteLevel":
            return kind, given.flag("add_prefix_space", True), given.flag("use_regex", True)
        case "Digits":
            return kind, given.flag("individual_digits", False)
        case "Split":
            pattern = given.object("pattern") or Fields({}, given.where)
            return kind, pattern.text("Regex"), given.text("behavior"), given.flag("invert", False)
        case _:
            return (kind,)
