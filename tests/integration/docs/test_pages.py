"""The built pages: complete, without a network, every link alive."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Final
from urllib.parse import unquote

import pytest

from tests.integration.docs.conftest import ROOT

if TYPE_CHECKING:
    from pathlib import Path

LOADED: Final = re.compile(r"<(?:script|img|link|iframe|object)\b[^>]*?\b(?:src|href|data)=\"([^\"]+)\"")
LINK: Final = re.compile(r"<a\b[^>]*?\bhref=\"([^\"]+)\"")
ANCHOR: Final = re.compile(r"\bid=\"([^\"]+)\"")


@pytest.fixture(scope="session")
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
    broken = []
    for page, text in pages.items():
        for target in LINK.findall(text):
            path, _, anchor = unquote(target).partition("#")
            if re.match(r"[a-z]+:", path):
                continue
            found = (page.parent / path).resolve() if path else page
            if not found.exists() or (anchor and anchor not in {"", *ANCHOR.findall(pages.get(found, ""))}):
                broken.append(f"{page.name}: {target}")
    assert broken == []
