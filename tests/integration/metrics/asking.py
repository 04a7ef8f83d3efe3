"""Asking an endpoint as Prometheus does."""

import re
import urllib.request
from collections.abc import Callable
from dataclasses import dataclass

from prometheus_client.openmetrics.parser import text_string_to_metric_families

from rigs.fleet import Fleet
from tests.support import wait_until

OPEN_METRICS = "application/openmetrics-text;version=1.0.0,text/plain;version=0.0.4;q=0.5,*/*;q=0.1"


@dataclass(frozen=True, slots=True)
class Page:
    """One answer: as it came, its type, and by sample."""

    text: str
    content_type: str
    samples: dict[tuple[str, frozenset[tuple[str, str]]], float]

    def sum(self, name: str, **labels: str) -> float:
        """Return the sum of all samples of this name that have these labels; 0 without any."""
        wanted = frozenset(labels.items())
        return sum(value for (found, having), value in self.samples.items() if found == name and wanted <= having)

    def has(self, name: str) -> bool:
        """Say whether there is a sample of this name."""
        return any(found == name for found, _ in self.samples)


def scrape(url: str) -> Page:
    """Ask once."""
    request = urllib.request.Request(url, headers={"Accept": OPEN_METRICS})  # noqa: S310  # our own loopback address
    with urllib.request.urlopen(request, timeout=600) as answer:  # noqa: S310
        text, content_type = answer.read().decode(), answer.headers["Content-Type"]
    samples = {
        (sample.name, frozenset(sample.labels.items())): float(sample.value)
        for family in text_string_to_metric_families(text)  # type: ignore[no-untyped-call]
        for sample in family.samples
    }
    return Page(text, content_type, samples)


def address_in(log: Callable[[], str]) -> str:
    """Wait until a log says where metrics are; returns the newest such address."""

    def found() -> str | None:
        addresses: list[str] = re.findall(r"metrics at (http://\S+)", log())
        return addresses[-1] if addresses else None

    return wait_until(found, "an endpoint", timeout=20)


def connections(fleet: Fleet, endpoint: str, kind: str) -> tuple[float, float]:
    """Return how many connections all workers of a fleet say that they have, and how many they opened again."""
    pages = [scrape(address_in(lambda worker=worker: worker.log)) for worker in fleet.workers]  # type: ignore[misc]
    labels = {"endpoint": endpoint, "kind": kind}
    return (
        sum(page.sum("configdrive_connections", **labels) for page in pages),
        sum(page.sum("configdrive_connections_reopened_total", **labels) for page in pages),
    )
