"""Chat templates: what transformers gives them, and what hostile ones do not get."""

from __future__ import annotations

import re
from typing import Any

import anyio
import pytest
from support.chat_templates import parameters

from agentkit_server.errors import BadRequest
from agentkit_server.turn import bounded
from agentkit_server.turn.template import PLAIN, ChatTemplate

pytestmark = pytest.mark.anyio

TALK = (
    {"role": "system", "content": "SYSTEM-TEXT"},
    {"role": "user", "content": "QUESTION-ONE"},
    {"role": "assistant", "content": "ANSWER-ONE"},
    {"role": "user", "content": "QUESTION-TWO"},
)
NEED_TOOLS = {
    "CohereForAI-c4ai-command-r-plus-tool_use",
    "NousResearch-Hermes-2-Pro-Llama-3-8B-tool_use",
    "NousResearch-Hermes-3-Llama-3.1-8B-tool_use",
    "fireworks-ai-llama-3-firefunction-v2",
}
"""These are only for conversations with tools; transformers fails on them in the same way."""


async def render(source: str, *messages: dict[str, Any], **variables: Any) -> str:
    return await ChatTemplate(model="m", source=source).render(messages or TALK, **variables)


@pytest.mark.parametrize(("name", "source"), parameters())
async def test_a_published_template_renders_a_plain_conversation(name: str, source: str) -> None:
    template = ChatTemplate(
        model=name, source=source, special_tokens={"bos_token": "<s>", "eos_token": "</s>"}
    )
    if name in NEED_TOOLS:
        with pytest.raises(BadRequest, match=re.escape(name)):
            await template.render(TALK)
        return
    asked = await template.render(TALK)
    assert "SYSTEM-TEXT" in asked
    places = [asked.index(text) for text in ("QUESTION-ONE", "ANSWER-ONE", "QUESTION-TWO")]
    assert places == sorted(places)
    continued = await template.render(
        [*TALK, {"role": "assistant", "content": "So far "}], continue_last=True
    )
    assert continued.endswith("So far ")


async def test_blocks_leave_no_white_space_as_transformers_trims_it() -> None:
    source = "{% for m in messages %}\n  {% if true %}\n{{ m.content }}\n  {% endif %}\n{% endfor %}\n"
    assert await render(source, {"role": "user", "content": "x"}) == "x\n"


async def test_tojson_writes_readable_characters_and_no_html_escapes() -> None:
    source = (
        "{{ value | tojson }}|{{ value | tojson(indent=1) }}|{{ {'b':1,'a':2} | tojson(sort_keys=true) }}"
    )
    rendered = await render(source, value={"é": "<&'>"})
    assert rendered == '{"é": "<&\'>"}|{\n "é": "<&\'>"\n}|{"a": 2, "b": 1}'


async def test_the_generation_tag_leaves_its_body_and_loop_controls_work() -> None:
    source = (
        "{% for m in messages %}{% if loop.index == 2 %}{% break %}{% endif %}"
        "{% generation %}{{ m.content }}{% endgeneration %}{% endfor %}"
    )
    assert await render(source) == "SYSTEM-TEXT"


async def test_a_template_may_keep_a_queue_of_its_own() -> None:
    source = (
        "{% set n = namespace(queue=[]) %}{% for m in messages %}{% set _ = n.queue.append(m.role) %}"
        "{% endfor %}{{ n.queue.pop(0) }} {{ n.queue | length }} {% set rest = messages[1:] %}"
        "{% set _ = rest.append('more') %}{{ rest | length }} {{ messages | length }}"
    )
    assert await render(source) == "system 3 4 4"


async def test_strftime_now_gives_the_date() -> None:
    assert re.fullmatch(r"\d{4}", await render("{{ strftime_now('%Y') }}"))


async def test_the_generation_prompt_is_asked_for_unless_the_last_message_is_continued() -> None:
    written = "{% for m in messages %}[{{ m.content | trim }}]{% endfor %}"
    source = written + "{% if add_generation_prompt %}>{% endif %}"
    assert await render(source, {"role": "user", "content": "x"}) == "[x]>"
    template = ChatTemplate(model="m", source=source)
    continued = await template.render([{"role": "assistant", "content": "so "}], continue_last=True)
    assert continued == "[so "


async def test_a_last_message_that_the_template_drops_cannot_be_continued() -> None:
    with pytest.raises(BadRequest, match="drops the last message"):
        await ChatTemplate(model="m", source="x").render(TALK, continue_last=True)


async def test_a_refusal_carries_the_templates_words_and_the_models_name() -> None:
    with pytest.raises(BadRequest, match=r"'m' refused the messages: roles must alternate"):
        await render("{{ raise_exception('roles must alternate') }}")


