"""Workers that are too slow: one that sleeps beyond its lease, and an attempt that takes longer than it may."""

from __future__ import annotations

import os
import signal
from typing import TYPE_CHECKING

from configdrive.contract.outcome import Status
from rigs.process import wait_until
from rigs.simulated.faults import Hang, Point
from tests.e2e.site import QUICK, Site, new_vm
from workers.hypervisors.simulated.inventory import Verb

if TYPE_CHECKING:
    from collections.abc import Callable


def test_worker_that_sleeps_beyond_its_lease_changes_nothing_when_it_wakes_up(site: Site) -> None:
    vm = new_vm()
    assert site.outcome(vm.event("start")).status is Status.APPLIED
    site.inject(Hang(verb=Verb.OBSERVE, when=Point.AFTER, vm=vm.uuid, seconds=8.0))

    def observers() -> list[int]:
        return [entry.pid for entry in site.cloud.audit() if entry.vm == vm.uuid and entry.verb == "observe"]

    before = len(observers())
    (event,) = site.publish(vm.event("start"))
    sleeper = wait_until(lambda: observers()[before:], "a worker to look at the VM", timeout=5)[0]
    os.kill(sleeper, signal.SIGSTOP)
    try:
        outcome = site.ended(event)
        later = site.outcome(vm.event("stop"))
    finally:
        os.kill(sleeper, signal.SIGCONT)
    assert (outcome.status, outcome.attempts, later.status) == (Status.APPLIED, 2, Status.APPLIED)
    assert site.outcome(vm.event("start")).status is Status.APPLIED

    wait_until(lambda: f"{event}] ignored" in site.log, "the sleeper to give up", timeout=10)
    site.require(vm, 4)
    assert len(site.outcomes([event])[event]) == 1
    begun = [entry.verb for entry in site.cloud.audit() if (entry.vm, entry.image) == (vm.uuid, vm.image(2))]
    assert begun.count("upload") == 3  # begin, change, end: one upload, the other worker's


def test_attempt_that_takes_too_long_is_cut_off_and_tried_again(make_site: Callable[..., Site]) -> None:
    site = make_site(workers=1, settings={**QUICK, "call_seconds": 1, "task_seconds": 6.1})
    site.start()
    vm, other = new_vm(), new_vm()
    assert site.outcome(vm.event("deploy")).status is Status.APPLIED
    # Each call stays within its own limit; together they take longer than an attempt may.
    for verb in (Verb.OBSERVE, Verb.UPLOAD, Verb.ATTACH, Verb.DELETE):
        site.inject(*[Hang(verb=verb, when=when, vm=vm.uuid, seconds=0.95) for when in (Point.BEFORE, Point.AFTER)])
    (event,) = site.publish(vm.event("start"))
    assert site.outcome(other.event("start")).status is Status.APPLIED
    outcome = site.ended(event)
    assert (outcome.status, outcome.attempts) == (Status.APPLIED, 2)
    assert "Waiting('task_timeout" in site.log
    site.require(vm, 2)
