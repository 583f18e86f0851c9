"""Families that write every argument in tags of its own, and Gemma's objects with bare keys."""

from __future__ import annotations

from agentkit_server.turn.syntaxes.styles.gemma import BareObject
from agentkit_server.turn.syntaxes.styles.tagged import Tagged
from agentkit_server.turn.syntaxes.syntax import Args, Calls, Gap, Lit, Name, Syntax


def _function_equals(opening: str, closing: str, style: Tagged) -> Calls:
    """`<function=name>` parameters `</function>` in tags of its own."""
    named = (Lit("<function="), Name(), Lit(">"), Gap("\n"), Args(), Gap(), Lit("</function>"))
    return Calls(style=style, call=(Lit(opening), Gap("\n"), *named, Gap("\n"), Lit(closing)))


QWEN_CODER = Syntax(
    name="qwen3-coder",
    calls=_function_equals(
        "<tool_call>",
        "</tool_call>",
        Tagged(before="<parameter=", after=">\n", close="\n</parameter>", end="\n"),
    ),
)
"""Qwen3-Coder, Qwen 3.5, Nemotron 3, Step 3.5."""

SEED = Syntax(
    name="seed-oss",
    thinking=("<seed:think>", "</seed:think>"),
    calls=_function_equals(
        "<seed:tool_call>",
        "</seed:tool_call>",
        Tagged(before="<parameter=", after=">", close="</parameter>", end="\n"),
    ),
)
"""Seed-OSS 36B."""

GLM = Syntax(
    name="glm4",
    calls=Calls(
        style=Tagged(before="<arg_key>", after="</arg_key>\n<arg_value>", close="</arg_value>", end="\n"),
        call=(Lit("<tool_call>"), Name(), Lit("\n"), Args(), Gap(), Lit("</tool_call>")),
    ),
)
"""GLM 4.5 and 4.6."""

GLM_COMPACT = Syntax(
    name="glm4.7",
    calls=Calls(
        style=Tagged(before="<arg_key>", after="</arg_key><arg_value>", close="</arg_value>"),
        call=(Lit("<tool_call>"), Name(until="<"), Args(), Lit("</tool_call>")),
        between=(Gap(),),
    ),
)
"""GLM 4.7."""

LING = Syntax(
    name="ling3",
    calls=Calls(
        style=Tagged(before="<arg_key>", after="</arg_key>\n<arg_value>", close="</arg_value>"),
        call=(Lit("<tool_call>"), Name(), Lit("\n"), Args(), Gap("\n"), Lit("</tool_call>")),
    ),
)
"""Ling 3."""

MINIMAX_M2 = Syntax(
    name="minimax-m2",
    calls=Calls(
        style=Tagged(before='<parameter name="', after='">', close="</parameter>", end="\n"),
        opening=(Lit("<minimax:tool_call>"), Gap("\n")),
        call=(Lit('<invoke name="'), Name(), Lit('">'), Gap("\n"), Args(), Lit("</invoke>")),
        closing=(Gap("\n"), Lit("</minimax:tool_call>")),
    ),
)
"""MiniMax M2."""

HUNYUAN_3 = Syntax(
    name="hunyuan3",
    thinking=("<think:opensource>", "</think:opensource>"),
    calls=Calls(
        style=Tagged(
            before="<arg_key:opensource>",
            after="</arg_key:opensource>\n<arg_value:opensource>",
            close="</arg_value:opensource>",
            end="\n",
        ),
        opening=(Lit("<tool_calls:opensource>"), Gap("\n")),
        call=(
            Lit("<tool_call:opensource>"),
            Name(),
            Lit("<tool_sep:opensource>"),
            Gap("\n"),
            Args(),
            Lit("</tool_call:opensource>"),
        ),
        closing=(Gap("\n"), Lit("</tool_calls:opensource>")),
    ),
)
"""Hunyuan 3, as it was published."""

MINICPM = Syntax(
    name="minicpm5",
    calls=Calls(
        style=Tagged(before='<param name="', after='">', close="</param>", cdata=True),
        call=(Lit('<function name="'), Name(), Lit('">'), Gap(), Args(), Lit("</function>")),
    ),
)
"""MiniCPM 5."""


def _dsml(section: str) -> Calls:
    return Calls(
        style=Tagged(
            before='<｜DSML｜parameter name="',
            after={"string": '" string="true">', "other": '" string="false">'},
            close="</｜DSML｜parameter>",
            end="\n",
        ),
        opening=(Lit(f"<｜DSML｜{section}>"), Gap("\n")),
        call=(Lit('<｜DSML｜invoke name="'), Name(), Lit('">'), Gap("\n"), Args(), Lit("</｜DSML｜invoke>")),
        closing=(Gap("\n"), Lit(f"</｜DSML｜{section}>")),
    )


DEEPSEEK_V3_2 = Syntax(name="deepseek-v3.2", calls=_dsml("function_calls"))
"""DeepSeek V3.2."""

DEEPSEEK_V4 = Syntax(name="deepseek-v4", calls=_dsml("tool_calls"))
"""DeepSeek V4."""

GEMMA_4 = Syntax(
    name="gemma4",
    thinking=("<|channel>thought\n", "<channel|>"),
    calls=Calls(
        style=BareObject(quote='<|"|>'),
        call=(Lit("<|tool_call>"), Lit("call:"), Name(until="{"), Args(), Lit("<tool_call|>")),
        between=(),
    ),
)
"""Gemma 4."""

FUNCTION_GEMMA = Syntax(
    name="functiongemma",
    calls=Calls(
        style=BareObject(quote="<escape>"),
        call=(
            Lit("<start_function_call>"),
            Lit("call:"),
            Name(until="{"),
            Args(),
            Lit("<end_function_call>"),
        ),
        between=(),
    ),
)
"""FunctionGemma 270M."""
