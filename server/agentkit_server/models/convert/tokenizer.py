"""Tokenizers of a model folder: tokenizer.json, or tokenizer.model where there is no such file."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, cast

from gguf.constants import TokenType

from agentkit_server.errors import ConversionError
from agentkit_server.models.convert import pre_tokenizers, sentencepiece
from agentkit_server.models.convert.files import Fields, Files, read_bytes, read_object
from agentkit_server.models.convert.vocabulary import SPACE, Vocabulary

_MAX_MODEL_BYTES = 32 << 20
_MAX_TOKENS = 4_000_000


def read_vocabulary(files: Files, size: int) -> Vocabulary:
    """The vocabulary for an embedding of `size` rows. Raises ConversionError."""
    if size > _MAX_TOKENS:
        raise ConversionError(f"config.json: vocab_size is {size}; at most {_MAX_TOKENS} tokens are read")
    tokenizer = read_object(files, "tokenizer.json")
    if tokenizer is None:
        return _from_model(files, size)
    model = tokenizer.object("model")
    if model is None:
        raise ConversionError("tokenizer.json has no model")
    vocabulary = _read(tokenizer, model, size)
    vocabulary.post_processors = tokenizer.steps("post_processor", "processors")
    return vocabulary


def _read(tokenizer: Fields, model: Fields, size: int) -> Vocabulary:
    kind = model.text("type") or ("BPE" if "merges" in model else "unknown")
    match kind:
        case "WordPiece":
            return _word_piece(tokenizer, model, size)
        case "BPE" if model.flag("byte_fallback"):
            return _sentence_piece(tokenizer, model, size)
        case "BPE":
            return _byte_level(tokenizer, model, size)
        case _:
            raise ConversionError(
                f"tokenizer.json has a model of type {kind!r}; BPE and WordPiece can be imported"
            )


def _from_model(files: Files, size: int) -> Vocabulary:
    content = read_bytes(files, "tokenizer.model", _MAX_MODEL_BYTES)
    if content is None:
        raise ConversionError("the folder has neither tokenizer.json nor tokenizer.model; one is needed")
    vocabulary = sentencepiece.read(content, size)
    for token, text, special in _added(files):
        kept = token < size and vocabulary.types[token] in (TokenType.UNKNOWN, TokenType.BYTE)
        if not kept:
            vocabulary.put_added(token, text, special=special)
    return vocabulary


def _added(files: Files) -> Iterator[tuple[int, str, bool]]:
    """Id, text and whether it is special, of the tokens that came to a tokenizer.model later."""
    added = read_object(files, "added_tokens.json") or Fields({}, "")
    for text in added.values:
        yield added.count(text) or 0, text, False
    config = read_object(files, "tokenizer_config.json") or Fields({}, "")
    decoder = config.object("added_tokens_decoder") or Fields({}, "")
    for number in decoder.values:
        token = decoder.object(number) or Fields({}, decoder.where)
        text = token.text("content")
        if not text or not number.isdecimal() or len(number) > 9:
            raise ConversionError(f"{decoder.where}: {number!r:.20} is no token with content")
        yield int(number), text, bool(token.flag("special"))


def _vocab(model: Fields) -> dict[str, Any]:
    vocab = model.object("vocab")
    if vocab is None or not vocab.values:
        raise ConversionError(f"{model.where} has no vocab")
    return cast("dict[str, Any]", vocab.values)


def _merges(model: Fields) -> list[tuple[str, str]]:
    """Pairs in the order in which they are merged, which files have written in two ways."""
    pairs: list[tuple[str, str]] = []
    for merge in model.list("merges"):
        pair: Any = merge.split(" ") if isinstance(merge, str) else merge
        if not isinstance(pair, list) or len(cast("list[Any]", pair)) != 2:
            raise ConversionError(f"{model.where}: the merge {merge!r:.80} is no pair")
        first, second = cast("list[Any]", pair)
        if not isinstance(first, str) or not isinstance(second, str) or not first or not second:
            raise ConversionError(f"{model.where}: the merge {merge!r:.80} is no pair of texts")
        pairs.append((first, second))
    return pairs


def _byte_level(tokenizer: Fields, model: Fields, size: int) -> Vocabulary:
    _normalizers(tokenizer, ("NFC",))
    for key in ("continuing_subword_prefix", "end_of_word_suffix"):
        if model.text(key):
            raise ConversionError(f"{model.where}: {key} {model.text(key)!r} cannot be imported")
    vocabulary = Vocabulary("gpt2", size)
    vocabulary.pre = pre_tokenizers.name(tokenizer, bool(model.flag("ignore_merges")))
    vocabulary.put_all(_vocab(model), model.where)
    merges = _merges(model)
    if not merges:
        raise ConversionError(f"{model.where} has no merges")
    spaced = next((pair for pair in merges if " " in pair[0] or " " in pair[1]), None)
    if spaced is not None:
        raise ConversionError(
            f"{model.where}: the merge {spaced!r:.80} has a space, which byte-level BPE has not"
        )
    vocabulary.merges = [f"{first} {second}" for first, second in merges]
    vocabulary.put_added_tokens(tokenizer.objects("added_tokens"))
    return vocabulary


def _sentence_piece(tokenizer: Fields, model: Fields, size: int) -> Vocabulary:
    """BPE that falls back to bytes is SentencePiece's. It merges by score; the merges give the order."""
    vocabulary = Vocabulary("llama", size)
    vocabulary.extra["add_space_prefix"] = _prefixes_space(tokenizer)
    vocab = _vocab(model)
    merges = _merges(model)
    vocabulary.put_all(vocab, model.where, score=-1.0 - len(merges))
    # From the last: of several ways to make a token, the first one counts.
    for rank, (first, second) in reversed([*enumerate(merges)]):
        token = vocab.get(first + second)
        if token is None:
            raise ConversionError(f"{model.where}: the merge of {first!r:.40} and {second!r:.40} is no token")
        if token < size:
            vocabulary.scores[token] = -1.0 - rank
    for byte in range(256):
        token = vocab.get(f"<0x{byte:02X}>")
        if token is not None:
            vocabulary.put(token, f"<0x{byte:02X}>", TokenType.BYTE)
    vocabulary.put_added_tokens(tokenizer.objects("added_tokens"))
    unknown = model.text("unk_token")
    if unknown is not None and unknown in vocabulary.ids:
        vocabulary.put(vocabulary.ids[unknown], unknown, TokenType.UNKNOWN)
    return vocabulary


