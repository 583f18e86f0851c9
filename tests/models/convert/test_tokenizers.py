"""Imported tokenizers cut texts as the original libraries do, and what llama.cpp could not do is refused."""

from __future__ import annotations

import base64
import json
import struct
from pathlib import Path
from typing import Any

import pytest
from support import tiny_hf
from support.conversion import converted, loaded

from agentkit_server.errors import ConversionError
from agentkit_server.models.convert.files import Fields
from agentkit_server.models.convert.special import read_special, read_templates
from agentkit_server.models.convert.tokenizer import read_vocabulary
from agentkit_server.models.gguf import read_gguf

# How they were made: make_tokenizer_reference.py.
REFERENCE = json.loads((Path(__file__).parent / "data" / "tokenizers.json").read_text())
BYTE_LEVEL, PIECES = REFERENCE["byte_level"], REFERENCE["sentence_piece"]
ENDS = {"bos_token": "<s>", "eos_token": "</s>"}


def tokens(folder: Path, files: dict[str, Path], *, add_special: bool = False) -> list[list[int]]:
    converted(files, folder / "model.gguf")
    context = loaded(folder / "model.gguf")
    try:
        cut = context.vocabulary.tokenize
        return [cut(text, add_special=add_special, parse_special=True) for text in REFERENCE["texts"]]
    finally:
        context.free()


def folder_of(folder: Path, tokenizer: dict[str, Any] | None, size: int, **config: Any) -> dict[str, Path]:
    """A tiny Llama with this tokenizer.json; `config` are keys of tokenizer_config.json."""
    tiny_hf.write_folder(folder, "LlamaForCausalLM", vocab_size=size)
    tiny_hf.write_json(folder / "tokenizer_config.json", {**ENDS, **config})
    if tokenizer is None:
        (folder / "tokenizer.json").unlink()
    else:
        tiny_hf.write_json(folder / "tokenizer.json", tokenizer)
    return tiny_hf.files_of(folder)


def byte_level(variant: str) -> dict[str, Any]:
    steps, base = BYTE_LEVEL["variants"][variant], BYTE_LEVEL["tokenizer"]
    model = {**base["model"], "ignore_merges": steps["ignore_merges"]}
    return {**base, "pre_tokenizer": steps["pre_tokenizer"], "model": model}


@pytest.mark.parametrize("variant", BYTE_LEVEL["variants"])
def test_byte_level_bpe_is_cut_as_by_the_original(variant: str, tmp_path: Path) -> None:
    found, expected = (
        tokens(tmp_path, folder_of(tmp_path, byte_level(variant), 640)),
        BYTE_LEVEL["ids"][variant],
    )
    if variant in ("tekken", "gpt-4o"):
        # llama.cpp's expressions for these know no capitals beyond those of ASCII, and no marks.
        found, expected = found[:-1], expected[:-1]
    assert found == expected
    assert read_gguf(tmp_path / "model.gguf").metadata["tokenizer.ggml.pre"] == variant


def test_the_samples_tell_the_ways_apart() -> None:
    ids = {variant: json.dumps(found) for variant, found in BYTE_LEVEL["ids"].items()}
    # These two differ only in words that are tokens and cannot be merged.
    assert ids.pop("dbrx") == ids["llama-bpe"]
    assert len(set(ids.values())) == len(ids)


@pytest.mark.parametrize("original", ["tokenizer.json", "tokenizer.model"])
def test_sentence_piece_is_cut_as_by_the_original(original: str, tmp_path: Path) -> None:
    files = folder_of(tmp_path, PIECES["tokenizer"] if original == "tokenizer.json" else None, 420)
    if original == "tokenizer.model":
        (tmp_path / original).write_bytes(base64.b64decode(PIECES["model"]))
        files = tiny_hf.files_of(tmp_path)
    assert tokens(tmp_path, files) == PIECES["ids"]
    assert tokens(tmp_path, files, add_special=True) == [[1, *ids] for ids in PIECES["ids"]]
    metadata = read_gguf(tmp_path / "model.gguf").metadata
    assert (metadata["tokenizer.ggml.model"], metadata["tokenizer.ggml.add_space_prefix"]) == ("llama", True)
    assert list(metadata["tokenizer.ggml.token_type"])[:4] == [2, 3, 3, 6]