async def test_a_template_without_a_system_role_gets_it_with_the_first_question() -> None:
    source = (
        "{% for m in messages %}{% if m.role == 'system' %}{{ raise_exception('no system') }}{% endif %}"
        "[{{ m.content }}]{% endfor %}"
    )
    assert await render(source) == "[SYSTEM-TEXT\n\nQUESTION-ONE][ANSWER-ONE][QUESTION-TWO]"


async def test_without_a_template_the_contents_stand_one_after_the_other() -> None:
    assert await render(PLAIN, {"role": "user", "content": "Once"}) == "Once"
    assert await render(PLAIN) == "SYSTEM-TEXT\n\nQUESTION-ONE\n\nANSWER-ONE\n\nQUESTION-TWO"


@pytest.mark.parametrize(
    "source",
    [
        "{{ ''.__class__.__mro__ }}",
        "{{ messages.append(1) }}",
        "{{ messages[0].update({'a': 1}) }}",
        "{{ messages[0].parts.append(1) }}",
        "{{ messages[0].parts.pop() }}",
        "{{ ['a'].extend(messages) }}",
        "{{ [2, 1].sort() }}",
        "{% set n = [1] %}{% for a in range(99999) %}{% for b in range(11) %}{% set _ = n.append(b) %}"
        "{% endfor %}{% endfor %}",
        "{{ self.__init__.__globals__ }}",
        "{{ lipsum.__globals__ }}",
        "{{ cycler.__init__.__globals__.os }}",
        "{% include '/etc/hostname' %}",
        "{% import 'os' as os %}",
        "{{ range(10 ** 9) | list }}",
        "{{ 'a' * 10 ** 9 }}",
        "{{ [1] * 10 ** 9 }}",
        "{{ 10 ** (10 ** 10) }}",
        "{{ 'a' | center(10 ** 9) }}",
        "{{ 'a'.ljust(1000000000) }}",
        "{{ '%1000000000d' % 1 }}",
        "{{ '%*d' % (1000000000, 1) }}",
        "{{ '%1000000000d' | format(1) }}",
        "{{ '{:>1000000000}'.format(1) }}",
        "{{ '{:>{}}'.format(1, 1000000000) }}",
        "{{ [1] | tojson(indent=1000000000) }}",
        "{{ strftime_now('%1000000000Y') }}",
        "{% set a = 'x' * 1000000 %}{{ a.replace('x', a) }}",
        "{% set a = 'x' * 1000000 %}{{ a | replace('x', a) }}",
        "{% set a = 'x' * 10000000 %}{{ a.join([1, 2, 3, 4, 5, 6, 7, 8] | map('string') | list) }}",
        "{% set n = namespace(t='x') %}{% for i in range(99) %}{% set n.t = n.t ~ n.t %}{% endfor %}",
        "{% set n = namespace(t='x') %}{% for i in range(99) %}{% set n.t = n.t + n.t %}{% endfor %}",
        "{% set n = namespace(t='x') %}{% for i in range(99) %}"
        "{% set n.t %}{{ n.t }}{{ n.t }}{% endset %}{% endfor %}",
        "{% set n = namespace(t=[1]) %}{% for i in range(99) %}{% set n.t = n.t + n.t %}{% endfor %}",
        "{% set n = namespace(t=9) %}{% for i in range(99) %}{% set n.t = n.t * n.t %}{% endfor %}",
        "{% macro f() %}{{ f() }}{% endmacro %}{{ f() }}",
        "{% for i in range(99999) %}{{ 'x' * 1000 }}{% endfor %}",
        "{% for m in messages",
        "{{ 1 / 0 }}",
        "{{ missing.attribute }}",
        "x" * (1 << 21),
        "{{" + "(" * 5000 + ")" * 5000 + "}}",
    ],
    ids=range(41),
)
async def test_a_hostile_or_broken_template_is_a_bad_request(
    source: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    # One of them ends with its time.
    monkeypatch.setattr(bounded, "RENDER_SECONDS", 1.0)
    message = {"role": "user", "content": "hi", "parts": [1]}
    with pytest.raises(BadRequest, match="chat template of 'm'"):
        await render(source, message)


async def test_a_template_that_does_not_end_is_stopped(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bounded, "RENDER_SECONDS", 0.1)
    endless = "{% for a in range(99999) %}{% for b in range(99999) %}{% endfor %}{% endfor %}"
    with anyio.fail_after(30), pytest.raises(BadRequest, match="ran for more than"):
        await render(endless)
    with anyio.fail_after(30), pytest.raises(BadRequest, match="ran for more than"):
        await ChatTemplate(model="m", source=endless).traits()
    assert await render("fine") == "fine"


async def test_finding_out_about_a_broken_template_is_a_bad_request() -> None:
    with pytest.raises(BadRequest, match="chat template of 'm'"):
        await ChatTemplate(model="m", source="{% for m in messages").traits()
