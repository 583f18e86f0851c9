"""Finding out what a template understands: small conversations with words that occur nowhere else are
rendered, and what comes out is compared. Nothing here knows a template by its name.

A probe is a few dozen renderings of a few messages; a caller bounds its time (template.py).
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import product
from typing import Any, Literal

from agentkit_server.turn.conversation.conversation import Conversation, prepare
from agentkit_server.turn.conversation.source import Words
from agentkit_server.turn.conversation.switches import flags, switches
from agentkit_server.turn.conversation.traits import IN_CONTENT, CallForm, Switch, TemplateTraits, Think
from agentkit_server.turn.types import Tool

Message = dict[str, Any]

_SYSTEM, _MORE, _ASK, _ANSWER, _AGAIN = "qzsystem", "qzmore", "qzask", "qzanswer", "qzagain"
_THOUGHT, _RESULT, _OTHER_RESULT = "qzthought", "qzresult", "qzother"
_CALLED, _OTHER_CALLED = "qzcalled", "qzcalledtoo"
_ARGUMENTS: Mapping[str, Any] = {"qzkey": {"qzinner": "qzvalue", "qzflag": True}}
_ID, _OTHER_ID = "call_qz0000000000000000000001", "call_qz0000000000000000000002"
_TOOL = Tool(
    name=_CALLED,
    description="qzdescription",
    parameters={
        "type": "object",
        "properties": {"qzkey": {"type": "string", "description": "qzmeaning"}},
        "required": ["qzkey"],
    },
)
_OTHER_TOOL = replace(_TOOL, name=_OTHER_CALLED)

# Arguments come out spoilt when they were encoded twice or written as a Python value.
_SPOILT = re.compile(r"""\\+"qz|&#34;qz|'qz(key|inner)'\s*:""")
# A list of parts that was written as it is, by a template that takes no parts.
_LISTED = re.compile(r"""['"]thinking\\?['"]\s*:""")
_UNKNOWN_ROLE = "qzrole"
_Ids = Literal["any", "short", "named", "named anew"]
_CALL_IDS: tuple[_Ids, ...] = ("any", "short", "named")
_CALL_FORMS = [
    CallForm(arguments=arguments, ids=ids, empty_content=content)
    for ids, arguments, content in product(_CALL_IDS, ("object", "text", "values"), ("", None))
]

Render = Callable[[Mapping[str, Any]], str]


def system(content: str) -> Message:
    return {"role": "system", "content": content}


def user(content: str) -> Message:
    return {"role": "user", "content": content}


def assistant(content: str, *calls: Message, thinking: str = "") -> Message:
    return {"role": "assistant", "content": content, "thinking": thinking, "tool_calls": list(calls)}


def call(name: str, id: str, arguments: Any = _ARGUMENTS) -> Message:
    return {"id": id, "type": "function", "function": {"name": name, "arguments": arguments}}


def result(content: str, id: str, name: str) -> Message:
    return {"role": "tool", "content": content, "tool_call_id": id, "name": name}


_CALL = assistant("", call(_CALLED, _ID))
_ROUND = [_CALL, result(_RESULT, _ID, _CALLED)]


@dataclass(frozen=True)
class Probe:
    """Renders conversations by one template."""

    render: Render
    """The text for the variables of a template. Raises Exception when the template does."""

    def text(self, traits: TemplateTraits, messages: Sequence[Message], **more: Any) -> str | None:
        """`messages` as `traits` would have them rendered; None when the template fails. `more`: fields of
        the conversation, and variables under their own names."""
        tools: Sequence[Tool] = more.pop("tools", ())
        think: Think = more.pop("think", None)
        try:
            prepared = prepare(Conversation(messages=messages, tools=tools, think=think), traits)
            return self.render({"messages": prepared.messages, **prepared.variables, **more})
        except Exception:
            # Any failure is an answer here: the template does not take this.
            return None

    def shows(self, traits: TemplateTraits, messages: Sequence[Message], *words: str, **more: Any) -> bool:
        """Is every word in the text?"""
        text = self.text(traits, messages, **more)
        return text is not None and all(word in text for word in words)


def probe(
    render: Render, vocabulary: Words, *, known_switches: tuple[Switch, ...] | None = None
) -> TemplateTraits:
    """The traits of the template that `render` renders and whose source uses `vocabulary`. Its switches of
    thinking are found out, too, unless they are known."""
    asking = Probe(render)
    traits = _first(_plain_forms(vocabulary), lambda one: asking.shows(one, [user(_ASK)], _ASK))
    if traits is None:
        # Not even a question is shown: the template's own refusal is the best answer there is.
        return TemplateTraits()
    traits = _systems(asking, traits)
    traits = _tools(asking, traits, vocabulary)
    if known_switches is None:
        traits = _thinking_switches(asking, traits, vocabulary)
    else:
        traits = replace(traits, switches=known_switches)
    traits = _calls(asking, traits, vocabulary)
    return _thoughts(asking, traits, vocabulary)


