from __future__ import annotations

from pathlib import Path

import pytest

from agentkit._errors import DefinitionError, WebError
from agentkit.web import FixturePages, PageSource

pytestmark = pytest.mark.anyio


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "animals").mkdir()
    (tmp_path / "animals" / "otters.md").write_text(
        "# Otters\n\nOtters hold hands while they sleep in the river."
    )
    (tmp_path / "beavers.html").write_text(
        "<html><title>Beavers</title><body><article><p>Beavers build dams in a river. They sleep by day, and "
        "otters are their neighbours.</p></article></body></html>"
    )
    (tmp_path / "stones.txt").write_text("Stones lie in the river. " * 20 + "One of them is granite.")
    (tmp_path / "ignored.png").write_bytes(b"\x89PNG")
    return tmp_path


async def test_the_page_about_the_words_comes_first(folder: Path) -> None:
    found = await FixturePages(folder).search("where do otters sleep?", 10)
    assert [result.title for result in found] == ["Otters", "Beavers"]
    assert found[0].url == "https://pages.test/animals/otters.md"
    assert "hold hands" in found[0].content


async def test_a_rare_word_counts_more_than_a_common_one_said_often(folder: Path) -> None:
    found = await FixturePages(folder).search("river dams", 10)
    assert found[0].title == "Beavers"


async def test_no_more_than_asked_and_nothing_for_unknown_words(folder: Path) -> None:
    pages = FixturePages(folder)
    assert len(await pages.search("river", 2)) == 2
    assert await pages.search("submarine", 5) == []
    assert await pages.search("?", 5) == []


async def test_the_excerpt_is_about_the_first_word_that_fits(folder: Path) -> None:
    found = await FixturePages(folder).search("granite", 1)
    assert "granite" in found[0].content
    assert len(found[0].content) <= 300


async def test_what_was_found_can_be_fetched(folder: Path) -> None:
    pages = FixturePages(folder, base_url="https://zoo.test/")
    assert isinstance(pages, PageSource)
    for result in await pages.search("river", 10):
        page = await pages.fetch(f"{result.url}#part")
        assert page.url == result.url
        assert "river" in page.content
    with pytest.raises(WebError, match=r"'https://zoo\.test/none'"):
        await pages.fetch("https://zoo.test/none")


async def test_a_folder_that_is_not_there_is_a_mistake(tmp_path: Path) -> None:
    with pytest.raises(DefinitionError, match="no folder"):
        FixturePages(tmp_path / "none")
