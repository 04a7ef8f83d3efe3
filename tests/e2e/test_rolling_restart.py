"""A worker of each pool is told to end (TERM), in the middle of a stream and while Redis hangs."""

import sys
import time
from collections.abc import Callable

import pytest

from rigs.simulated.faults import Hang
from rigs.worker import Worker
from tests.e2e.site import QUICK, Site, new_vm
from tests.e2e.stream import Stream
from workers.hypervisors.simulated.inventory import Verb

VMS = 8
EVENTS = 160
PLACES = {"prefork": 2, "threads": 2, "solo": 1}
"""How many events each pool works on at once."""


def test_rolling_restart_loses_doubles_and_reorders_nothing_and_no_worker_waits_for_a_redis_that_hangs(
    make_site: Callable[..., Site], capsys: pytest.CaptureFixture[str]
) -> None:
    # What a worker left behind would be missed, or have another attempt: no wake-up is sent again.
    site = make_site(workers=0, latency_ms=20, settings={**QUICK, "lease_seconds": 15, "resend_seconds": 3600})
    site.workers += [Worker(site.directory, pool, site.environment, options=["--pool", pool]) for pool in PLACES]
    site.start()
    stream = Stream(site, VMS)
    begun = time.monotonic()
    stream.start()
    drained = []
    for worker in site.workers:
        stream.wait_for(VMS)
        asked = time.monotonic()
        worker.terminate()
        assert worker.wait_ended(timeout=60) == 0
        drained.append(time.monotonic() - asked)
        worker.start()
    stream.wait_for(max(VMS, EVENTS - stream.count))
    stream.end()
    outcomes = site.require_all_done(stream.published, timeout=150)
    seconds = time.monotonic() - begun
    with capsys.disabled():
        sys.stdout.write(
            f"\n[measured] {len(outcomes)} events over {VMS} VMs in {seconds:.1f} s; 3 workers restarted meanwhile, "
            f"drained in {', '.join(f'{one:.1f}' for one in drained)} s\n"
        )
    assert {outcome.attempts for outcome in outcomes} == {1}
    assert site.mailbox.pending() == {"configdrive.simulated": 0}
    assert "Traceback" not in site.log

    # Stopped, not closed: nothing tells a worker that no answer will come.
    vms = [new_vm() for _ in range(sum(PLACES.values()))]
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
