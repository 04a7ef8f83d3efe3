"""TERM: a worker ends when its events in work are done; what it had not begun is another's."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from configdrive.contract.outcome import Status
from rigs.simulated.faults import Hang
from rigs.worker import Worker
from tests.e2e.site import QUICK, Site, new_vm
from workers.hypervisors.simulated.inventory import Verb

if TYPE_CHECKING:
    from collections.abc import Callable


@pytest.mark.parametrize("pool", ["prefork", "threads", "solo"])
def test_worker_ends_in_order(make_site: Callable[..., Site], pool: str) -> None:
    # With lease and resend times that are longer than the test: nothing here is mended by the sweeper.
    site = make_site(workers=1, options=["--pool", pool], settings={**QUICK, "lease_seconds": 60, "resend_seconds": 60})
    site.start()
    (worker,) = site.workers
    assert site.outcome(new_vm().event("start")).status is Status.APPLIED

    vms = [new_vm() for _ in range(5)]  # the pool has two places: most of these wait on the queue
    for vm in vms:
        site.inject(Hang(verb=Verb.UPLOAD, vm=vm.uuid, seconds=1.5))
    ids = [site.publish(vm.event("start"), vm.event("update", guest={"password": "x"}, apply="now")) for vm in vms]
    site.wait_claimed(vms[0])
    worker.terminate()
    assert worker.wait_ended(timeout=50) == 0
    done = [site.mailbox.outcome_of(first) for first, _ in ids]
    begun = [outcome for outcome in done if outcome is not None]
    assert 1 <= len(begun) < len(vms)
    assert {(outcome.status, outcome.attempts) for outcome in begun} == {(Status.APPLIED, 1)}
    for vm in vms:
        view = site.mailbox.view(vm.uuid)  # type: ignore[arg-type]  # a VmUuid is a str
        assert view is not None
        assert view.owner is None  # every lease was given back

    site.start_workers()
    found = site.outcomes([event for pair in ids for event in pair], timeout=40)
    assert {(outcome.status, outcome.attempts) for (outcome,) in found.values()} == {(Status.APPLIED, 1)}
    for vm in vms:
        site.require(vm, 1)

    worker.terminate()
    assert worker.wait_ended(timeout=50) == 0, "nothing is in work: neither lease nor resend time is waited for"
    assert "Traceback" not in site.log


def test_a_worker_that_shall_end_does_so_while_redis_hangs(make_site: Callable[..., Site]) -> None:
    """Stopped, not closed: nothing tells a worker that no answer will come."""
    site = make_site(workers=0, settings=QUICK)
    pools = ("prefork", "threads", "solo")
    site.workers += [Worker(site.directory, pool, site.environment, options=["--pool", pool]) for pool in pools]
    site.start()
    vms = [new_vm() for _ in range(5)]  # each place of each pool has one, in the middle of it
    for vm in vms:
        site.inject(Hang(verb=Verb.UPLOAD, vm=vm.uuid, seconds=2))
    site.publish(*[vm.event("start") for vm in vms])
    for vm in vms:
        site.wait_claimed(vm)
    site.redis.pause()
    try:
        for worker in site.workers:
            worker.terminate()
        codes = [worker.wait_ended(timeout=60) for worker in site.workers]
    finally:
        site.redis.resume()
    assert codes == [69, 69, 69]
    assert not any(worker.children() for worker in site.workers)
