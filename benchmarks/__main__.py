"""`python -m benchmarks`: measure, and print a Markdown table."""

from __future__ import annotations

import sys
import tempfile
from pathlib import Path

from benchmarks.latency import Figure, image_build, kvm_by_command_line, queue_share
from tests.rigs import RigUnavailable


def main() -> int:
    """Print one row per figure; a figure that this machine cannot measure says why."""
    print("| what | median | 95th percentile | runs |\n|---|---|---|---|")  # noqa: T201 - the table is the purpose
    with tempfile.TemporaryDirectory(prefix="cd-") as scratch:
        for number, measure in enumerate((image_build, queue_share, kvm_by_command_line)):
            directory = Path(scratch) / str(number)
            directory.mkdir()
            try:
                rows = [_row(figure) for figure in measure(directory)]
            except RigUnavailable as reason:
                rows = [f"| {measure.__name__} | not measured: {reason} | | |"]
            print("\n".join(rows), flush=True)  # noqa: T201 - as above
    return 0


def _row(figure: Figure) -> str:
    return f"| {figure.what} | {figure.median:.1f} ms | {figure.percentile95:.1f} ms | {len(figure.seconds)} |"


if __name__ == "__main__":
    sys.exit(main())
