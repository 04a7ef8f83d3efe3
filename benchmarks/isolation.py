"""A storage that hangs: what the events of VMs on another storage take then."""

from __future__ import annotations

import itertools
import statistics
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path

from benchmarks import samples
from benchmarks.report import Effort, Item, Row, milliseconds, percentile
from benchmarks.storm import ends_of
from configdrive.model import HostName, StorageName
from rigs import simulated
from rigs.cloud import HOST, Cloud, VmScript
from rigs.fleet import Fleet
from rigs.simulated.faults import Hang, Point
from workers.hypervisors.simulated.inventory import Verb
from workers.hypervisors.simulated.topology import StorageSpec

GOOD, BAD = StorageName("good"), StorageName("bad")
TIMES = 2.0
_BAD_VMS = 8
_PER_SECOND = 30
"""Events that come in a second: less than the workers could do, so that what waits is seen."""


def measure(directory: Path, effort: Effort) -> Iterator[Item]:
    """Start VMs on a good storage, one after the other, before and while VMs of another one hang in every call."""
    before, meanwhile, quiet = effort.pick(300, 150, 4), effort.pick(1000, 300, 4), effort.pick(15, 15, 1)
    simulated.plug_in()  # the driver that hangs when it is told to
    hosts = {HostName(HOST): {GOOD: StorageSpec(), BAD: StorageSpec()}}
    with tempfile.TemporaryDirectory(prefix="cd-world-", dir=samples.memory()) as world:
        cloud = Cloud(Path(world), hosts=hosts, latency_ms=5)
        with Fleet(directory, cloud.inventory, settings={"concurrency": 4}) as fleet:
            _stream(fleet, itertools.repeat(None, 20))
            well = _stream(fleet, itertools.repeat(None, before))
            for verb, when in ((Verb.OBSERVE, Point.MIDDLE), (Verb.UPLOAD, Point.BEFORE)):
                cloud.world.faults.inject(Hang(verb=verb, when=when, storage=BAD, seconds=3600, times=0))
            fleet.publisher.publish_many([VmScript().event("start", primary_storage=BAD) for _ in range(_BAD_VMS)])
            first = _stream(fleet, _for_seconds(quiet))
            hanging = _stream(fleet, itertools.repeat(None, meanwhile))
            for worker in fleet.workers:  # one of its processes waits there for long
                worker.kill()
                worker.sweep_up()
    yield Row(
        f"a storage hangs, {_BAD_VMS} VMs of it are started, prefork of 4: p99 of {len(hanging)} other VMs' starts",
        f"{milliseconds(percentile(hanging, 99))} from {quiet} s after it began",
        f"before: {milliseconds(percentile(well, 99))} (p50 {milliseconds(statistics.median(well))}); "
        f"the slowest in these {quiet} s: {max(first):.1f} s",
        f"≤ {TIMES:.0f} times",
        percentile(hanging, 99) <= TIMES * percentile(well, 99),
    )


def _for_seconds(seconds: float) -> Iterator[None]:
    ends = time.monotonic() + seconds
    while time.monotonic() < ends:
        yield None


def _stream(fleet: Fleet, beats: Iterator[None]) -> list[float]:
    """Publish starts of VMs on the good storage at a steady rate; return how many seconds each took."""
    position = fleet.mailbox.end_of_outcomes()
    published: dict[str, float] = {}
    wait = _metronome(1 / _PER_SECOND)
    for _ in beats:
        event = VmScript().event("start", primary_storage=GOOD)
        published[event["id"]] = time.time()
        fleet.publisher.publish(event)
        wait()
    ends = ends_of(fleet, len(published), position)
    return [ends[event] - began for event, began in published.items()]


def _metronome(pause: float) -> Callable[[], None]:
    due = time.monotonic()

    def wait() -> None:
        nonlocal due
        due += pause
        time.sleep(max(0.0, due - time.monotonic()))

    return wait
