"""docs/reference/native.md says what the code does: its routes, fields, options and defaults."""

from __future__ import annotations

import re
from pathlib import Path

import msgspec
import pytest
from fastapi.routing import iter_route_contexts

from agentkit_server.dialects.native import router
from agentkit_server.dialects.native_types import ChatBody, EmbedBody, EmbeddingsBody, GenerateBody
from agentkit_server.engine.types import Sampling
from agentkit_server.residency.types import LoadOptions
from agentkit_server.turn.options import RETIRED, limits, read_options

PAGE = (Path(__file__).parents[2] / "docs/reference/native.md").read_text(encoding="utf-8")


def marked(mark: str) -> str:
    return PAGE.split(f"<!-- {mark} -->")[1].split(f"<!-- /{mark} -->")[0]


def rows(text: str) -> list[list[str]]:
    lines = [line for line in text.splitlines() if line.startswith("| `")]
    return [[cell.strip() for cell in line.strip("|").split("|")] for line in lines]


def section(heading: str) -> str:
    return PAGE.split(f"\n## {heading}\n")[1].split("\n## ")[0]


def test_the_documented_routes_are_the_routes() -> None:
    named = re.findall(r"`((?:[A-Z]+,? )+)(/\S*)`", PAGE.split("\n## ")[0])
    page = {(method, path) for methods, path in named for method in re.findall("[A-Z]+", methods)}
    routes = {
        (method, (context.path or "").replace(":path", ""))
        for context in iter_route_contexts(router.routes)
        for method in context.methods or ()
    }
    assert page == routes


@pytest.mark.parametrize(
    ("heading", "shapes"),
    [("generate and chat", (GenerateBody, ChatBody)), ("embed and embeddings", (EmbedBody, EmbeddingsBody))],
)
def test_every_field_is_documented(heading: str, shapes: tuple[type[msgspec.Struct], ...]) -> None:
    page = {row[0].strip("`") for row in rows(section(heading)) if len(row) == 3}
    assert page == {name for shape in shapes for name in shape.__struct_encode_fields__} - {"name"}


def test_the_documented_sampling_options_and_defaults_are_those_of_the_engine() -> None:
    page = {name.strip("`"): float(default) for name, default, _ in rows(marked("sampling"))}
    code = msgspec.structs.asdict(limits(Sampling(), {}, {}, {}).sampling)
    assert page == {name: value for name, value in code.items() if name != "logit_bias"}


def test_the_documented_ends_of_an_answer_are_those_of_the_code() -> None:
    page = {name.strip("`"): default for name, default, _ in rows(marked("generation"))}
    default = limits(Sampling(), {}, {}, {})
    assert page == {
        "num_predict": str(default.num_predict),
        "num_keep": str(default.num_keep),
        "stop": "none",
    }


def test_the_documented_load_options_are_those_of_a_load() -> None:
    page = {row[0].strip("`") for row in rows(marked("load"))}
    assert page == set(LoadOptions.__dataclass_fields__)


def test_every_documented_option_is_known_and_every_retired_one_is_documented() -> None:
    names = {row[0].strip("`") for mark in ("sampling", "generation", "load") for row in rows(marked(mark))}
    assert read_options(dict.fromkeys(names)).unknown == ()
    assert set(re.findall(r"`(\w+)`", marked("retired"))) == RETIRED
