"""All workers are restarted, one after the other, in the middle of a stream: nothing lost, nothing twice, in order."""

from __future__ import annotations

import itertools
import sys
import threading
import time
from typing import TYPE_CHECKING, Any

import pytest
from typing_extensions import override

from tests.e2e.site import QUICK, Site, new_vm

if TYPE_CHECKING:
    from collections.abc import Callable

    from configdrive.model import EventKey
    from rigs.cloud import VmScript

VMS = 20
ROUNDS = 12
GRACE_SECONDS = 60.0
"""What a supervisor would wait before it kills; the simulated hypervisor's events take milliseconds."""


class Stream(threading.Thread):
    """Publishes events, a round over all VMs at a time, at the pace of a busy orchestrator, until it is told to end."""

    def __init__(self, site: Site, vms: list[VmScript]) -> None:
        super().__init__(daemon=True)
        self._site = site
        self.published: dict[VmScript, list[EventKey]] = {vm: [] for vm in vms}
        self._enough = threading.Event()

    @override
    def run(self) -> None:
        for number in itertools.count(1):
            events: list[dict[str, Any]] = [vm.event("start" if number % 2 else "stop") for vm in self.published]
            for vm, event in zip(self.published, self._site.publish(*events), strict=True):
                self.published[vm].append(event)
            # On a slow machine the restarts take long: few events more are enough then.
            if self._enough.wait(0.25 if number < ROUNDS else 2.0) and number >= ROUNDS:
                return

    def end(self) -> None:
        """Let it end once it has published so many rounds."""
        self._enough.set()
        self.join()


def test_rolling_restart_loses_doubles_and_reorders_nothing(
    make_site: Callable[..., Site], capsys: pytest.CaptureFixture[str]
) -> None:
    # Leases and resends that outlast the test: whatever a worker left behind would not be mended, but missing.
    site = make_site(workers=3, settings={**QUICK, "lease_seconds": 300.0, "resend_seconds": 300.0})
    site.start()
    stream = Stream(site, [new_vm() for _ in range(VMS)])
    begun = time.monotonic()
    stream.start()
    drained = []
    for worker in site.workers:
        time.sleep(0.5)
        asked = time.monotonic()
        worker.terminate()
        assert worker.wait_ended(timeout=GRACE_SECONDS) == 0
        drained.append(time.monotonic() - asked)
        worker.start()
    stream.end()
    outcomes = site.require_all_done(stream.published, timeout=150)
    seconds = time.monotonic() - begun

    with capsys.disabled():
        sys.stdout.write(
            f"\n[measured] {len(outcomes)} events over {VMS} VMs in {seconds:.1f} s; 3 workers restarted meanwhile, "
            f"drained in {', '.join(f'{one:.1f}' for one in drained)} s\n"
        )
    assert len(outcomes) >= VMS * ROUNDS
    assert {outcome.attempts for outcome in outcomes} == {1}
    assert site.mailbox.pending() == {"configdrive.simulated": 0}
    assert "Traceback" not in site.log
