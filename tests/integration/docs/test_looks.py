"""The pages in a real browser, as wide as a phone's and as a desk's: all can be read, and nothing goes sideways."""

import re
from pathlib import Path
from typing import Final

import pytest

from rigs.browser import Browser
from tests.support import require_rig

WIDTHS: Final = (390, 1400, 1920)
READ: Final = ".content article *, .mobile-header *, .toc-drawer *"
MADE_BY_SPHINX: Final = {"genindex.html", "py-modindex.html", "search.html"}


@pytest.fixture(scope="module")
def browser(tmp_path_factory: pytest.TempPathFactory) -> Browser:
    with require_rig():
        return Browser(tmp_path_factory.mktemp("browser"))


def test_nothing_on_a_page_is_cut_too_small_or_goes_sideways(built: Path, browser: Browser) -> None:
    """But the decisions, which are prose: one of them stands for all."""
    pages = [
        page
        for page in sorted(built.rglob("*.html"))
        if page.name not in MADE_BY_SPHINX and (page.parent.name != "adr" or page.name.startswith("0001"))
    ]
    assert len(pages) > 45
    assert browser.misfits([page.as_uri() for page in pages], WIDTHS, within=READ) == []


def test_what_does_not_fit_is_found(tmp_path: Path, browser: Browser) -> None:
    text = "<p>" + "wide" * 200 + "</p><div style='overflow:hidden;width:9px'>cut-off</div>"
    (tmp_path / "page.html").write_text(f"<body>{text}<div style='overflow:auto;width:9px'>rolls</div>", "utf-8")
    found = browser.misfits([(tmp_path / "page.html").as_uri()], [390], within="p, div")

    assert {one.what for one in found} == {"the page goes sideways", "spills over", "is cut", "goes sideways"}


def test_every_block_of_commands_can_be_copied_and_every_cell_knows_its_column(built: Path, browser: Browser) -> None:
    source = browser.source((built / "how-to" / "monitoring.html").as_uri())
    blocks = re.findall(r'<div class="highlight-(?!text)[\w-]+ notranslate"><div class="highlight">', source)
    assert len(blocks) > 5
    assert source.count('<button type="button" class="copy">copy</button>') == len(blocks)
    assert '<td data-column="what">' in source


def test_diagrams_have_the_colours_of_a_dark_page(built: Path, browser: Browser) -> None:
    """Black lines could not be seen there."""
    page = built / "explanation" / "state-machine-dark.html"
    text = (built / "explanation" / "state-machine.html").read_text("utf-8")
    script = (
        "<script>addEventListener('load', () => {"
        " document.body.dataset.theme = 'dark';"
        " const colour = (found) => getComputedStyle(document.querySelector(found));"
        " const alike = colour('.graphviz svg text').fill === colour('article p').color;"
        " document.title = alike ? 'alike' : 'not alike'; })</script>"
    )
    page.write_text(text.replace("</head>", f"{script}</head>"), "utf-8")
    try:
        assert "<title>alike</title>" in browser.source(page.as_uri())
    finally:
        page.unlink()
