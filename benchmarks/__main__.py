"""`python -m benchmarks`: measure, print Markdown tables, and write them and the picture (`make bench`)."""

from __future__ import annotations

import argparse
import sys
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

from benchmarks import (
    backlog,
    images,
    isolation,
    kvm,
    latency,
    pools,
    scale,
    sizes,
    storm,
    throughput,
    vsphere,
    xenserver,
)
from benchmarks.plot import draw
from benchmarks.report import HEAD, Effort, Item, Panel, Row, headlines, machine, markdown, rewrite
from rigs import RigUnavailable

ROOT = Path(__file__).resolve().parents[1]

Measure = Callable[[Path, Effort], Iterator[Item]]

SECTIONS: dict[str, tuple[str, Measure]] = {
    "images": ("The image, verified, beside those of others", images.measure),
    "throughput": ("The queue, on a hypervisor that takes no time", throughput.measure),
    "storm": ("A boot storm", storm.measure),
    "backlog": ("A backlog that lasts", backlog.measure),
    "isolation": ("A storage that hangs", isolation.measure),
    "sizes": ("User data of all sizes", sizes.measure),
    "scale": ("Many VMs", scale.measure),
    "pools": ("Which pool, and how many at a time", pools.measure),
    "vsphere": ("vSphere, on the simulated vCenter", vsphere.measure),
    "xenserver": ("XenServer, on a stand-in for XAPI", xenserver.measure),
    "kvm": ("KVM, on a real libvirtd", kvm.measure),
    "latency": ("One event on a real KVM host", latency.measure),
}


def main() -> int:
    """Measure; a full run of everything is written to README and documentation, anything else to `build/`."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    parser.add_argument("sections", nargs="*", metavar="SECTION", help=f"of {', '.join(SECTIONS)}; all otherwise")
    parser.add_argument("--effort", type=Effort, default=Effort.FULL, help="full, quick (about a minute) or tiny")
    chosen = parser.parse_args()
    about = machine()
    found: list[tuple[str, list[Item]]] = []
    for name in chosen.sections or SECTIONS:
        title, measure = SECTIONS[name]
        _say(f"\n## {title}\n\n{HEAD}")
        found.append((title, list(_measured(name, measure, chosen.effort))))
    whole = chosen.effort is Effort.FULL and not chosen.sections
    page = ROOT / ("docs/reference/performance.md" if whole else "build/bench/performance.md")
    picture = ROOT / ("docs/images/performance.svg" if whole else "build/bench/performance.svg")
    rewrite(page, markdown(about, found))
    if whole:
        rewrite(ROOT / "README.md", headlines(about, found))
    if panels := [item for _, items in found for item in items if isinstance(item, Panel)]:
        draw(panels, picture)
    missed = [item for _, items in found for item in items if isinstance(item, Row) and item.met is False]
    _say(f"\nWritten to {page.relative_to(ROOT)} and {picture.relative_to(ROOT)}; {len(missed)} bars missed.")
    return 0


def _measured(name: str, measure: Measure, effort: Effort) -> Iterator[Item]:
    """Print each row as it comes; what this machine cannot measure says why."""
    with tempfile.TemporaryDirectory(prefix="cd-") as scratch:
        try:
            for item in measure(Path(scratch), effort):
                if isinstance(item, Row):
                    _say(item.markdown())
                yield item
        except RigUnavailable as reason:
            row = Row(name, f"not measured: {reason}")
            _say(row.markdown())
            yield row


def _say(text: str) -> None:
    sys.stdout.write(f"{text}\n")
    sys.stdout.flush()


if __name__ == "__main__":
    sys.exit(main())