def test_both_files_of_a_sentence_piece_give_the_same_order_of_scores(tmp_path: Path) -> None:
    (tmp_path / "tokenizer.model").write_bytes(base64.b64decode(PIECES["model"]))
    model = read_vocabulary(tiny_hf.files_of(tmp_path), 420)
    tiny_hf.write_json(tmp_path / "tokenizer.json", PIECES["tokenizer"])
    tokenizer = read_vocabulary(tiny_hf.files_of(tmp_path), 420)
    assert tokenizer.texts == model.texts and tokenizer.types == model.types
    merged = [n for n in range(259, 420) if len(model.texts[n] or "") > 1]
    assert sorted(merged, key=lambda n: tokenizer.scores[n]) == sorted(merged, key=lambda n: model.scores[n])


def test_added_tokens_are_control_tokens_or_texts_of_their_own(tmp_path: Path) -> None:
    tokenizer = tiny_hf.byte_level_tokenizer()
    added = [("<|tool|>", False), ("<think>", False), ("<end>", True)]
    tokenizer["added_tokens"] += [
        {"id": 64 + n, "content": text, "special": special} for n, (text, special) in enumerate(added)
    ]
    files = folder_of(tmp_path, tokenizer, 70)
    converted(files, tmp_path / "model.gguf")
    metadata = read_gguf(tmp_path / "model.gguf").metadata
    assert metadata["tokenizer.ggml.tokens"][64:] == [
        "<|tool|>",
        "<think>",
        "<end>",
        "[PAD67]",
        "[PAD68]",
        "[PAD69]",
    ]
    # What looks special is, whatever the file says; what nobody wrote is unused.
    assert metadata["tokenizer.ggml.token_type"][64:] == [3, 4, 3, 5, 5, 5]


def test_tokens_without_a_row_in_the_embedding_are_left_out_and_told(tmp_path: Path) -> None:
    tokenizer = tiny_hf.byte_level_tokenizer()
    tokenizer["added_tokens"].append({"id": 64, "content": "<image>", "special": True})
    done = converted(folder_of(tmp_path, tokenizer, 64), tmp_path / "model.gguf")
    assert done.notes == ("1 tokens have no row in the embedding and are left out",)


@pytest.mark.parametrize("phi", [True, False])
def test_white_space_beside_a_token_is_removed_where_llama_cpp_can(phi: bool, tmp_path: Path) -> None:
    tokenizer = json.loads(json.dumps(PIECES["tokenizer"]))
    added = ["<|endoftext|>", "<|assistant|>" if phi else "<|user|>", "<|end|>"]
    tokenizer["added_tokens"] += [
        {"id": 420 + n, "content": text, "special": True, "rstrip": n > 0} for n, text in enumerate(added)
    ]
    done = converted(folder_of(tmp_path, tokenizer, 423), tmp_path / "model.gguf")
    context = loaded(tmp_path / "model.gguf")
    found = context.vocabulary.tokenize("<|end|>  x", add_special=False, parse_special=True)
    context.free()
    bare = [piece for piece in found if piece != 422]
    if phi:
        # It is known by its name, and the space before a word is SentencePiece's own.
        assert read_gguf(tmp_path / "model.gguf").metadata["general.name"] == "Phi-3"
        assert (done.notes, len(bare)) == ((), 1)
    else:
        assert done.notes == (
            f"white space beside {added[1]!r}, '<|end|>' is kept, where transformers removes it",
        )
        assert len(bare) > 1


def test_every_way_to_end_an_answer_is_kept(tmp_path: Path) -> None:
    files = folder_of(tmp_path, tiny_hf.byte_level_tokenizer(), 64)
    tiny_hf.write_json(tmp_path / "generation_config.json", {"eos_token_id": [1, 40, 41]})
    converted(tiny_hf.files_of(tmp_path), tmp_path / "model.gguf")
    context = loaded(tmp_path / "model.gguf")
    assert files and context.vocabulary.eog == {1, 40, 41}
    context.free()


@pytest.mark.parametrize(
    ("config", "processor", "expected"),
    [
        ({}, None, (False, False)),
        ({"add_bos_token": True, "add_eos_token": True}, None, (True, True)),
        ({}, ["<s>", None], (True, False)),
        ({}, ["<s>", None, "</s>"], (True, True)),
        ({"add_bos_token": False}, ["<s>", None], (False, False)),
    ],
)
def test_what_is_put_around_a_prompt(
    config: dict[str, Any], processor: list[str | None] | None, expected: tuple[bool, bool], tmp_path: Path
) -> None:
    tokenizer = tiny_hf.byte_level_tokenizer()
    if processor is not None:
        tokenizer["post_processor"] = template(*processor)
    converted(folder_of(tmp_path, tokenizer, 64, **config), tmp_path / "model.gguf")
    metadata = read_gguf(tmp_path / "model.gguf").metadata
    found = (metadata["tokenizer.ggml.add_bos_token"], metadata["tokenizer.ggml.add_eos_token"])
    assert found == expected


