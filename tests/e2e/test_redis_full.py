"""Redis is full, and refuses what takes room: workers stay, and what they have wake-ups for is done."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from configdrive.contract.outcome import Status
from rigs.simulated.faults import Hang
from tests.e2e.site import QUICK, Site, new_vm
from workers.hypervisors.simulated.inventory import Verb

if TYPE_CHECKING:
    from collections.abc import Callable


@pytest.mark.parametrize("pool", ["prefork", "solo"])
def test_workers_go_on(make_site: Callable[..., Site], pool: str) -> None:
    # So long a resend time that nothing is sent again: each event is done by the wake-up that was there before.
    site = make_site(workers=1, options=["--pool", pool], settings={**QUICK, "lease_seconds": 60, "resend_seconds": 60})
    site.start()
    (worker,) = site.workers
    vms = [new_vm() for _ in range(6)]
    for vm in vms[:2]:
        site.inject(Hang(verb=Verb.OBSERVE, vm=vm.uuid, seconds=1.5))
    ids = [site.publish(vm.event("start"))[0] for vm in vms]
    site.wait_claimed(vms[0])
    pid = worker.pid
    with site.redis.client() as client:
        client.config_set("maxmemory", 1)
        found = site.outcomes(ids)
        assert [outcome.status for (outcome,) in found.values()] == [Status.APPLIED] * len(vms)
        client.config_set("maxmemory", 0)
    assert site.outcome(new_vm().event("start")).status is Status.APPLIED
    assert (worker.running, worker.pid) == (True, pid)
    assert site.mailbox.dead_letters(10) == []
