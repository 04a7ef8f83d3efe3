"""The dashboard without Grafana: its file's panels on a page, each over what its own queries find in a Prometheus.

Grafana is in no package that can be had here. Places, titles, units, thresholds and legends are the file's, the curves
are drawn by the library that Grafana draws with. A panel without data says why.
"""

from __future__ import annotations

import json
import re
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from rigs import npm

if TYPE_CHECKING:
    from rigs.prometheus import Prometheus

SHIPPED: Final = Path(__file__).resolve().parents[1] / "deploy" / "grafana" / "dashboards" / "configdrive.json"

_PAGE: Final = Path(__file__).with_name("dashboard.html")
_UPLOT: Final = Path(npm.__file__).with_name("uplot")
_POINTS: Final = 120
_METRIC: Final = re.compile(r"\bconfigdrive_[a-z_]+")


@dataclass(frozen=True, slots=True)
class Panel:
    """One panel with its data.

    Attributes:
        title: as the file has it.
        description: what it says behind its "i".
        kind: `row`, `stat` or `timeseries`.
        place: column, row, width and height in Grafana's grid of 24 columns.
        defaults: the file's unit, thresholds and way of drawing.
        colours: legends as patterns, and the colours that the file gives them.
        series: each with its legend and its values, one for each of the page's times.
        empty: why there are none.
    """

    title: str
    description: str
    kind: str
    place: dict[str, int]
    defaults: dict[str, Any]
    colours: list[tuple[str, str]]
    series: list[tuple[str, list[float | None]]] = field(default_factory=list)
    empty: str = ""


def asked(expression: str, rate_interval: str) -> str:
    """Return a panel's query as Grafana sends it, all hypervisors chosen."""
    return expression.replace("$hypervisor", ".+").replace("$__rate_interval", rate_interval)


def read(prometheus: Prometheus, begin: float, end: float) -> tuple[list[float], list[Panel]]:
    """Ask every query of the shipped dashboard; returns the times between the two, and the panels.

    Args:
        prometheus: of the fleet.
        begin: seconds since the epoch.
        end: as `begin`.
    """
    step = max((end - begin) / _POINTS, prometheus.interval)
    times = [begin + number * step for number in range(int((end - begin) / step) + 1)]
    # As Grafana chooses it: four scrapes, or a point and a scrape.
    rate_interval = f"{max(4 * prometheus.interval, step + prometheus.interval) * 1000:.0f}ms"
    panels = []
    for one in json.loads(SHIPPED.read_text("utf-8"))["panels"]:
        targets = one.get("targets", [])
        series = []
        for target in targets:
            query = asked(target["expr"], rate_interval)
            for found in prometheus.range(query, times[0], times[-1], step):
                values = {round(at, 3): float(value) for at, value in found["values"]}
                legend = _legend(target.get("legendFormat", ""), found["metric"])
                series.append((legend, [_number(values.get(round(at, 3))) for at in times]))
        empty = "" if series or not targets else _why(prometheus, " ".join(target["expr"] for target in targets))
        drawn = one.get("fieldConfig", {"defaults": {}, "overrides": []})
        colours = [
            (each["matcher"]["options"], each["properties"][0]["value"]["fixedColor"]) for each in drawn["overrides"]
        ]
        described = one.get("description", "")
        panels.append(
            Panel(one["title"], described, one["type"], one["gridPos"], drawn["defaults"], colours, series, empty)
        )
    return times, panels


def page(times: list[float], panels: list[Panel]) -> str:
    """Return the page; it needs no network.

    Raises:
        RigUnavailable: npm cannot fetch the library that draws.
    """
    library = npm.modules(_UPLOT) / "uplot" / "dist"
    title = json.loads(SHIPPED.read_text("utf-8"))["title"]
    data = json.dumps({"title": title, "times": times, "panels": [asdict(panel) for panel in panels]})
    data = data.replace("</", r"<\/")  # no end of the script
    filled = {
        "/* uPlot's stylesheet */": (library / "uPlot.min.css").read_text("utf-8"),
        "/* uPlot */": (library / "uPlot.iife.min.js").read_text("utf-8"),
        "/* data */": f"const DASHBOARD = {data};",
    }
    text = _PAGE.read_text("utf-8")
    for place, content in filled.items():
        text = text.replace(place, content)
    return text


def _legend(form: str, labels: dict[str, str]) -> str:
    return re.sub(r"{{\s*(\w+)\s*}}", lambda found: labels.get(found[1], ""), form).strip() or "value"


def _number(value: float | None) -> float | None:
    return None if value is None or value != value or abs(value) == float("inf") else value  # noqa: PLR0124 - NaN


def _why(prometheus: Prometheus, expressions: str) -> str:
    missing = sorted({name for name in _METRIC.findall(expressions) if not prometheus.query(f"count({name})")})
    return f"nobody here exports {', '.join(missing)}" if missing else "nothing of it has happened"
