"""Makes data/tokenizers.json: small tokenizers, and what the original libraries cut texts into with them.

Not a test, and run by hand, in an environment of its own that has `tokenizers` and `sentencepiece`
(made with tokenizers 0.23 and sentencepiece 0.2.3):

    python tests/models/convert/make_tokenizer_reference.py
"""

from __future__ import annotations

import base64
import io
import json
from pathlib import Path
from typing import Any

import sentencepiece
from tokenizers import Tokenizer
from tokenizers.models import BPE
from tokenizers.pre_tokenizers import ByteLevel
from tokenizers.trainers import BpeTrainer

DATA = Path(__file__).parent / "data" / "tokenizers.json"
TEXTS = [
    "Hello, world! It's 12345 o'clock and they'LL say I'm late.",
    "  two  spaces   and\ttabs\n\n\nlines \n end ",
    "camelCaseWords HTTPServer XMLHttpRequest iPhone",
    "price: $3,400.50 (12.5%) == 0x1F; a/b/c //\n/* x */",
    "東京は日本の首都です。Москва — столица.",
    "naïve café 🚀🌕 … «quoted» 'single'\r\nnext",
    "1 22 333 4444 55555 666666",
    "x",
    "ÉCOLE École हिन्दी में",
]
ENDING = r" ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"
SLASHED = r" ?[^\s\p{L}\p{N}]+[\r\n/]*|\s*[\r\n]+|\s+(?!\S)|\s+"
SHORT = r"(?i:'s|'t|'re|'ve|'m|'ll|'d)"
UPPER, LOWER = r"[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]", r"[\p{Ll}\p{Lm}\p{Lo}\p{M}]"
# As the tokenizer.json files of these families have them.
REGEXES = {
    "llama-bpe": SHORT + r"|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}|" + ENDING,
    "qwen2": SHORT + r"|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}|" + ENDING,
    "qwen35": SHORT
    + r"|[^\r\n\p{L}\p{N}]?[\p{L}\p{M}]+|\p{N}| ?[^\s\p{L}\p{M}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+",
    "tekken": rf"[^\r\n\p{{L}}\p{{N}}]?{UPPER}*{LOWER}+|[^\r\n\p{{L}}\p{{N}}]?{UPPER}+{LOWER}*"
    + rf"|\p{{N}}|{SLASHED}",
    "gpt-4o": rf"[^\r\n\p{{L}}\p{{N}}]?{UPPER}*{LOWER}+{SHORT}?"
    + rf"|[^\r\n\p{{L}}\p{{N}}]?{UPPER}+{LOWER}*{SHORT}?|\p{{N}}{{1,3}}|{SLASHED}",
}


def level(use_regex: bool) -> dict[str, Any]:
    return {"type": "ByteLevel", "add_prefix_space": False, "trim_offsets": True, "use_regex": use_regex}


def split(regex: str, behavior: str = "Isolated", invert: bool = False) -> dict[str, Any]:
    return {"type": "Split", "pattern": {"Regex": regex}, "behavior": behavior, "invert": invert}


def sequence(*steps: dict[str, Any]) -> dict[str, Any]:
    return {"type": "Sequence", "pretokenizers": list(steps)}


def variants() -> dict[str, tuple[dict[str, Any], bool]]:
    """llama.cpp's name -> pre_tokenizer, ignore_merges."""
    found: dict[str, tuple[dict[str, Any], bool]] = {
        "gpt-2": (level(True), False),
        "smollm": (sequence({"type": "Digits", "individual_digits": True}, level(True)), False),
        "dbrx": (sequence(split(REGEXES["llama-bpe"], "Removed", True), level(False)), False),
    }
    for name, regex in REGEXES.items():
        found[name] = (sequence(split(regex), level(False)), name in ("llama-bpe", "tekken"))
    return found


def trained() -> dict[str, Any]:
    """Byte-level BPE whose merges go across words: where a text is cut shows in the tokens."""
    tokenizer = Tokenizer(BPE())
    tokenizer.pre_tokenizer = ByteLevel(add_prefix_space=False, use_regex=False)
    trainer = BpeTrainer(
        vocab_size=640,
        initial_alphabet=ByteLevel.alphabet(),
        special_tokens=["<s>", "</s>"],
        show_progress=False,
    )
    tokenizer.train_from_iterator(TEXTS * 3, trainer)
    return json.loads(tokenizer.to_str())


