"""Workers' children are killed while they start VMs: in the end every VM has its one image, and no other."""

import os
import random
import signal
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from configdrive.contract.outcome import Status
from rigs.fleet import Fleet, Supervisor
from rigs.xapi import XapiPool
from rigs.xapi.faults import IMPORT
from tests.e2e.orchestrator import GUEST
from tests.e2e.site import QUICK
from tests.e2e.xenserver.life import Life
from tests.integration.xenserver.cloud import NFS, A, B, Cloud
from tests.support import require_rig, wait_until

VMS = 8
KILLS = 4


@contextmanager
def own_pool(folder: Path, workers: int = 1, **settings: object) -> Iterator[tuple[Cloud, Fleet]]:
    """A pool for a few workers alone: the sessions of other tests' fleets come and go."""
    with require_rig():
        pool = XapiPool(folder / "pool", (A, B))
    with pool:
        cloud = Cloud(pool)
        with Fleet(
            folder / "fleet", pool.inventory_text(), hypervisor="xenserver", workers=workers, settings=QUICK | settings
        ) as fleet:
            yield cloud, fleet


def require_no_session_left(cloud: Cloud, fleet: Fleet) -> None:
    """See that a worker that ends gives its sessions back: XAPI throws the oldest out beyond a few hundred."""
    assert cloud.pool.sessions > 0
    fleet.stop_workers()
    wait_until(lambda: cloud.pool.sessions == 0, "the sessions to end", timeout=20)


def test_killed_starts_are_finished_with_one_sr_and_one_image_each(tmp_path: Path) -> None:
    dice = random.Random(7)  # noqa: S311  # which child and when, not a secret
    with own_pool(tmp_path, workers=2) as (cloud, fleet):
        with Supervisor(fleet.workers):
            for method in ("SR.create", IMPORT, "VDI.create", "VBD.create"):
                cloud.pool.faults.delay(method, 0.1, times=None)  # so that a kill finds something half-done
            vms = [Life(cloud, fleet, NFS, (A, B)[number % 2]) for number in range(VMS)]
            events = [vm.publish("start", guest=GUEST) for vm in vms]
            wait_until(lambda: cloud.pool.calls["VM.get_all_records_where"] > 0, "the work to begin", timeout=20)
            kills = 0
            while kills < KILLS:
                time.sleep(dice.uniform(0.05, 0.3))
                children = dice.choice(fleet.workers).children()
                if children:
                    with suppress(ProcessLookupError):
                        os.kill(dice.choice(children), signal.SIGKILL)
                    kills += 1
            outcomes = [vm.outcome(event) for vm, event in zip(vms, events, strict=True)]
        assert {outcome.status for outcome in outcomes} == {Status.APPLIED}, outcomes
        assert any(outcome.attempts > 1 for outcome in outcomes), "no kill met any work"
        assert len(cloud.iso_srs()) == 1
        assert len(cloud.images(NFS)) == VMS
        for vm in vms:
            (image,) = vm.images().values()
            (drive,) = cloud.config_drives(vm.vm)
            assert drive.content == image
            assert len([one for one in cloud.site.drives(vm.script.uuid) if one.kind == "CD"]) == 1
        cloud.pool.expire_sessions()  # those of killed children
        assert vms[0].send("start").status is Status.APPLIED
        require_no_session_left(cloud, fleet)


def test_no_session_outlives_a_worker_of_threads(tmp_path: Path) -> None:
    with own_pool(tmp_path, pool="threads") as (cloud, fleet):
        assert Life(cloud, fleet, NFS, A).send("start").status is Status.APPLIED
        require_no_session_left(cloud, fleet)
