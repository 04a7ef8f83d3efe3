"""The guides for template makers and operators quote the guest program's commands as they are."""

import re
from pathlib import Path
from typing import Final

import pytest

from docs.blocks import PAGES, ROOT, blocks_of

INLINE: Final = re.compile(r"(?<!`)`([^`\n]+)`(?!`)")
GUIDES: Final = [page for page in sorted(PAGES.rglob("*.md")) if "configdrive-guest" in page.read_text()]


def test_there_are_guides() -> None:
    assert {"prepare-a-template.md", "troubleshooting.md", "guest-linux.md"} <= {guide.name for guide in GUIDES}


@pytest.mark.parametrize("guide", GUIDES, ids=lambda guide: guide.name)
def test_the_guests_commands_are_as_quoted(guide: Path) -> None:
    source = (ROOT / "guest" / "linux" / "configdrive-guest").read_text()
    usage = source.partition("usage: ")[2].partition("\nEOF")[0]
    lines = [line for block in blocks_of(guide) for line in block.text.splitlines()] + INLINE.findall(guide.read_text())
    for line in lines:
        for verb, rest in re.findall(r"(?:^|/)configdrive-guest ([a-z]+)(?: ([a-z-]+))?", line):
            assert re.search(rf"configdrive-guest {verb}\b", usage), line
            assert not rest or rest in usage, line