def _first(
    candidates: Iterable[TemplateTraits], fits: Callable[[TemplateTraits], bool]
) -> TemplateTraits | None:
    return next(filter(fits, candidates), None)


def _plain_forms(vocabulary: Words) -> Iterator[TemplateTraits]:
    """The least that a template may want. Later steps add what else it can."""
    bare = TemplateTraits(thinking=None, developer=False, late_system=False, several_systems=False)
    for needs_tools, parts in product((False, True), repeat=2):
        yield replace(bare, needs_tools=needs_tools, parts=parts)
    dates = vocabulary.variables("date", "time")
    for variable, date in product(_tool_variables(vocabulary), (None, *dates)):
        yield replace(bare, needs_tools=True, tools=variable, tool_form="text", date=date)


def _tool_variables(vocabulary: Words) -> list[str]:
    return ["tools", *vocabulary.variables("tool", "function")]


def _systems(asking: Probe, traits: TemplateTraits) -> TemplateTraits:
    talk = [user(_ASK), assistant(_ANSWER), user(_AGAIN)]
    spoken = (_SYSTEM, _ASK, _ANSWER, _AGAIN)
    alternates = not asking.shows(traits, [user(_ASK), user(_AGAIN)], _ASK, _AGAIN)
    traits = replace(traits, alternates=alternates)
    if not asking.shows(traits, [system(_SYSTEM), *talk], *spoken):
        return replace(traits, system=False)
    several = replace(traits, several_systems=True)
    late = replace(traits, late_system=True)
    behind = [*talk[:2], system(_SYSTEM), talk[2]]
    return replace(
        traits,
        several_systems=asking.shows(several, [system(_SYSTEM), system(_MORE), *talk], *spoken, _MORE),
        late_system=asking.shows(late, [system(_MORE), *behind], *spoken, _MORE)
        and asking.shows(late, behind, *spoken),
        developer=_knows_developer(asking, traits, talk),
    )


def _knows_developer(asking: Probe, traits: TemplateTraits, talk: Sequence[Message]) -> bool:
    """Does the role mean more to the template than a name that it never heard of?"""
    knowing = replace(traits, developer=True)
    known = asking.text(knowing, [{"role": "developer", "content": _SYSTEM}, *talk])
    unknown = asking.text(knowing, [{"role": _UNKNOWN_ROLE, "content": _SYSTEM}, *talk])
    if known is None or _SYSTEM not in known:
        return False
    return unknown is None or unknown.replace(_UNKNOWN_ROLE, "developer") != known


def _tools(asking: Probe, traits: TemplateTraits, vocabulary: Words) -> TemplateTraits:
    forms: Iterable[TemplateTraits] = [traits]
    if traits.tool_form != "text":
        forms = (
            replace(traits, tools=variable, tool_form=form)
            for variable in _tool_variables(vocabulary)
            for form in ("wrapped", "bare")
        )
    found = _first(forms, lambda one: asking.shows(one, [user(_ASK)], _ASK, _CALLED, tools=(_TOOL,)))
    return replace(traits, tools=None) if found is None else found


def _thinking_switches(asking: Probe, traits: TemplateTraits, vocabulary: Words) -> TemplateTraits:
    def text(variables: Mapping[str, Any], extra: str = "") -> str | None:
        # Some act on a switch only where there is no system message.
        talks = [[system(f"{_SYSTEM}\n\n{extra}" if extra else _SYSTEM), user(_ASK)], [user(_ASK)]]
        texts = [asking.text(traits, talk, **variables) for talk in talks]
        return None if None in texts else "\0".join(map(str, texts))

    found = switches(text, vocabulary)
    return replace(traits, switches=found, flags=None if found else flags(text))


def _calls(asking: Probe, traits: TemplateTraits, vocabulary: Words) -> TemplateTraits:
    tools = (_OTHER_TOOL,) if traits.tools is not None else ()
    form = _call_form(asking, traits, tools)
    traits = _results(asking, replace(traits, calls=form), tools, vocabulary)
    if form is None:
        return traits
    with_content = [user(_ASK), assistant(_ANSWER, call(_CALLED, _ID))]
    form = replace(
        form,
        takes_text=_takes_text(asking, traits, form, tools),
        # What stands beside calls is written behind results that stand there too.
        with_content=traits.results_key is None
        and asking.shows(traits, with_content, "qzvalue", tools=tools, add_generation_prompt=False),
        ids=_ids(asking, traits, form, tools),
    )
    traits = replace(traits, calls=form)
    in_rounds = asking.shows(traits, [system(_SYSTEM), user(_ASK), *_ROUND], _SYSTEM, tools=tools)
    return replace(traits, parallel=_parallel(asking, traits, tools), system_in_rounds=in_rounds)


