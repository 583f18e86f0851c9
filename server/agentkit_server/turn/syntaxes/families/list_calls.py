"""Families whose calls stand in a list between marks: JSON objects, Python calls."""

from __future__ import annotations

from agentkit_server.turn.syntaxes.families.json_calls import COMMA, json_call, json_key
from agentkit_server.turn.syntaxes.styles.json import JSON
from agentkit_server.turn.syntaxes.styles.python import PYTHON
from agentkit_server.turn.syntaxes.syntax import Args, Calls, Gap, Id, Lit, Maybe, Name, Node, Syntax


def _with_id(pattern: str, typical: str) -> tuple[Node, ...]:
    """A JSON call that may end in an id."""
    id = Maybe(
        (Lit(","), Gap(" "), Lit('"id"'), Gap(), Lit(":"), Gap(" "), Lit('"'), Id(pattern, typical), Lit('"'))
    )
    return (*json_call()[:-1], id, Gap(), Lit("}"))


def _listed(opening: str, call: tuple[Node, ...], closing: str = "", *, line: str = "") -> Calls:
    """A JSON list of calls in marks of its own, each on a line of its own behind `line`."""
    end: tuple[Node, ...] = (Gap(), Lit(closing)) if closing else ()
    return Calls(
        style=JSON,
        opening=(Lit(opening), Gap(), Lit("["), Gap(line)),
        call=call,
        between=(Gap(), Lit(","), Gap(line or " ")),
        closing=(Gap(line[:1]), Lit("]"), *end),
    )


MISTRAL_LIST = Syntax(name="mistral", calls=_listed("[TOOL_CALLS]", _with_id("[a-zA-Z0-9]{9}", "000000000")))
"""Mistral 7B v0.3, Nemo, Small 2409, Large 2407: ids have nine characters."""

GRANITE = Syntax(
    name="granite3",
    calls=_listed("<|tool_call|>", json_call()),
    answer=("<response>", "</response>"),
    answer_always=False,
)
"""Granite 3: with thoughts, the answer has marks too."""

PHI_4_MINI = Syntax(name="phi4", calls=_listed("<|tool_call|>", json_call(), "<|/tool_call|>"))
"""Phi 4 mini."""

NEMOTRON = Syntax(name="nemotron", calls=_listed("<TOOLCALL>", json_call(), "</TOOLCALL>"))
"""Nemotron Nano 9B v2, Llama Nemotron."""

APRIEL = Syntax(
    name="apriel",
    thinking=("Here are my reasoning steps:", "[BEGIN FINAL RESPONSE]"),
    calls=_listed("<tool_calls>", _with_id('[^"\\\\]{1,40}', "call_0"), "</tool_calls>"),
    answer=("", "[END FINAL RESPONSE]"),
    answer_always=False,
)
"""Apriel 1.5 and 1.6, whose template begins the thoughts."""

HUNYUAN = Syntax(name="hunyuan", calls=_listed("<tool_calls>", json_call(), "</tool_calls>"))
"""Hunyuan A13B and its smaller siblings."""

MINIMAX_M1 = Syntax(
    name="minimax-m1",
    calls=Calls(
        style=JSON,
        opening=(Lit("<tool_calls>"), Gap("\n")),
        call=json_call(),
        closing=(Gap("\n"), Lit("</tool_calls>")),
    ),
)
"""MiniMax M1: an object a line."""

FIREFUNCTION = Syntax(
    name="firefunction",
    calls=Calls(
        style=JSON,
        opening=(Lit("functools["), Gap()),
        call=json_call(),
        between=COMMA,
        closing=(Gap(), Lit("]")),
    ),
)
"""Firefunction v2."""

APERTUS = Syntax(
    name="apertus",
    thinking=("<|inner_prefix|>", "<|inner_suffix|>"),
    calls=_listed(
        "<|tools_prefix|>",
        (
            Lit("{"),
            Gap(),
            Lit('"'),
            Name(json=True),
            Lit('"'),
            Gap(),
            Lit(":"),
            Gap(" "),
            Args(),
            Gap(),
            Lit("}"),
        ),
        "<|tools_suffix|>",
    ),
)
"""Apertus: the name is the key of the arguments."""

_COHERE_CALL: tuple[Node, ...] = (
    Lit("{"),
    Gap(),
    *json_key("tool_call_id"),
    Lit('"'),
    Id("[0-9]{1,4}", "0"),
    Lit('"'),
    *COMMA,
    *json_call("tool_name", "parameters")[2:],
)

COMMAND_R7B = Syntax(
    name="command-r7b",
    thinking=("<|START_THINKING|>", "<|END_THINKING|>"),
    calls=_listed("<|START_ACTION|>", _COHERE_CALL, "<|END_ACTION|>", line="\n    "),
    answer=("<|START_RESPONSE|>", "<|END_RESPONSE|>"),
    answer_always=False,
)
"""Command R7B, Command A."""

COHERE_2 = Syntax(
    name="cohere2",
    thinking=("<|START_THINKING|>", "<|END_THINKING|>"),
    calls=_listed("<|START_ACTION|>", _COHERE_CALL, "<|END_ACTION|>", line="\n    "),
    answer=("<|START_TEXT|>", "<|END_TEXT|>"),
    answer_always=False,
)
"""Cohere's models since Cohere 2 MoE."""

COMMAND_R = Syntax(
    name="command-r",
    calls=Calls(
        style=JSON,
        opening=(Lit("Action: ```json"), Gap("\n"), Lit("["), Gap("\n    ")),
        call=json_call("tool_name", "parameters"),
        between=(Gap(), Lit(","), Gap("\n    ")),
        closing=(Gap("\n"), Lit("]"), Gap(), Lit("```")),
    ),
)
"""Command R and R+."""

LFM2 = Syntax(
    name="lfm2",
    calls=Calls(
        style=PYTHON,
        opening=(Lit("<|tool_call_start|>"), Gap(), Lit("["), Gap()),
        call=(Name(), Lit("("), Args(), Lit(")")),
        between=COMMA,
        closing=(Gap(), Lit("]"), Gap(), Lit("<|tool_call_end|>")),
    ),
)
"""LFM2 and LFM2.5: a Python list of calls."""

OLMO_3 = Syntax(
    name="olmo3",
    calls=Calls(
        style=PYTHON,
        opening=(Lit("<function_calls>"), Gap("\n")),
        call=(Name(), Lit("("), Args(), Lit(")")),
        closing=(Gap("\n"), Lit("</function_calls>")),
    ),
)
"""OLMo 3: a Python call a line."""
