from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from agentkit_server.models.model import Adapter, Model
from agentkit_server.models.modelfile import (
    AdapterLine,
    MessageLine,
    Modelfile,
    modelfile_of,
    parse,
    render,
    render_modelfile,
    render_parameters,
)
from agentkit_server.models.modelfile.parameters import DEPRECATED, KINDS
from agentkit_server.models.store import Store
from agentkit_server.turn.options import RETIRED, option_schemas


@pytest.fixture
def whole_model(store: Store, tiny: Path) -> Model:
    """A model that has everything."""
    return replace(
        store.link_file("mine", tiny),
        go_template="{{ .Prompt }}\n",
        system="Be brief.",
        parameters={"stop": ["<|im_end|>", 'say "x"'], "temperature": 0.5, "use_mmap": True},
        messages=({"role": "user", "content": "hi"},),
        license=("Apache-2.0", "and\nmore"),
        adapters=(Adapter(Path("/a/lora.gguf")), Adapter(Path("/a/half.gguf"), 0.5)),
        projectors=(Path("/a/mmproj.gguf"),),
        draft=Path("/a/draft.gguf"),
        renderer="qwen3",
        parser="qwen3",
        requires="0.14.0",
    )


def test_every_command_is_read() -> None:
    text = """\
# A comment
FROM ./model.gguf
FROM ./mmproj.gguf
ADAPTER ./lora.gguf
ADAPTER "./half a.gguf" scale=0.5
DRAFT ./draft.gguf
TEMPLATE {{ .Prompt }}
SYSTEM \"""You are brief.

# This is no comment.
\"""
PARAMETER temperature 0.5
PARAMETER stop "<|im_end|>"
PARAMETER stop User:
PARAMETER use_mmap false
PARAMETER num_ctx 4096
MESSAGE user Hello
MESSAGE assistant "Hi. "
LICENSE Apache-2.0
LICENSE "more"
RENDERER qwen3
PARSER qwen3
REQUIRES v0.14.0
"""
    assert parse(text) == Modelfile(
        from_=("./model.gguf", "./mmproj.gguf"),
        adapters=(AdapterLine("./lora.gguf"), AdapterLine("./half a.gguf", 0.5)),
        draft="./draft.gguf",
        template="{{ .Prompt }}",
        system="You are brief.\n\n# This is no comment.\n",
        parameters={
            "temperature": 0.5,
            "stop": ["<|im_end|>", "User:"],
            "use_mmap": False,
            "num_ctx": 4096,
        },
        messages=(MessageLine("user", "Hello"), MessageLine("assistant", "Hi. ")),
        license=("Apache-2.0", "more"),
        renderer="qwen3",
        parser="qwen3",
        requires="0.14.0",
    )


@pytest.mark.parametrize(
    ("written", "value"),
    [
        ("plain text", "plain text"),
        ("  plain text \t", "plain text"),
        ('it\'s "so" # here', 'it\'s "so" # here'),
        ('" kept "', " kept "),
        ('"say "x""', 'say "x"'),
        ('"two\nlines"', "two\nlines"),
        ('"one" or\n"two"', 'one" or\n"two'),
        ('"""a "quote""""', 'a "quote"'),
        ('"""a """ b"""', 'a """ b'),
        ('"""a\r\nb"""', "a\r\nb"),
        ('""""""', ""),
        ('""', ""),
        (" ", ""),
        ('json:"a\\n\\"\\"\\"\\nb"', 'a\n"""\nb'),
        ("json: {}", "json: {}"),
        ("'single'", "'single'"),
        ("a\\nb", "a\\nb"),
    ],
)
def test_a_value_is_read_as_ollama_reads_it(written: str, value: str) -> None:
    for line_end in ("\n", "\r\n", ""):
        assert parse(f"FROM x\nSYSTEM {written}{line_end}").system == value


def test_words_are_read_in_any_case_and_behind_blanks() -> None:
    modelfile = parse("\n\t from x\r\n  Parameter TEMPERATURE 1\n message User hi\n\n#end")
    assert modelfile == Modelfile(
        from_=("x",), parameters={"temperature": 1.0}, messages=(MessageLine("user", "hi"),)
    )


@pytest.mark.parametrize(
    ("line", "value"),
    [
        ("top_k 40", 40),
        ("seed -1", -1),
        ("num_ctx +8", 8),
        ("temperature 1", 1.0),
        ("top_p .9", 0.9),
        ("min_p 5e-2", 0.05),
        ("use_mmap TRUE", True),
        ("use_mmap 0", False),
        ("stop a b", ["a b"]),
        ('temperature "0.5"', 0.5),
    ],
)
def test_a_parameter_has_its_type(line: str, value: Any) -> None:
    [read] = parse(f"FROM x\nPARAMETER {line}").parameters.values()
    assert read == value
    assert type(read) is type(value)


