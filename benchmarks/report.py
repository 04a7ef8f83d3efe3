"""A report of benchmarks: rows of one table, panels of one picture, and where both are written."""

from __future__ import annotations

import os
import platform
import re
import statistics
import time
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from enum import Enum
from pathlib import Path

BEGIN, END = "<!-- written by make bench -->", "<!-- end of what make bench writes -->"


class Effort(Enum):
    """How long a benchmark may take: as it is quoted, a rough look, and only to see that it works at all."""

    FULL = "full"
    QUICK = "quick"
    TINY = "tiny"

    def pick(self, full: int, quick: int, tiny: int) -> int:
        """Return a number of runs, VMs, rounds."""
        return {Effort.FULL: full, Effort.QUICK: quick, Effort.TINY: tiny}[self]


@dataclass(frozen=True, slots=True)
class Row:
    """One line of the table.

    Args:
        what: what was measured, on what.
        figure: ours.
        peer: what stands beside it, from the same run.
        bar: what we promise.
        met: whether we keep it; `None` without a bar.
        headline: the same as a phrase for README, of those that stand there.
    """

    what: str
    figure: str
    peer: str = ""
    bar: str = ""
    met: bool | None = None
    headline: str = ""

    def markdown(self) -> str:
        """Return it as Markdown."""
        met = {True: "yes", False: "**no**", None: ""}[self.met]
        return f"| {self.what} | {self.figure} | {self.peer} | {self.bar} | {met} |"


@dataclass(frozen=True, slots=True)
class Panel:
    """Some figures that are compared by eye, by label; `unit` is that of all."""

    title: str
    unit: str
    values: Mapping[str, float]


Item = Row | Panel

HEAD = "| what | figure | beside it | bar | met |\n|---|---|---|---|---|"


def milliseconds(seconds: float) -> str:
    """Return a duration with as many digits as mean something."""
    value = seconds * 1000
    return f"{value:.2f} ms" if value < 10 else f"{value:.1f} ms"  # noqa: PLR2004


def percentile(values: Sequence[float], percent: int) -> float:
    """Return a percentile of at least two values."""
    return statistics.quantiles(values, n=100)[percent - 1]


def cpu_seconds(pids: Iterable[int]) -> float:
    """Return the CPU time that living processes have taken so far, without that of children that have ended."""
    ticks = 0
    for pid in pids:
        fields = Path(f"/proc/{pid}/stat").read_text("utf-8").rpartition(")")[2].split()
        ticks += int(fields[11]) + int(fields[12])  # proc(5): utime and stime, counted from the field after the name
    return ticks / os.sysconf("SC_CLK_TCK")


def machine() -> str:
    """Say in one line on what the figures were measured, and when."""
    processor = re.search(r"model name\s*: (.*)", Path("/proc/cpuinfo").read_text("utf-8"))
    return (
        f"{time.strftime('%Y-%m-%d', time.gmtime())}, {os.cpu_count()} cores of "
        f"{processor[1] if processor else platform.machine()}, "
        f"Python {platform.python_version()}, Linux {platform.release()}; load at the start {os.getloadavg()[0]:.1f}"
    )


def markdown(about: str, sections: Iterable[tuple[str, Sequence[Item]]]) -> str:
    """Return all tables, each under its heading."""
    parts = [f"Measured {about}."]
    for title, items in sections:
        rows = "\n".join(item.markdown() for item in items if isinstance(item, Row))
        parts.append(f"## {title}\n\n{HEAD}\n{rows}")
    return "\n\n".join(parts)


def headlines(about: str, sections: Iterable[tuple[str, Sequence[Item]]]) -> str:
    """Return what README says of the figures: one line for each row that has a headline."""
    lines = [f"* {item.headline}" for _, items in sections for item in items if isinstance(item, Row) and item.headline]
    return "\n".join((f"Measured {about}:", "", *lines))


def rewrite(page: Path, text: str) -> None:
    """Put the text between the marks of a page, or make the page of it alone."""
    written = f"{BEGIN}\n\n{text}\n\n{END}"
    page.parent.mkdir(parents=True, exist_ok=True)
    old = page.read_text("utf-8") if page.exists() else f"{BEGIN}{END}\n"
    before, _, rest = old.partition(BEGIN)
    page.write_text(before + written + rest.partition(END)[2], "utf-8")
