"""Families whose call is one JSON object with a name and arguments, or a name and a JSON object."""

from __future__ import annotations

from agentkit_server.turn.syntaxes.styles.json import JSON
from agentkit_server.turn.syntaxes.syntax import Args, Calls, Gap, Id, Lit, Name, Node, Syntax


def json_key(key: str) -> tuple[Node, ...]:
    """`"key": `"""
    return (Lit(f'"{key}"'), Gap(), Lit(":"), Gap(" "))


COMMA: tuple[Node, ...] = (Gap(), Lit(","), Gap(" "))


def json_call(name: str = "name", arguments: str = "arguments") -> tuple[Node, ...]:
    """`{"name": …, "arguments": …}` under these keys."""
    named = (*json_key(name), Lit('"'), Name(json=True), Lit('"'))
    return (Lit("{"), Gap(), *named, *COMMA, *json_key(arguments), Args(), Gap(), Lit("}"))


def tagged(opening: str, closing: str, line: str = "\n") -> Calls:
    """A JSON call in tags of its own."""
    return Calls(style=JSON, call=(Lit(opening), Gap(line), *json_call(), Gap(line), Lit(closing)))


HERMES = Syntax(name="hermes", calls=tagged("<tool_call>", "</tool_call>"))
"""Hermes 2 and 3, Qwen 2.5 and 3, QwQ, SmolLM 3, Granite 4, Falcon, MiMo and whoever learned from them."""

LLAMA = Syntax(
    name="llama3",
    calls=Calls(
        style=JSON,
        call=json_call(arguments="parameters"),
        bare=True,
        tag="<|python_tag|>",
        parallel=False,
    ),
)
"""Llama 3.1 to 3.3: a bare object, which may follow `<|python_tag|>`; one call a turn."""

MISTRAL_ARGS = Syntax(
    name="mistral-args",
    calls=Calls(
        style=JSON,
        call=(Lit("[TOOL_CALLS]"), Name(), Lit("[ARGS]"), Gap(), Args()),
        between=(Gap(),),
    ),
)
"""Devstral, Ministral 3, Magistral and Mistral's models since mid 2025."""

MISTRAL_CALL_ID = Syntax(
    name="mistral-call-id",
    calls=Calls(
        style=JSON,
        call=(
            Lit("[TOOL_CALLS]"),
            Name(),
            Lit("[CALL_ID]"),
            Id("[a-zA-Z0-9]{9}", "000000000"),
            Lit("[ARGS]"),
            Gap(),
            Args(),
        ),
        between=(Gap(),),
    ),
)
"""Mistral Small 3.2."""

GIGACHAT = Syntax(
    name="gigachat3.1",
    calls=Calls(style=JSON, call=(Lit("<|function_call|>"), Gap(), *json_call()), parallel=False),
)
"""GigaChat 3.1: one call a turn."""

FUNCTIONARY = Syntax(
    name="functionary-v3.1",
    calls=Calls(style=JSON, call=(Lit("<function="), Name(), Lit(">"), Args(), Lit("</function>"))),
)
"""Functionary v3.1 on Llama 3."""

DEEPSEEK_R1 = Syntax(
    name="deepseek-r1",
    calls=Calls(
        style=JSON,
        opening=(Lit("<｜tool▁calls▁begin｜>"), Gap()),
        call=(
            Lit("<｜tool▁call▁begin｜>"),
            Lit("function<｜tool▁sep｜>"),
            Name(),
            Lit("\n"),
            Lit("```json\n"),
            Args(),
            Gap("\n"),
            Lit("```<｜tool▁call▁end｜>"),
        ),
        closing=(Gap(), Lit("<｜tool▁calls▁end｜>")),
    ),
)
"""DeepSeek V3 (0324) and R1."""

DEEPSEEK = Syntax(
    name="deepseek-v3.1",
    calls=Calls(
        style=JSON,
        opening=(Lit("<｜tool▁calls▁begin｜>"), Gap()),
        call=(
            Lit("<｜tool▁call▁begin｜>"),
            Name(),
            Lit("<｜tool▁sep｜>"),
            Gap(),
            Args(),
            Gap(),
            Lit("<｜tool▁call▁end｜>"),
        ),
        between=(Gap(),),
        closing=(Gap(), Lit("<｜tool▁calls▁end｜>")),
    ),
)
"""DeepSeek V3.1."""

KIMI_K2 = Syntax(
    name="kimi-k2",
    calls=Calls(
        style=JSON,
        opening=(Lit("<|tool_calls_section_begin|>"), Gap()),
        call=(
            Lit("<|tool_call_begin|>"),
            Gap(),
            Lit("functions."),
            Name(),
            Lit(":"),
            Id("[0-9]{1,4}", "0"),
            Gap(),
            Lit("<|tool_call_argument_begin|>"),
            Gap(),
            Args(),
            Gap(),
            Lit("<|tool_call_end|>"),
        ),
        between=(Gap(),),
        closing=(Gap(), Lit("<|tool_calls_section_end|>")),
    ),
)
"""Kimi K2."""
