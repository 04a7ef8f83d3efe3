"""Which pool, and how many at a time: throughput and memory of one worker, by how long a hypervisor's verbs take."""

from __future__ import annotations

import contextlib
import re
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

from benchmarks import samples
from benchmarks.report import Effort, Item, Panel, Row
from benchmarks.storm import ends_of, start
from rigs.fleet import Fleet
from rigs.redis import RedisServer

POOLS = (("solo", 1), ("prefork", 4), ("prefork", 16), ("threads", 4), ("threads", 32), ("threads", 64))
LATENCIES_MS = (10, 200)
"""A libvirt host in the same rack, as measured here, and a hypervisor's API over HTTPS, as one has to expect."""

PROMISED, LEAST = "threads of 32", 180
"""Events per second of one process, at the first of these."""

_VERBS = 3


def measure(directory: Path, effort: Effort) -> Iterator[Item]:
    """Start VMs by one worker of each kind; memory is the sum of its processes' proportional set sizes."""
    with RedisServer(directory / "redis") as redis:
        for latency in LATENCIES_MS if effort is not Effort.TINY else LATENCIES_MS[:1]:
            rates: dict[str, float] = {}
            for pool, concurrency in POOLS if effort is not Effort.TINY else POOLS[:1]:
                name = f"{pool} of {concurrency}"
                ideal = concurrency / (_VERBS * latency / 1000)
                vms = round(min(max(ideal * effort.pick(4, 1, 0), 3 * concurrency), effort.pick(800, 200, 4)))
                rate, memory = _one(
                    directory / f"{latency}-{pool}-{concurrency}", redis, pool, concurrency, latency, vms
                )
                rates[name] = rate
                promised = name == PROMISED and latency == LATENCIES_MS[0]
                yield Row(
                    f"{name}, {latency} ms per verb, {vms} starts",
                    f"{rate:.1f} events/s, {memory / 2**20:.0f} MiB",
                    f"ideal: {ideal:.1f}/s",
                    f"≥ {LEAST}/s" if promised else "",
                    rate >= LEAST if promised else None,
                )
            yield Panel(f"Starts per second of one worker, {latency} ms per verb", "1/s", rates)


def _one(  # noqa: PLR0913, PLR0917 - what a worker is measured by
    directory: Path, redis: RedisServer, pool: str, concurrency: int, latency_ms: int, vms: int
) -> tuple[float, int]:
    """Return events per second of one worker, and the bytes that it holds at the end."""
    settings = {"pool": pool, "concurrency": concurrency, "key_prefix": f"{directory.name}:"}
    with tempfile.TemporaryDirectory(prefix="cd-world-", dir=samples.memory()) as world:
        inventory = samples.inventory(Path(world), latency_ms=latency_ms)
        with Fleet(directory, inventory, redis=redis, settings=settings) as fleet:
            starts = [start(number) for number in range(2 * concurrency + vms)]
            list(fleet.publisher.publish_many(starts[: 2 * concurrency]))  # each child has opened its connections
            ends_of(fleet, 2 * concurrency)
            began = time.time()
            list(fleet.publisher.publish_many(starts[2 * concurrency :]))
            seconds = max(ends_of(fleet, len(starts)).values()) - began
            worker = fleet.workers[0]
            return vms / seconds, _held([worker.pid, *worker.children()])


def _held(pids: list[int]) -> int:
    """Return the proportional set size of some processes: what they share counts once."""
    total = 0
    for pid in pids:
        with contextlib.suppress(OSError):
            rollup = Path(f"/proc/{pid}/smaps_rollup").read_text("utf-8")
            if (found := re.search(r"^Pss:\s+(\d+) kB", rollup, re.MULTILINE)) is not None:
                total += int(found[1]) * 1024
    return total
