"""A boot storm: every VM of a cloud is started at once, on hypervisors that take their time."""

from __future__ import annotations

import re
import statistics
import tempfile
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from benchmarks import samples
from benchmarks.report import Effort, Item, Panel, Row
from rigs.fleet import Fleet

TIMES_IDEAL = 1.2
WORKERS, HOSTS = 2, 20
PATIENCE = 300.0


def measure(directory: Path, effort: Effort) -> Iterator[Item]:
    """Start VMs whose content comes with the event: three verbs of the driver each (look, upload, attach)."""
    vms, threads = effort.pick(2000, 300, 20), effort.pick(32, 32, 4)
    latency = effort.pick(200, 100, 10) / 1000
    settings = {"pool": "threads", "concurrency": threads}
    with (
        tempfile.TemporaryDirectory(prefix="cd-world-", dir=samples.memory()) as world,
        Fleet(
            directory,
            samples.inventory(Path(world), hosts=HOSTS, latency_ms=1000 * latency),
            workers=WORKERS,
            settings=settings,
        ) as fleet,
    ):
        events = [start(number, HOSTS) for number in range(vms)]
        begun = time.time()
        order = [receipt.event_id for receipt in fleet.publisher.publish_many(events)]
        ended = ends_of(fleet, vms)
        verbs = len(re.findall(r" (?:observe|upload|copy|attach|detach|delete) in ", fleet.log))
    waits = [ended[event] - begun for event in order]
    ideal = verbs * latency / (WORKERS * threads)
    setting = f"{vms} VMs at once, {1000 * latency:.0f} ms per verb, {WORKERS} workers with {threads} threads"
    yield Row(
        f"wall time, {setting}",
        f"{max(waits):.1f} s, {max(waits) / ideal:.2f} times the ideal",
        f"{verbs} verbs side by side: {ideal:.1f} s",
        f"≤ {TIMES_IDEAL} times the ideal",
        max(waits) <= TIMES_IDEAL * ideal,
    )
    ranks = {event: rank for rank, event in enumerate(sorted(ended, key=lambda event: ended[event]))}
    late = max(ranks[event] - place for place, event in enumerate(order))
    yield Row(
        "fairness: the slowest VM's wait",
        f"{max(waits):.1f} s; half of them at most {statistics.median(waits):.1f} s",
        f"none was overtaken by more than {max(late, 0)} others",
    )
    yield Panel(
        f"Boot storm, {vms} VMs",
        "s",
        {"the fleet": max(waits), "ideal": ideal, "median wait": statistics.median(waits)},
    )


def start(number: int, hosts: int = 1) -> Mapping[str, Any]:
    """Return the start of a new VM on one of so many hosts."""
    vm = samples.SampleVm(number, host=f"host-{number % hosts + 1}")
    return vm.event("start", guest=vm.guest())


def ends_of(fleet: Fleet, wanted: int, position: str = "0") -> dict[str, float]:
    """Return when each event behind a position of the stream ended, by the clock of the worker that ended it."""
    ended: dict[str, float] = {}
    deadline = time.monotonic() + PATIENCE
    while len(ended) < wanted:
        if time.monotonic() > deadline:
            raise RuntimeError(f"{len(ended)} of {wanted} VMs were started")
        for reached, outcome in fleet.mailbox.outcomes(position, 1.0):
            position = reached
            if outcome is None or outcome.status != "applied":
                raise RuntimeError(f"a start came to {outcome}")
            ended[outcome.event_id] = outcome.at
    return ended
