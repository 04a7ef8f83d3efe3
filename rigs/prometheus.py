"""A real Prometheus with our rules, in a hurry: it asks every half second, unless told otherwise."""

import json
import shutil
import urllib.parse
import urllib.request
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import yaml
from typing_extensions import override

from rigs.process import LOOPBACK, Daemon, DaemonRig, answers, find_program, free_port

SHIPPED = Path(__file__).resolve().parents[1] / "deploy" / "prometheus"


class Prometheus(DaemonRig):
    """Prometheus on a free loopback port, with the shipped rules and configuration but other targets.

    Args:
        directory: gets its configuration, data and log; is made if missing.
        targets: `host:port` of what is asked under the job `configdrive`.
        interval: seconds between two times that each is asked.

    Raises:
        RigUnavailable: it is not installed.
    """

    def __init__(self, directory: Path, targets: Sequence[str], interval: float = 0.5) -> None:
        self.interval = interval
        directory.mkdir(parents=True, exist_ok=True)
        config = yaml.safe_load((SHIPPED / "prometheus.yml").read_text("utf-8"))
        times = ("scrape_interval", "scrape_timeout", "evaluation_interval")
        config["global"] = dict.fromkeys(times, f"{interval * 1000:.0f}ms")
        (job,) = (job for job in config["scrape_configs"] if job["job_name"] == "configdrive")
        del job["dns_sd_configs"]
        job["static_configs"] = [{"targets": list(targets)}]
        config["scrape_configs"] = [job]
        (directory / "prometheus.yml").write_text(yaml.safe_dump(config), "utf-8")
        for name in config["rule_files"]:
            shutil.copy(SHIPPED / name, directory)
        address = f"{LOOPBACK}:{free_port()}"
        self.url = f"http://{address}"
        self._daemon = Daemon(
            [
                find_program("prometheus", "prometheus"),
                f"--config.file={directory / 'prometheus.yml'}",
                f"--storage.tsdb.path={directory / 'data'}",
                f"--web.listen-address={address}",
            ],
            directory / "prometheus.log",
        )

    def ask(self, path: str, **parameters: str) -> Any:  # noqa: ANN401 - the `data` of whatever was asked for
        """Ask its HTTP API.

        Raises:
            urllib.error.HTTPError: the question was wrong.
        """
        query = urllib.parse.urlencode(parameters)
        with urllib.request.urlopen(f"{self.url}/api/v1/{path}?{query}", timeout=600) as answer:  # noqa: S310  # ours
            return json.load(answer)["data"]

    def query(self, expression: str) -> list[dict[str, Any]]:
        """Return the series that an expression comes to now."""
        found: list[dict[str, Any]] = self.ask("query", query=expression)["result"]
        return found

    def range(self, expression: str, begin: float, end: float, step: float) -> list[dict[str, Any]]:
        """Return the series that an expression comes to between two times, in seconds since the epoch."""
        parameters = {"start": f"{begin:.3f}", "end": f"{end:.3f}", "step": f"{step:.3f}"}
        found: list[dict[str, Any]] = self.ask("query_range", query=expression, **parameters)["result"]
        return found

    def value(self, expression: str) -> float | None:
        """Return the value of the only series that an expression comes to; `None` when there is none."""
        found = self.query(expression)
        assert len(found) <= 1, found
        return float(found[0]["value"][1]) if found else None

    def firing(self) -> set[str]:
        """Return the names of the alerts that fire."""
        return {alert["labels"]["alertname"] for alert in self.ask("alerts")["alerts"] if alert["state"] == "firing"}

    @override
    def start(self) -> None:
        """Start it, and wait until it answers."""
        self._daemon.start()
        self._daemon.wait_ready(lambda: answers(f"{self.url}/-/ready"), timeout=30)
