"""The picture of a run: each panel's figures as bars, beside their peers."""

from __future__ import annotations

import textwrap
from collections.abc import Sequence
from pathlib import Path

import matplotlib as mpl

from benchmarks.report import Panel

_INCHES = 4.6
"""How wide the picture is: what is written in it can be read on a phone."""
_TITLE = 32
_OURS, _OTHERS = "#1f6feb", "#b0b7c3"


def draw(panels: Sequence[Panel], path: Path) -> None:
    """Write the panels as one SVG; the same figures give the same bytes."""
    mpl.use("svg")
    mpl.rcParams.update({"svg.hashsalt": "configdrive", "svg.fonttype": "none", "font.size": 9})
    from matplotlib import pyplot as plt  # noqa: PLC0415 - after `use`

    heights = [0.9 + 0.28 * len(panel.values) for panel in panels]
    figure, axes = plt.subplots(
        len(panels), figsize=(_INCHES, sum(heights)), squeeze=False, layout="constrained", height_ratios=heights
    )
    for axis, panel in zip(axes.flat, panels, strict=True):
        labels, values = list(panel.values), list(panel.values.values())
        own = [label for label in labels if "fleet" in label or "ours" in label] or labels
        colors = [_OURS if label in own else _OTHERS for label in labels]
        bars = axis.barh(labels, values, color=colors)
        axis.bar_label(bars, [f"{value:,.3g}" if value < 1000 else f"{value:,.0f}" for value in values], padding=3)  # noqa: PLR2004
        axis.set_title(textwrap.fill(f"{panel.title}, {panel.unit}", _TITLE), loc="left", fontsize=9)
        axis.invert_yaxis()
        axis.margins(x=0.15)
        axis.spines[["top", "right"]].set_visible(False)
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, format="svg", metadata={"Date": None})
    plt.close(figure)
