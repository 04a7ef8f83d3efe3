"""XenServer, on a stand-in that lets one call at a time change an SR: many starts at once, and what each asks."""

from __future__ import annotations

import re
import statistics
import time
import uuid
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from benchmarks.report import Effort, Item, Row
from configdrive.contract.outcome import Outcome, Status
from configdrive.model import IMAGE_FOLDER
from rigs.cloud import VmScript
from rigs.fleet import Fleet
from rigs.monitor import RedisMonitor
from rigs.xapi import XapiPool, XapiSite

HOSTS = ("xs-01", "xs-02")
TIMES_SERIAL, TIMES_MEDIAN, MOST_CALLS = 1.3, 2.1, 12
WAITS = (1.0, 20.0)
"""How long XAPI lets whoever comes second to an SR sleep, at random, in seconds."""

OF_A_PROCESS = (
    "session.login_with_password",
    "host.get_all_records",
    "host_metrics.get_all_records",
    "SR.get_all_records",
    "PBD.get_all_records",
)
"""What a worker process asks however many events it has: it logs in, and reads the pool once a minute at the most."""

_CLAIM = re.compile(rb'^\+([0-9.]+) \[[^]]*lua\] "HINCRBY" "[^"]*:([0-9a-f-]{36})" "epoch"', re.MULTILINE)
_PATIENCE = 300.0


@dataclass(frozen=True, slots=True)
class Storm:
    """Many starts at once: their outcomes, the seconds of all and of each from its claim, and the calls."""

    outcomes: Sequence[Outcome]
    seconds: float
    each: Sequence[float]
    calls: Counter[str]


def measure(directory: Path, effort: Effort) -> Iterator[Item]:
    """Replace the images of running VMs, all at once and then one after the other."""
    vms = [VmScript() for _ in range(effort.pick(40, 20, 3))]
    processes, alone, change = effort.pick(16, 16, 2), effort.pick(10, 5, 2), effort.pick(300, 300, 10) / 1000
    with XapiPool(directory / "pool", HOSTS) as pool:
        site = XapiSite(pool)
        storage = site.add_nfs_sr("primary")
        site.export("nfs1", f"/export/primary/{storage}/{IMAGE_FOLDER}")
        for vm in vms:
            site.define_vm(vm.name, storage, uuid=vm.uuid)
        pool.exclusion.waits, pool.exclusion.seconds = WAITS, change
        settings = {"concurrency": processes}
        with Fleet(directory / "fleet", pool.inventory_text(), hypervisor="xenserver", settings=settings) as fleet:
            _start(fleet, vms)
            for vm in vms:
                site.start_vm(vm.uuid, HOSTS[0])
            storm = _storm(fleet, pool, vms)
            pool.calls.clear()
            serial = [_storm(fleet, pool, [vm]).seconds for vm in vms[:alone]]
            one = Counter(pool.calls)
        conflicts = pool.exclusion.conflicts
    setting = f"{len(vms)} warm starts at once in one SR, {processes} processes, {1000 * change:.0f} ms per change"
    whole = statistics.fmean(serial) * len(vms)
    yield Row(
        f"XenServer: {setting}",
        f"{storm.seconds:.1f} s, {storm.seconds / whole:.2f} times",
        f"one after the other: {whole:.1f} s (of {alone} measured)",
        f"≤ {TIMES_SERIAL} times",
        storm.seconds <= TIMES_SERIAL * whole,
    )
    worst, median = max(storm.each), statistics.median(storm.each)
    yield Row(
        "XenServer: the slowest of these VMs, from its claim to its outcome",
        f"{worst:.1f} s, {worst / median:.2f} times",
        f"the median: {median:.1f} s",
        f"≤ {TIMES_MEDIAN} times",
        worst <= TIMES_MEDIAN * median,
    )
    tries = sum(outcome.attempts for outcome in storm.outcomes)
    yield Row(
        "XenServer: attempts of these starts that came to nothing",
        f"{tries - len(vms)}",
        f"calls that XAPI let sleep: {conflicts}",
        "0",
        tries == len(vms) and not conflicts,
    )
    yield _calls_row(storm.calls, len(vms), one, alone)


def _calls_row(calls: Counter[str], vms: int, one: Counter[str], alone: int) -> Row:
    of_processes = {method: calls[method] for method in OF_A_PROCESS if calls[method]}
    of_starts = calls.total() - sum(of_processes.values())
    by_itself = one.total() - sum(one[method] for method in OF_A_PROCESS)
    return Row(
        "XenServer: calls per warm start, of these",
        f"{of_starts / vms:.2f}; of the processes, log-ins and looks at the pool: {sum(of_processes.values())} in all",
        f"by itself: {by_itself / alone:.2f}",
        f"≤ {MOST_CALLS}",
        of_starts <= MOST_CALLS * vms,
    )


def _storm(fleet: Fleet, pool: XapiPool, vms: Sequence[VmScript]) -> Storm:
    before = Counter(pool.calls)
    with RedisMonitor(fleet.redis) as monitor:
        began = time.time()
        outcomes = _start(fleet, vms)
        calls = Counter(pool.calls) - before
        claims: dict[str, float] = {}
        for at, vm in _CLAIM.findall(monitor.seen):
            claims.setdefault(vm.decode(), float(at))
    each = [outcome.at - claims[outcome.vm_uuid] for outcome in outcomes]
    return Storm(outcomes, max(outcome.at for outcome in outcomes) - began, each, calls)


def _start(fleet: Fleet, vms: Sequence[VmScript]) -> list[Outcome]:
    """Start VMs with content that is new, and wait for all."""
    text = {"text": f"#!/bin/sh\necho {uuid.uuid4()}\n"}
    events = [vm.event("start", hypervisor="xenserver", host=HOSTS[0], guest={"user_data": text}) for vm in vms]
    outcomes = []
    for receipt in fleet.publisher.publish_many(events):
        outcome = fleet.publisher.wait(receipt, _PATIENCE)
        if outcome is None or outcome.status is not Status.APPLIED:
            raise RuntimeError(f"a start came to {outcome}")
        outcomes.append(outcome)
    return outcomes
