"""`python -m docs DIRECTORY`: build the documentation as HTML.

Warnings are errors, such as a link that leads nowhere or a page that no table of contents lists; all are printed.
"""

from __future__ import annotations

import sys
from pathlib import Path

from sphinx.cmd.build import build_main

SOURCE = Path(__file__).parent


def build(target: Path) -> int:
    """Build into `target`, which is made; all is read anew, as half of it comes from code. Returns the exit code."""
    options = ["--fresh-env", "--fail-on-warning", "--keep-going", "--quiet", "--jobs", "auto", "--builder", "html"]
    return build_main([*options, str(SOURCE), str(target)])


if __name__ == "__main__":
    sys.exit(build(Path(sys.argv[1])))