def _prefixes_space(tokenizer: Fields) -> bool:
    """Whether a text is read as if a space came first. Checks the steps on the way."""
    prefixed = False
    for step in tokenizer.steps("normalizer", "normalizers"):
        match step.text("type"):
            case "Prepend" if step.text("prepend") == SPACE:
                prefixed = True
            case "Replace" if step.text("content") == SPACE:
                pass
            case kind:
                raise ConversionError(f"{tokenizer.where}: the normalizer {kind!r} cannot be imported")
    for step in tokenizer.steps("pre_tokenizer", "pretokenizers"):
        match step.text("type"):
            case "Metaspace":
                scheme = step.text("prepend_scheme")
                always = step.flag("add_prefix_space", True) if scheme is None else scheme != "never"
                prefixed = prefixed or bool(always)
            case "Split" if (step.object("pattern") or step).get("String") == " ":
                pass
            case kind:
                raise ConversionError(f"{tokenizer.where}: the pre-tokenizer {kind!r} cannot be imported")
    return prefixed


def _word_piece(tokenizer: Fields, model: Fields, size: int) -> Vocabulary:
    """llama.cpp marks the beginning of a word where the file marks what is none."""
    prefix = model.text("continuing_subword_prefix")
    if prefix != "##":
        raise ConversionError(f"{model.where}: continuing_subword_prefix is {prefix!r}; only '##' is known")
    vocabulary = Vocabulary("bert", size)
    vocabulary.extra |= _bert_normalizer(tokenizer)
    vocab = _vocab(model)
    vocabulary.put_all(vocab, model.where)
    special = {token.text("content") for token in tokenizer.objects("added_tokens")}
    for text, token in vocab.items():
        if text not in special:
            word = text[2:] if text.startswith("##") and len(text) > 2 else SPACE + text
            vocabulary.put(token, word, TokenType.NORMAL, original=text)
    vocabulary.put_added_tokens(tokenizer.objects("added_tokens"))
    return vocabulary


def _bert_normalizer(tokenizer: Fields) -> dict[str, bool]:
    steps = tokenizer.steps("normalizer", "normalizers")
    cuts = [step.text("type") for step in tokenizer.steps("pre_tokenizer", "pretokenizers")]
    if [step.text("type") for step in steps] != ["BertNormalizer"] or cuts != ["BertPreTokenizer"]:
        raise ConversionError(
            f"{tokenizer.where}: only BERT's own normalizer and pre-tokenizer can be imported"
        )
    (step,) = steps
    for key in ("clean_text", "handle_chinese_chars"):
        if step.flag(key, True) is False:
            raise ConversionError(f"{step.where}: {key} false cannot be imported")
    lowercase = bool(step.flag("lowercase", True))
    accents = step.flag("strip_accents", lowercase)
    return {"normalizer.lowercase": lowercase, "normalizer.strip_accents": bool(accents)}


def _normalizers(tokenizer: Fields, known: tuple[str, ...]) -> None:
    for step in tokenizer.steps("normalizer", "normalizers"):
        if step.text("type") not in known:
            raise ConversionError(
                f"{tokenizer.where}: the normalizer {step.text('type')!r} cannot be imported"
            )