def template(*parts: str | None) -> dict[str, Any]:
    single = [{"SpecialToken": {"id": part}} if part else {"Sequence": {"id": "A"}} for part in parts]
    return {"type": "Sequence", "processors": [{"type": "TemplateProcessing", "single": single}]}


def test_ids_of_config_json_count_where_no_tokenizer_file_names_a_token(tmp_path: Path) -> None:
    files = folder_of(
        tmp_path, tiny_hf.byte_level_tokenizer(), 64, eos_token=None, bos_token={"content": "A"}
    )
    vocabulary = read_vocabulary(files, 64)
    special = read_special(
        files, Fields({"eos_token_id": [7, 40], "bos_token_id": 5}, "config.json"), vocabulary
    )
    assert special["tokenizer.ggml.bos_token_id"] == vocabulary.ids["A"]
    assert (special["tokenizer.ggml.eos_token_id"], special["tokenizer.ggml.eot_token_id"]) == (7, 40)


def test_chat_templates_come_from_whichever_file_has_them(tmp_path: Path) -> None:
    several = [{"name": "default", "template": "one"}, {"name": "tool_use", "template": "two"}]
    tiny_hf.write_json(tmp_path / "tokenizer_config.json", {"chat_template": several})
    tiny_hf.write_json(tmp_path / "chat_template.json", {"chat_template": "three"})
    assert read_templates(tiny_hf.files_of(tmp_path)) == {"default": "one", "tool_use": "two"}
    (tmp_path / "tokenizer_config.json").unlink()
    assert read_templates(tiny_hf.files_of(tmp_path)) == {"default": "three"}
    (tmp_path / "chat_template.jinja").write_text("four")
    (tmp_path / "additional_chat_templates").mkdir()
    (tmp_path / "additional_chat_templates" / "rag.jinja").write_text("five")
    files = tiny_hf.write_folder(tmp_path, "LlamaForCausalLM")
    assert converted(files, tmp_path / "model.gguf").chat_template == "four"
    metadata = read_gguf(tmp_path / "model.gguf").metadata
    assert metadata["tokenizer.chat_template"] == "four"
    assert metadata["tokenizer.chat_template.rag"] == "five"


REFUSED: dict[str, tuple[dict[str, Any], str]] = {
    "unigram": ({"model": {"type": "Unigram", "vocab": [["a", 0.0]]}}, "'Unigram'; BPE and WordPiece can"),
    "no model": ({"model": None}, "has no model"),
    "unknown cut": ({"pre_tokenizer": {"type": "Whitespace"}}, r"\[\('Whitespace',\)\].*is none of those"),
    "unknown regex": (
        {
            "pre_tokenizer": {
                "type": "Sequence",
                "pretokenizers": [
                    {"type": "Split", "pattern": {"Regex": "x+"}, "behavior": "Isolated"},
                    {"type": "ByteLevel", "add_prefix_space": False, "use_regex": False},
                ],
            }
        },
        "is none of those that are known .*qwen2",
    ),
    "no cut": ({"pre_tokenizer": None}, "is none of those"),
    "normalizer": ({"normalizer": {"type": "Lowercase"}}, "the normalizer 'Lowercase' cannot"),
    "odd template": ({"post_processor": template("A", None)}, r"puts \['A'\] before"),
    "template without text": ({"post_processor": template("<s>")}, "no place for the text"),
    "odd processor": ({"post_processor": {"type": "RobertaProcessing"}}, "'RobertaProcessing' cannot"),
    "id that is none": ({"added_tokens": [{"id": "7", "content": "x"}]}, "id is '7' where a whole number"),
    "half a character": ({"added_tokens": [{"id": 7, "content": "\ud800"}]}, "half a character"),
    "twice": ({"added_tokens": [{"id": 9, "content": "A"}]}, "'A' is there twice"),
}


