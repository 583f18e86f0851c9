"""Which tokens begin, end and fill, what is added to a prompt, and the chat template."""

from __future__ import annotations

import re
from pathlib import PurePosixPath
from typing import Any, cast

from agentkit_server.errors import ConversionError
from agentkit_server.models.convert.files import Fields, Files, read_object, read_text
from agentkit_server.models.convert.vocabulary import Vocabulary

_KEYS = {
    "bos": "bos_token_id",
    "eos": "eos_token_id",
    "unk": "unknown_token_id",
    "sep": "seperator_token_id",
    "pad": "padding_token_id",
    "mask": "mask_token_id",
    "cls": "cls_token_id",
}
"""transformers' name -> the key under `tokenizer.ggml.`, misspelt as it is."""
_KNOWN_ENDS = frozenset(
    [
        "<|eot_id|>",
        "<|im_end|>",
        "<|end|>",
        "<|return|>",
        "<|call|>",
        "<end_of_turn>",
        "<|endoftext|>",
        "</s>",
        "<|eom_id|>",
        "<EOT>",
        "_<EOT>",
        "[EOT]",
        "[EOS]",
        "<|end_of_text|>",
        "<end_of_utterance>",
        "<eos>",
        "<｜end▁of▁sentence｜>",
    ]
)
"""Tokens that end an answer in llama.cpp without being told."""


def read_special(files: Files, config: Fields, vocabulary: Vocabulary) -> dict[str, Any]:
    """Keys of the GGUF. Raises ConversionError when what the model needs is not said."""
    sources = [
        found
        for name in ("tokenizer_config.json", "special_tokens_map.json")
        if (found := read_object(files, name)) is not None
    ]
    texts = {name: _text(sources, f"{name}_token") for name in _KEYS}
    if vocabulary.model == "bert":
        texts = {name: text or f"[{name.upper()}]" for name, text in texts.items()}
    ids = {name: _id(name, text, config, vocabulary) for name, text in texts.items()}
    if vocabulary.model == "bert":
        missing = next((name for name in ("cls", "sep", "unk") if ids[name] is None), None)
        if missing is not None:
            raise ConversionError(
                f"the tokenizer has no token {texts[missing]!r}, which BERT needs ({missing})"
            )
        ids["bos"], ids["eos"] = ids["cls"], ids["sep"]
        found = {}
    else:
        found = _ends(files, config, sources, vocabulary, ids)
    found |= {_KEYS[name]: token for name, token in ids.items() if token is not None}
    return {f"tokenizer.ggml.{key}": value for key, value in found.items()}


def _text(sources: list[Fields], key: str) -> str | None:
    for source in sources:
        value = source.get(key)
        if isinstance(value, dict):
            value = cast("dict[str, Any]", value).get("content")
        if isinstance(value, str):
            return value
    return None


def _id(name: str, text: str | None, config: Fields, vocabulary: Vocabulary) -> int | None:
    if text is not None and text in vocabulary.ids:
        return vocabulary.ids[text]
    return next((token for token in _numbers(config, f"{name}_token_id") if token < vocabulary.size), None)


def _numbers(config: Fields, key: str) -> list[int]:
    value = config.get(key)
    if value is None:
        text = config.object("text_config")
        value = text.get(key) if text else None
    values = cast("list[Any]", value) if isinstance(value, list) else [value]
    return [one for one in values if isinstance(one, int) and not isinstance(one, bool) and one >= 0]