def byte_level() -> dict[str, Any]:
    base = trained()
    ids: dict[str, list[list[int]]] = {}
    steps: dict[str, Any] = {}
    for name, (pre, ignore) in variants().items():
        content = {**base, "pre_tokenizer": pre, "model": {**base["model"], "ignore_merges": ignore}}
        tokenizer = Tokenizer.from_str(json.dumps(content))
        ids[name] = [tokenizer.encode(text, add_special_tokens=False).ids for text in TEXTS]
        steps[name] = {"pre_tokenizer": pre, "ignore_merges": ignore}
    return {"tokenizer": base, "variants": steps, "ids": ids}


def sentence_piece() -> dict[str, Any]:
    content = io.BytesIO()
    sentencepiece.SentencePieceTrainer.train(
        sentence_iterator=iter([text for text in TEXTS for _ in range(3)]),
        model_writer=content,
        vocab_size=420,
        model_type="bpe",
        byte_fallback=True,
        character_coverage=0.98,
        normalization_rule_name="identity",
        remove_extra_whitespaces=False,
        minloglevel=2,
    )
    processor = sentencepiece.SentencePieceProcessor(model_proto=content.getvalue())
    vocab = {processor.id_to_piece(n): n for n in range(processor.get_piece_size())}
    scores = [(processor.id_to_piece(n), processor.get_score(n)) for n in range(len(vocab))]
    merges = _merges(vocab, dict(scores))
    return {
        "model": base64.b64encode(content.getvalue()).decode(),
        "tokenizer": _tokenizer_json(vocab, merges),
        "ids": [processor.encode(text) for text in TEXTS],
    }


def _merges(vocab: dict[str, int], scores: dict[str, float]) -> list[list[str]]:
    """Every way to make a piece of two, best piece first: how transformers converts such a model."""
    ways: list[tuple[float, int, int, list[str]]] = []
    for piece in vocab:
        for place in range(1, len(piece)):
            first, second = piece[:place], piece[place:]
            if first in vocab and second in vocab:
                ways.append((-scores[piece], vocab[first], vocab[second], [first, second]))
    return [way[3] for way in sorted(ways, key=lambda way: way[:3])]


def _tokenizer_json(vocab: dict[str, int], merges: list[list[str]]) -> dict[str, Any]:
    prepend = {"type": "Prepend", "prepend": "▁"}
    replace = {"type": "Replace", "pattern": {"String": " "}, "content": "▁"}
    special = [{"id": n, "content": text, "special": True} for n, text in enumerate(("<unk>", "<s>", "</s>"))]
    added = [
        {**one, "single_word": False, "lstrip": False, "rstrip": False, "normalized": False}
        for one in special
    ]
    model = {"type": "BPE", "unk_token": "<unk>", "fuse_unk": True, "byte_fallback": True}
    return {
        "version": "1.0",
        "truncation": None,
        "padding": None,
        "added_tokens": added,
        "normalizer": {"type": "Sequence", "normalizers": [prepend, replace]},
        "pre_tokenizer": None,
        "post_processor": {
            "type": "TemplateProcessing",
            "single": [
                {"SpecialToken": {"id": "<s>", "type_id": 0}},
                {"Sequence": {"id": "A", "type_id": 0}},
            ],
            "pair": [],
            "special_tokens": {"<s>": {"id": "<s>", "ids": [1], "tokens": ["<s>"]}},
        },
        "decoder": None,
        "model": {**model, "vocab": vocab, "merges": merges},
    }


if __name__ == "__main__":
    pieces = sentence_piece()
    checked = Tokenizer.from_str(json.dumps(pieces["tokenizer"]))
    assert [checked.encode(text, add_special_tokens=False).ids for text in TEXTS] == pieces["ids"]
    content = {"texts": TEXTS, "byte_level": byte_level(), "sentence_piece": pieces}
    DATA.write_text(json.dumps(content, ensure_ascii=False) + "\n")
