"""Families whose thoughts, answer and calls are messages or blocks, each with a header of its own."""

from __future__ import annotations

from agentkit_server.turn.syntaxes.styles.json import JSON
from agentkit_server.turn.syntaxes.styles.tagged import Tagged
from agentkit_server.turn.syntaxes.syntax import Args, Calls, Gap, Id, Lit, Name, NameAgain, Syntax

HARMONY = Syntax(
    name="harmony",
    thinking=("<|channel|>analysis<|message|>", "<|end|>"),
    resume="<|start|>assistant",
    repeats=True,
    aside=("<|channel|>commentary<|message|>", "<|end|>"),
    calls=Calls(
        style=JSON,
        call=(
            Lit("<|channel|>commentary to=functions."),
            Name(),
            Lit(" <|constrain|>json<|message|>"),
            Args(),
        ),
        parallel=False,
    ),
    answer=("<|channel|>final<|message|>", ""),
)
"""gpt-oss: one call a turn. Generation ends with `<|call|>` or `<|return|>`, which are not written here."""

SOLAR = Syntax(
    name="solar-open",
    thinking=("<|think|>", "<|end|>"),
    resume="<|begin|>assistant",
    calls=Calls(
        style=JSON,
        opening=(Lit("<|tool_calls|>"),),
        call=(
            Lit("<|tool_call:begin|>"),
            Id("[a-zA-Z0-9_-]{1,40}", "call_0"),
            Lit("<|tool_call:name|>"),
            Name(),
            Lit("<|tool_call:args|>"),
            Args(),
            Lit("<|tool_call:end|>"),
        ),
        between=(),
    ),
    answer=("<|content|>", ""),
)
"""Solar Open 100B. Generation ends with `<|calls|>` or `<|end|>`."""

MUSE = Syntax(
    name="muse",
    thinking=("to=self<|message|>", "<|eom|>"),
    resume="<|start|>assistant",
    repeats=True,
    calls=Calls(
        style=Tagged(before='<atem:parameter name="', after='">', close="</atem:parameter>", end="\n"),
        call=(
            Gap(" "),
            Lit("to="),
            Name(),
            Lit("<|message|>"),
            Lit('<atem:function_calls>\n<atem:invoke name="'),
            NameAgain(),
            Lit('">\n'),
            Args(),
            Lit("</atem:invoke>\n</atem:function_calls>"),
        ),
        between=(Lit("<|eom|><|start|>assistant"),),
    ),
    answer=("to=user<|message|>", ""),
)
"""Muse Glimmer: a message names its recipient."""

FUNCTIONARY_3_2 = Syntax(
    name="functionary-v3.2",
    calls=Calls(style=JSON, call=(Name(), Lit("\n"), Args()), between=(Lit(">>>"),)),
    answer=("all\n", ""),
)
"""Functionary v3.2: the template writes the first `>>>`, the model to whom it speaks."""

KIMI_K3 = Syntax(
    name="kimi-k3",
    thinking=("<|open|>think<|sep|>", "<|close|>think<|sep|>"),
    calls=Calls(
        style=Tagged(
            before='<|open|>argument key="',
            after={
                kind: f'" type="{kind}"<|sep|>'
                for kind in ("null", "boolean", "number", "string", "array", "object")
            },
            close="<|close|>argument<|sep|>",
        ),
        opening=(Lit("<|open|>tools<|sep|>"), Gap()),
        call=(
            Lit('<|open|>call tool="'),
            Name(),
            Lit('" index="'),
            Id("[0-9]{1,3}", "1"),
            Lit('"<|sep|>'),
            Args(),
            Lit("<|close|>call<|sep|>"),
        ),
        between=(),
        closing=(Lit("<|close|>tools<|sep|>"),),
    ),
    answer=("<|open|>response<|sep|>", "<|close|>response<|sep|>"),
    answer_always=False,
)
"""Kimi K3: calls come behind the answer, which may be empty; the template may have begun it."""