@pytest.mark.parametrize("name", REFUSED)
def test_a_tokenizer_that_llama_cpp_has_not_is_refused(name: str, tmp_path: Path) -> None:
    change, why = REFUSED[name]
    files = folder_of(tmp_path, {**tiny_hf.byte_level_tokenizer(), **change}, 64)
    with pytest.raises(ConversionError, match=why):
        converted(files, tmp_path / "model.gguf")


@pytest.mark.parametrize(
    ("change", "why"),
    [
        ({"vocab": {"A": 1.5}}, "has no number as its id"),
        ({"vocab": {"A": 1, "B": 1}}, "two tokens have the same id"),
        ({"vocab": {}}, "has no vocab"),
        ({"merges": []}, "has no merges"),
        ({"merges": ["A"]}, "'A' is no pair"),
        ({"merges": [["A", 3]]}, "is no pair of texts"),
        ({"merges": [["A ", "B"]]}, "has a space"),
        ({"merges": [["A", "\ud800"]]}, r"half a character is in 'A \\ud800'"),
        ({"merges": {"A": "B"}}, "where a list belongs"),
        ({"end_of_word_suffix": "</w>"}, "end_of_word_suffix '</w>' cannot"),
        ({"ignore_merges": True}, "with ignore_merges True is none"),
    ],
)
def test_a_damaged_vocabulary_is_refused(change: dict[str, Any], why: str, tmp_path: Path) -> None:
    tokenizer = tiny_hf.byte_level_tokenizer()
    tokenizer["model"] |= change
    tokenizer["pre_tokenizer"] = {"type": "Sequence", "pretokenizers": [
        {"type": "Digits", "individual_digits": True}, tokenizer["pre_tokenizer"]]}  # fmt: skip
    with pytest.raises(ConversionError, match=why):
        converted(folder_of(tmp_path, tokenizer, 64), tmp_path / "model.gguf")


@pytest.mark.parametrize("part", [("normalizer", "normalizers"), ("pre_tokenizer", "pretokenizers")])
def test_steps_within_steps_are_read_however_deep(part: tuple[str, str], tmp_path: Path) -> None:
    tokenizer = tiny_hf.byte_level_tokenizer()
    key, inside = part
    inner = tokenizer[key]
    for _ in range(300):
        inner = {"type": "Sequence", inside: [inner] if inner else []}
    tokenizer[key] = inner
    assert read_vocabulary(folder_of(tmp_path, tokenizer, 64), 64).pre == "gpt-2"


def test_a_model_that_does_not_say_where_a_text_ends_is_refused(tmp_path: Path) -> None:
    tiny_hf.write_folder(tmp_path, "LlamaForCausalLM", eos_token_id=None)
    tiny_hf.write_json(tmp_path / "tokenizer_config.json", {})
    with pytest.raises(ConversionError, match="which token ends a text"):
        converted(tiny_hf.files_of(tmp_path), tmp_path / "model.gguf")


def test_a_chat_template_with_half_a_character_is_refused(tmp_path: Path) -> None:
    tiny_hf.write_folder(tmp_path, "LlamaForCausalLM")
    tiny_hf.write_json(tmp_path / "tokenizer_config.json", {**ENDS, "chat_template": "Say \udc00!"})
    with pytest.raises(ConversionError, match=r"half a character is in 'Say \\udc00!'"):
        converted(tiny_hf.files_of(tmp_path), tmp_path / "model.gguf")


def test_a_score_that_llama_cpp_cannot_hold_is_refused(tmp_path: Path) -> None:
    folder_of(tmp_path, None, 420)
    piece = b"\x0a\x01a\x11" + struct.pack("<d", 1e300)
    (tmp_path / "tokenizer.model").write_bytes(b"\x0a" + bytes([len(piece)]) + piece)
    files = tiny_hf.files_of(tmp_path)
    with pytest.raises(ConversionError, match="cannot be read as SentencePiece: piece 0 is"):
        read_vocabulary(files, 420)


def test_a_damaged_tokenizer_model_is_refused(tmp_path: Path) -> None:
    whole = base64.b64decode(PIECES["model"])
    files = folder_of(tmp_path, None, 420)
    with pytest.raises(ConversionError, match=r"neither tokenizer.json nor tokenizer.model"):
        converted(files, tmp_path / "model.gguf")
    for place in range(0, len(whole), 97):
        (tmp_path / "tokenizer.model").write_bytes(whole[:place])
        with pytest.raises(ConversionError, match="cannot be read as SentencePiece"):
            read_vocabulary(tiny_hf.files_of(tmp_path), 420)