def _call_form(asking: Probe, traits: TemplateTraits, tools: Sequence[Tool]) -> CallForm | None:
    """The first form in which a call comes out unspoilt, or else comes out at all."""
    spoilt: CallForm | None = None
    for form in _CALL_FORMS:
        text = asking.text(
            replace(traits, calls=form), [user(_ASK), _CALL], tools=tools, add_generation_prompt=False
        )
        if text is None or not all(word in text for word in ("qzkey", "qzvalue")):
            continue
        if re.search(rf"{_CALLED}\b", text) is None:
            continue
        if _SPOILT.search(text) is None:
            return form
        spoilt = spoilt or form
    return spoilt


def _takes_text(asking: Probe, traits: TemplateTraits, form: CallForm, tools: Sequence[Tool]) -> bool:
    if form.arguments != "object":
        return form.arguments == "text"
    text = asking.text(
        replace(traits, calls=replace(form, takes_text=True)),
        [user(_ASK), assistant("", call(_CALLED, _ID, json.dumps(_ARGUMENTS)))],
        tools=tools,
        add_generation_prompt=False,
    )
    return text is not None and "qzvalue" in text and _SPOILT.search(text) is None


def _ids(asking: Probe, traits: TemplateTraits, form: CallForm, tools: Sequence[Tool]) -> _Ids:
    """Ids for which calls and results agree: some templates show those of results, and make up the calls'."""
    if form.ids != "any":
        return form.ids
    again = [assistant("", call(_CALLED, _OTHER_ID)), result(_OTHER_RESULT, _OTHER_ID, _CALLED)]
    forms: Sequence[tuple[_Ids, str]] = (
        ("any", _OTHER_ID),
        ("named", f"functions.{_CALLED}:1"),
        ("named anew", f"functions.{_CALLED}:0"),
    )
    for ids, last in forms:
        shown = replace(traits, calls=replace(form, ids=ids))
        text = asking.text(shown, [user(_ASK), *_ROUND, *again], tools=tools) or ""
        count = text.count(last)
        if ids == "any" and count == 0:
            break
        # The two calls of `named anew` share an id.
        if count >= (4 if ids == "named anew" else 2):
            return ids
    return "any"


def _results(
    asking: Probe, traits: TemplateTraits, tools: Sequence[Tool], vocabulary: Words
) -> TemplateTraits:
    roles = ("tool", "ipython", "function", "observation", "tool_response")
    forms = [replace(traits, results=role) for role in roles]
    talk = [user(_ASK), *_ROUND]
    keys = vocabulary.keys("tool_response", "tool_result", "tool_output")
    stranger = asking.text(replace(traits, results=_UNKNOWN_ROLE), talk, tools=tools)
    known = asking.text(forms[0], talk, tools=tools)
    if stranger is not None and known is not None and stranger.replace(_UNKNOWN_ROLE, "tool") == known:
        # Any role would do: a key that the template looks for tells more of what it means.
        forms = [replace(traits, results_key=key) for key in keys] + forms
    found = _first(forms, lambda one: asking.shows(one, talk, _RESULT, tools=tools))
    return replace(traits, results=None) if found is None else found


def _parallel(asking: Probe, traits: TemplateTraits, tools: Sequence[Tool]) -> bool:
    both = assistant("", call(_CALLED, _ID), call(_CALLED, _OTHER_ID, {"qzotherkey": "qzothervalue"}))
    results = [result(_RESULT, _ID, _CALLED), result(_OTHER_RESULT, _OTHER_ID, _CALLED)]
    words = ("qzvalue", "qzothervalue", _RESULT, _OTHER_RESULT)
    return asking.shows(traits, [user(_ASK), both, *results], *words, tools=tools)


def _thoughts(asking: Probe, traits: TemplateTraits, vocabulary: Words) -> TemplateTraits:
    tools = (_TOOL,) if traits.tools is not None else ()
    thought = assistant("", call(_CALLED, _ID), thinking=_THOUGHT)
    rounds: list[list[Message]] = [[user(_ASK), assistant(_ANSWER, thinking=_THOUGHT), user(_AGAIN)]]
    if traits.calls is not None:
        rounds.insert(0, [user(_ASK), thought, result(_RESULT, _ID, _CALLED)])
    keys = (*vocabulary.keys("reasoning", "think", "thought"), IN_CONTENT)
    for key, think, talk in product(keys, (None, True), rounds):
        knowing = replace(traits, thinking=key)
        text = asking.text(knowing, talk, tools=tools, think=think)
        if text is None or _THOUGHT not in text or _LISTED.search(text) is not None:
            continue
        spoken = [
            user(_ASK),
            assistant(_ANSWER, call(_CALLED, _ID), thinking=_THOUGHT),
            result(_RESULT, _ID, _CALLED),
        ]
        shown = traits.calls is None or asking.shows(knowing, spoken, _THOUGHT, tools=tools, think=think)
        return replace(knowing, thinking_with_content=shown)
    return traits
