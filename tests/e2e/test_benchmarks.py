"""Each benchmark works, and reports what it is to report; so short a run measures nothing. `latency` needs a guest."""

import shutil
from pathlib import Path

import pytest

from benchmarks import __main__ as program
from benchmarks.report import BEGIN, END, Effort, Item, Panel, Row, headlines, markdown, rewrite
from tests.support import require, require_rig

BARS = {
    "images": 3,
    "throughput": 4,
    "storm": 1,
    "backlog": 5,
    "isolation": 1,
    "sizes": 1,
    "scale": 2,
    "pools": 0,
    "vsphere": 4,
    "xenserver": 4,
    "kvm": 5,
}
HEADLINES = {"images": 1, "throughput": 2}


@pytest.mark.parametrize("name", BARS)
def test_each_measures_what_it_promises(name: str, tmp_path: Path) -> None:
    require(shutil.which("genisoimage"), "genisoimage is not installed")
    _, measure = program.SECTIONS[name]
    with require_rig():
        items = list(measure(tmp_path, Effort.TINY))
    rows = [item for item in items if isinstance(item, Row)]
    assert rows
    assert sum(bool(row.headline) for row in rows) == HEADLINES.get(name, 0)
    assert sum(row.met is not None for row in rows) == BARS[name]
    assert all(row.bar for row in rows if row.met is not None)
    for panel in items:
        if isinstance(panel, Panel):
            assert all(value > 0 for value in panel.values.values())


def test_a_page_keeps_what_stands_around_the_tables(tmp_path: Path) -> None:
    page = tmp_path / "page.md"
    page.write_text(f"# Before\n\n{BEGIN}\nold\n{END}\n\nbehind\n")
    rewrite(page, markdown("here", [("A title", [Row("this", "1 ms", "that: 2 ms", "≤ 1", met=False)])]))
    text = page.read_text()
    assert text.startswith(f"# Before\n\n{BEGIN}\n\nMeasured here.\n\n## A title\n")
    assert "| this | 1 ms | that: 2 ms | ≤ 1 | **no** |\n" in text
    assert text.endswith(f"{END}\n\nbehind\n")
    assert "old" not in text
    rewrite(page, "again")
    assert page.read_text() == f"# Before\n\n{BEGIN}\n\nagain\n\n{END}\n\nbehind\n"


def test_readme_gets_the_rows_that_have_a_headline() -> None:
    rows: list[Item] = [
        Row("this", "1 ms", "that: 2 ms", "≤ 1", met=True, headline="**1 ms** for this."),
        Row("beside", "3 ms"),
        Panel("A panel", "ms", {}),
    ]
    assert headlines("here", [("A title", rows)]) == "Measured here:\n\n* **1 ms** for this."
