"""Pictures that stand in the repository: `python -m docs.pictures` makes docs/images/*.svg from the *.dot beside them.

README shows them, where no Sphinx runs. Each names the text that it was made from: a test finds one that is old. And
README shows the first page of the documentation, as a browser does.
"""

from __future__ import annotations

import hashlib
import re
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Final

from docs.__main__ import build
from rigs.browser import Browser
from rigs.process import find_program

IMAGES: Final = Path(__file__).parent / "images"
FIRST_PAGE: Final = "documentation.png"


def origin_of(source: Path) -> str:
    """Return the comment that a picture of this text has."""
    return f"<!-- from {source.name}, SHA-256 {hashlib.sha256(source.read_bytes()).hexdigest()} -->"


def draw(source: Path) -> None:
    """Write the picture beside its text, by Graphviz."""
    command = [find_program("dot", "graphviz"), "-Tsvg", str(source)]
    svg = subprocess.run(command, check=True, capture_output=True, text=True).stdout  # noqa: S603 - Graphviz
    body = re.sub(r"<!--.*?-->\n?", "", svg[svg.index("<svg") :], flags=re.DOTALL)
    source.with_suffix(".svg").write_text(f"{origin_of(source)}\n{body}", "utf-8")


def photograph() -> None:
    """Write the picture of the first page."""
    with tempfile.TemporaryDirectory() as scratch:
        pages = Path(scratch) / "html"
        build(pages)
        browser = Browser(Path(scratch))
        browser.picture((pages / "index.html").as_uri(), IMAGES / FIRST_PAGE, (1400, 800))


def main() -> int:
    """Make them all."""
    for source in sorted(IMAGES.glob("*.dot")):
        draw(source)
    photograph()
    return 0


if __name__ == "__main__":
    sys.exit(main())
