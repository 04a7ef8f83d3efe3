"""What is too slow: a worker that sleeps beyond its lease, an attempt that takes longer than it may, a storage."""

import os
import signal
from collections.abc import Callable, Iterable

from configdrive.contract.outcome import Status
from configdrive.model import HostName, StorageName
from rigs.cloud import HOST, VmScript
from rigs.process import wait_until
from rigs.simulated.faults import Hang, Point
from rigs.simulated.spans import VERBS, Span, spans_of
from tests.e2e.site import QUICK, Site, new_vm
from workers.hypervisors.simulated.inventory import Verb
from workers.hypervisors.simulated.topology import StorageSpec


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


GOOD, BAD = StorageName("good"), StorageName("bad")


def test_a_storage_that_hangs_has_one_worker_at_a_time(make_site: Callable[..., Site]) -> None:
    """Without isolation every process ends up there, again and again, until each call has timed out."""
    site = make_site(
        hosts={HostName(HOST): {GOOD: StorageSpec(), BAD: StorageSpec()}},
        settings={**QUICK, "concurrency": 4, "call_seconds": 3, "lease_seconds": 30},
    )
    site.start()
    hangs = [
        site.cloud.world.faults.inject(Hang(verb=verb, when=when, storage=BAD, seconds=3600, times=0))
        for verb, when in ((Verb.OBSERVE, Point.MIDDLE), (Verb.UPLOAD, Point.BEFORE))
    ]
    bad = [VmScript() for _ in range(8)]
    stuck = site.publish(*[vm.event("start", primary_storage=BAD) for vm in bad])
    good = [VmScript() for _ in range(60)]
    found = site.outcomes(site.publish(*[vm.event("start", primary_storage=GOOD) for vm in good]), timeout=30)
    assert {outcome.status for (outcome,) in found.values()} == {Status.APPLIED}
    before = {vm.uuid: len(spans) for vm, spans in spans(site, bad)}

    def several_were_sent_away() -> bool:
        return site.log.count('Waiting("deferred') >= len(bad)

    wait_until(several_were_sent_away, "the others to be deferred", timeout=30)
    inside = [span for vm, found in spans(site, bad) for span in found[before[vm.uuid] :] if took_long(span)]
    assert most_at_once(inside) <= 1

    for path in hangs:
        path.unlink()
    found = site.outcomes(stuck, timeout=60)
    assert {outcomes[-1].status for outcomes in found.values()} == {Status.APPLIED}
    for (_, visits), event in zip(spans(site, bad), stuck, strict=True):
        waited = sum(map(took_long, visits))
        assert found[event][-1].attempts <= 1 + waited, "being sent away is no attempt"


def spans(site: Site, vms: Iterable[VmScript]) -> list[tuple[VmScript, list[Span]]]:
    found = spans_of(site.cloud.audit(), VERBS)
    return [(vm, found.get(vm.uuid, [])) for vm in vms]


def took_long(span: Span) -> bool:
    """Whether the attempt waited there: who is sent away goes at once."""
    return span.end - span.begin > 10**9


def most_at_once(found: list[Span]) -> int:
    """Return how many of these there were at once."""
    ends = sorted([(span.begin, 1) for span in found] + [(span.end, -1) for span in found])
    most = now = 0
    for _, step in ends:
        now += step
        most = max(most, now)
    return most