def test_the_parameters_are_the_options_of_a_request() -> None:
    schemas = {name: schema["anyOf"][0]["type"] for name, schema in option_schemas().items()}
    strings = {name: "array" if kind == "strings" else kind for name, kind in KINDS.items()}
    assert strings == {**schemas, "draft_num_predict": "integer"}
    assert RETIRED - {"draft_num_predict"} == DEPRECATED


def test_what_has_no_effect_is_a_warning_at_its_place() -> None:
    modelfile = parse(
        "FROM x\nPARAMETER use_mlock true\nSYSTEM a\nSYSTEM b\nPARAMETER top_k 1\nPARAMETER top_k 2"
    )
    assert modelfile.warnings == (
        "(line 2, column 21): the parameter use_mlock is deprecated and left out",
        "(line 4, column 8): this SYSTEM replaces the one above it",
        "(line 6, column 17): this top_k replaces the one above it",
    )
    assert (modelfile.system, modelfile.parameters) == ("b", {"top_k": 2})


def test_a_quote_that_seems_to_be_missing_is_a_warning() -> None:
    text = 'FROM x\nSYSTEM "Be brief.\nPARAMETER top_k 1\nFrom here on\nPARAMETER stop "a"'
    modelfile = parse(text)
    assert modelfile.warnings == (
        "(line 2, column 8): the text in quotes has the line 'PARAMETER top_k 1'; is a quote missing above?",
        "(line 2, column 8): the text in quotes has the line 'PARAMETER stop \"a'; is a quote missing above?",
    )
    assert parse(render(replace(modelfile))).warnings == ()


def test_an_error_of_a_later_reader_has_the_place_of_the_value() -> None:
    modelfile = parse("FROM x\nFROM  ./y\nADAPTER z")
    assert modelfile.error("no such file", "from", 1).message == "(line 2, column 7): no such file"
    assert modelfile.error("no such file", "adapter").line == 3


def test_a_modelfile_has_what_the_model_is_made_of(whole_model: Model, tiny: Path) -> None:
    lines = render_modelfile(whole_model).splitlines()
    assert "# FROM mine:latest" in lines
    assert lines[lines.index(f"FROM {tiny}") :] == [
        f"FROM {tiny}",
        "FROM /a/mmproj.gguf",
        "ADAPTER /a/lora.gguf",
        "ADAPTER /a/half.gguf scale=0.5",
        "DRAFT /a/draft.gguf",
        'TEMPLATE """{{ .Prompt }}',
        '"""',
        'SYSTEM "Be brief."',
        'PARAMETER stop "<|im_end|>"',
        'PARAMETER stop """say "x""""',
        "PARAMETER temperature 0.5",
        "PARAMETER use_mmap true",
        'MESSAGE user "hi"',
        'LICENSE "Apache-2.0"',
        'LICENSE """and',
        'more"""',
        "RENDERER qwen3",
        "PARSER qwen3",
        "REQUIRES 0.14.0",
    ]


def test_the_modelfile_of_a_model_reads_back_as_the_model(whole_model: Model) -> None:
    assert parse(render_modelfile(whole_model)) == modelfile_of(whole_model)
    assert parse(render(modelfile_of(whole_model))) == modelfile_of(whole_model)


def test_what_a_modelfile_cannot_say_is_a_comment_in_it(whole_model: Model) -> None:
    model = replace(
        whole_model,
        parameters={"num_gqa\nSYSTEM": 8, "top_k": "a\nb", "top_p": 1, "stop": "x", "use_mlock": True},
        messages=({"role": "tool", "content": "3"}, {"role": "user", "content": "hi"}),
        requires=">=0.3\nSYSTEM",
    )
    text = render_modelfile(model)
    assert text.splitlines()[-5:] == [
        "# not a parameter of this version: 'num_gqa\\nSYSTEM': 8",
        "# not a parameter of this version: 'top_k': 'a\\nb'",
        "# not a parameter of this version: 'use_mlock': True",
        "# not a version that is required: '>=0.3\\nSYSTEM'",
        "# a message in the role 'tool', which MESSAGE does not have",
    ]
    read = parse(text)
    assert read.parameters == {"top_p": 1.0, "stop": ["x"]}
    assert read.messages == (MessageLine("user", "hi"),)
    assert read.requires is None


def test_parameters_are_aligned_one_value_a_line() -> None:
    text = render_parameters({"stop": ["a", "b"], "top_k": 3})
    assert text.splitlines() == [f'{"stop":<30} "a"', f'{"stop":<30} "b"', f"{'top_k':<30} 3"]
