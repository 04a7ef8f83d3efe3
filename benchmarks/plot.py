"""The picture of a run: each panel's figures as bars, beside their peers."""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path

import matplotlib as mpl

from benchmarks.report import Panel

_COLUMNS = 2
_OURS, _OTHERS = "#1f6feb", "#b0b7c3"


def draw(panels: Sequence[Panel], path: Path) -> None:
    """Write the panels as one SVG; the same figures give the same bytes."""
    mpl.use("svg")
    mpl.rcParams.update({"svg.hashsalt": "configdrive", "svg.fonttype": "none", "font.size": 9})
    from matplotlib import pyplot as plt  # noqa: PLC0415 - after `use`

    rows = math.ceil(len(panels) / _COLUMNS)
    height = sum(
        0.9 + 0.28 * max(len(panel.values) for panel in panels[at : at + 2]) for at in range(0, len(panels), 2)
    )
    figure, axes = plt.subplots(rows, _COLUMNS, figsize=(10, height), squeeze=False, layout="constrained")
    for axis in axes.flat[len(panels) :]:
        axis.set_axis_off()
    for axis, panel in zip(axes.flat, panels, strict=False):
        labels, values = list(panel.values), list(panel.values.values())
        own = [label for label in labels if "fleet" in label or "ours" in label] or labels
        colors = [_OURS if label in own else _OTHERS for label in labels]
        bars = axis.barh(labels, values, color=colors)
        axis.bar_label(bars, [f"{value:,.3g}" if value < 1000 else f"{value:,.0f}" for value in values], padding=3)  # noqa: PLR2004
        axis.set_title(f"{panel.title}, {panel.unit}", loc="left")
        axis.invert_yaxis()
        axis.margins(x=0.15)
        axis.spines[["top", "right"]].set_visible(False)
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, format="svg", metadata={"Date": None})
    plt.close(figure)
