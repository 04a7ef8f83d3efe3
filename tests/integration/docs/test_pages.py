"""The built pages: complete, without a network, every link alive."""

import re
from pathlib import Path
from typing import Final
from urllib.parse import unquote

import pytest

from configdrive.contract.outcome import Status
from configdrive.errors import PermanentCode, StaleCode, TransientCode
from docs.pictures import FIRST_PAGE
from tests.integration.docs.conftest import ROOT
from workers.config.settings import Settings

LOADED: Final = re.compile(r"<(?:script|img|link|iframe|object)\b[^>]*?\b(?:src|href|data)=\"([^\"]+)\"")
LINK: Final = re.compile(r"<a\b[^>]*?\bhref=\"([^\"]+)\"")
ANCHOR: Final = re.compile(r"\bid=\"([^\"]+)\"")
QUESTIONS: Final = {
    "Which label?": "how-to/which-label.html",
    "Why is there no password file?": "how-to/no-password-file.html",
    "How do I add a host?": "how-to/add-a-host.html",
    "What if Redis is lost?": "how-to/redis-loss.html",
    "How do I add a hypervisor?": "how-to/add-a-hypervisor.html",
}


@pytest.fixture(scope="package")
def pages(built: Path) -> dict[Path, str]:
    return {path: path.read_text("utf-8") for path in sorted(built.rglob("*.html"))}


def test_every_page_is_built(built: Path) -> None:
    sources = [path.relative_to(ROOT / "docs").with_suffix(".html") for path in (ROOT / "docs").rglob("*.md")]
    assert len(sources) > 30
    assert [str(page) for page in sources if not (built / page).exists()] == []


def test_nothing_is_loaded_from_the_network(built: Path, pages: dict[Path, str]) -> None:
    loaded = {target for text in pages.values() for target in LOADED.findall(text)}
    assert loaded
    assert {target for target in loaded if re.match(r"(?:[a-z]+:)?//", target)} == set()
    for sheet in built.rglob("*.css"):
        assert not re.search(r"(?:url\(|@import)\s*[\"']?(?:https?:)?//", sheet.read_text("utf-8")), sheet


def test_links_within_lead_to_a_page_and_a_place_on_it(pages: dict[Path, str]) -> None:
    anchors = {page: {"", *ANCHOR.findall(text)} for page, text in pages.items()}
    broken = []
    for page, text in pages.items():
        for target in LINK.findall(text):
            path, _, anchor = unquote(target).partition("#")
            if re.match(r"[a-z]+:", path):
                continue
            found = (page.parent / path).resolve() if path else page
            if not found.exists() or anchor not in anchors.get(found, {""}):
                broken.append(f"{page.name}: {target}")
    assert broken == []


def test_each_code_and_each_setting_is_an_anchor(pages: dict[Path, str], built: Path) -> None:
    """So that a program can make a link of the code in an outcome."""
    codes = {*TransientCode, *PermanentCode, *StaleCode, *Status}
    for page, names in {"outcomes.html": codes, "settings.html": set(Settings.model_fields)}.items():
        assert names - {*ANCHOR.findall(pages[built / "reference" / page])} == set()


@pytest.mark.parametrize(("question", "page"), QUESTIONS.items())
def test_a_newcomers_question_has_a_page_that_the_first_one_names(
    pages: dict[Path, str], built: Path, question: str, page: str
) -> None:
    assert re.search(rf'href="{re.escape(page)}"[^>]*>{re.escape(question)}', pages[built / "index.html"])
    assert f"<title>{question}" in pages[built / page]


def test_diagrams_are_drawn_and_can_be_searched(pages: dict[Path, str], built: Path) -> None:
    drawn = pages[built / "explanation" / "state-machine.html"] + pages[built / "explanation" / "architecture.html"]
    assert drawn.count('<svg role="img" aria-label="') == 4
    assert "ATTACHED</text>" in drawn
    assert "<object" not in drawn, "a file of its own neither shrinks with the page nor has its colours"


def test_what_a_block_needs_stands_above_it_and_nothing_of_our_tests(pages: dict[Path, str], built: Path) -> None:
    page = pages[built / "how-to" / "kvm.html"]
    assert "Needs a KVM host:" in page
    assert [path.name for path, text in pages.items() if "Run by <" in text or "covered=" in text] == []


def test_every_picture_is_shown(built: Path) -> None:
    there = {
        path.name for path in (ROOT / "docs" / "images").iterdir() if path.suffix != ".dot"
    }  # what it is made from
    shown = {path.name for path in (built / "_images").iterdir() if not path.name.startswith("graphviz-")}
    assert there == shown | {FIRST_PAGE}, "that one README shows"
    assert f"docs/images/{FIRST_PAGE}" in (ROOT / "README.md").read_text("utf-8")


def test_the_publishers_signatures_can_be_read(pages: dict[Path, str], built: Path) -> None:
    page = pages[built / "reference" / "publisher.html"]
    assert "ForwardRef" not in page
    assert "Parameters" in page
