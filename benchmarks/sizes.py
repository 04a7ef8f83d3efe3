"""User data of all sizes, to the largest that an event may carry: from publishing to the outcome."""

from __future__ import annotations

import base64
import os
import statistics
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

from benchmarks import samples
from benchmarks.report import Effort, Item, Row, cpu_seconds, milliseconds
from configdrive.contract.outcome import Status
from rigs.fleet import Fleet

SIZES = {"1 KiB": 2**10, "64 KiB": 2**16, "1 MiB": 2**20, "8 MiB": 8 * 2**20, "31 MiB": 31 * 2**20}
LARGEST_SECONDS = 3.0
_PATIENCE = 120.0


def measure(directory: Path, effort: Effort) -> Iterator[Item]:
    """Start VMs with user data of random bytes, one after the other, the sizes in turn."""
    runs = effort.pick(5, 3, 1)
    sizes = SIZES if effort is not Effort.TINY else {name: SIZES[name] for name in ("1 KiB", "1 MiB")}
    found: dict[str, list[float]] = {name: [] for name in sizes}
    cpu = dict.fromkeys(sizes, 0.0)
    with tempfile.TemporaryDirectory(prefix="cd-world-", dir=samples.memory()) as world:
        inventory = samples.inventory(Path(world))
        with Fleet(directory, inventory, settings={"pool": "solo", "concurrency": 1}) as fleet:
            for number in range(1 + runs):
                for name, size in sizes.items():
                    pids = [os.getpid(), fleet.workers[0].pid, fleet.redis.pid]
                    before = cpu_seconds(pids)
                    seconds = _start(fleet, size)
                    if number:
                        found[name].append(seconds)
                        cpu[name] += (cpu_seconds(pids) - before) / runs
    *_, largest = sizes
    for name, taken in found.items():
        median = statistics.median(taken)
        bar = name == largest
        yield Row(
            f"publish → outcome, {name} of user data",
            milliseconds(median) if median < 1 else f"{median:.1f} s",
            f"CPU time of publisher, Redis and worker: {milliseconds(cpu[name])}",
            f"≤ {LARGEST_SECONDS:.0f} s" if bar else "",
            median <= LARGEST_SECONDS if bar else None,
        )


def _start(fleet: Fleet, size: int) -> float:
    vm = samples.SampleVm(1)
    content = base64.b64encode(os.urandom(size)).decode()
    event = vm.event("start", guest=vm.guest() | {"user_data": {"base64": content}})
    began = time.perf_counter()
    outcome = fleet.publisher.wait(fleet.publisher.publish(event), _PATIENCE)
    if outcome is None or outcome.status is not Status.APPLIED:
        raise RuntimeError(f"a start came to {outcome}")
    return time.perf_counter() - began