def _ends(
    files: Files,
    config: Fields,
    sources: list[Fields],
    vocabulary: Vocabulary,
    ids: dict[str, int | None],
) -> dict[str, Any]:
    """What is put around a prompt, and every token that ends an answer."""
    if ids["eos"] is None:
        raise ConversionError(
            "neither tokenizer_config.json nor config.json says which token ends a text (eos)"
        )
    if ids["bos"] is None and vocabulary.model == "gpt2":
        # Without one, llama.cpp takes token 11, whatever that is.
        ids["bos"] = ids["eos"]
    first, last = _around(ids, vocabulary)
    settings = sources[0] if sources else Fields({}, "tokenizer_config.json")
    add_bos = settings.flag("add_bos_token", first)
    add_eos = settings.flag("add_eos_token", last)
    if add_bos and ids["bos"] is None:
        raise ConversionError("a token is put before every prompt (bos), and no file says which")
    found: dict[str, Any] = {"add_bos_token": bool(add_bos), "add_eos_token": bool(add_eos)}
    others = _other_ends(files, config, vocabulary, ids["eos"])
    found |= dict(zip(("eot_token_id", "eom_token_id"), others, strict=False))
    if len(others) > 2:
        vocabulary.notes.append(
            f"tokens {others[2:]} should end an answer too; llama.cpp knows three such tokens"
        )
    return found


def _other_ends(files: Files, config: Fields, vocabulary: Vocabulary, eos: int) -> list[int]:
    generation = read_object(files, "generation_config.json")
    named = _numbers(generation, "eos_token_id") if generation else []
    ends = [*named, *_numbers(config, "eos_token_id")]
    other = [token for token in dict.fromkeys(ends) if token != eos and token < vocabulary.size]
    return [token for token in other if vocabulary.texts[token] not in _KNOWN_ENDS]


def _around(ids: dict[str, int | None], vocabulary: Vocabulary) -> tuple[bool | None, bool | None]:
    """Whether the tokenizer puts a token before and after a text."""
    for step in vocabulary.post_processors:
        if step.text("type") == "ByteLevel":
            continue
        if step.text("type") != "TemplateProcessing":
            raise ConversionError(
                f"{step.where}: the post-processor {step.text('type')!r} cannot be imported"
            )
        parts = [_special(part) for part in step.objects("single")]
        if None not in parts:
            raise ConversionError(f"{step.where}: the template has no place for the text")
        place = parts.index(None)
        before, after = parts[:place], parts[place + 1 :]
        numbers = [[vocabulary.ids.get(text or "") for text in texts] for texts in (before, after)]
        if numbers[0] not in ([], [ids["bos"]]) or numbers[1] not in ([], [ids["eos"]]):
            raise ConversionError(
                f"{step.where} puts {before} before a text and {after} after it; llama.cpp only puts "
                f"the tokens for the begin ({ids['bos']}) and the end of a text ({ids['eos']})"
            )
        return bool(before), bool(after)
    return vocabulary.add_bos, vocabulary.add_eos


def _special(part: Fields) -> str | None:
    """The token that stands here; None where the text does."""
    token = part.object("SpecialToken")
    return token.text("id") if token else None


def read_templates(files: Files) -> dict[str, str]:
    """The chat templates by name; the one that counts is `default`."""
    own = read_text(files, "chat_template.jinja")
    if own is not None:
        others = [name for name in files if re.fullmatch(r"additional_chat_templates/[\w-]+\.jinja", name)]
        named = {PurePosixPath(name).stem: read_text(files, name) or "" for name in others}
        return {"default": own, **named}
    for name in ("tokenizer_config.json", "chat_template.json"):
        found = read_object(files, name)
        value: Any = found.get("chat_template") if found else None
        if isinstance(value, str):
            return {"default": value}
        if isinstance(value, list):
            return _named(Fields({"chat_template": value}, name).objects("chat_template"))
    return {}


def _named(templates: list[Fields]) -> dict[str, str]:
    named = {template.text("name"): template.text("template") for template in templates}
    if None in named or None in named.values():
        raise ConversionError(f"{templates[0].where} needs name and template")
    return cast("dict[str, str]", named)


def template_metadata(templates: dict[str, str]) -> dict[str, Any]:
    keys = {
        "tokenizer.chat_template" if name == "default" else f"tokenizer.chat_template.{name}": text
        for name, text in templates.items()
    }
    others = [name for name in templates if name != "default"]
    return keys | ({"tokenizer.chat_templates": others} if others else {})
