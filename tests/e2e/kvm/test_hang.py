"""A file system of one host hangs: how its VMs' events end, and what that costs those of other storages."""

from __future__ import annotations

from typing import TYPE_CHECKING

from configdrive.contract.outcome import Status
from configdrive.errors import TransientCode
from rigs.fleet import Fleet
from rigs.hanging_files import HangingFiles
from tests.e2e.kvm.conftest import QUICK
from tests.e2e.kvm.moving import GUEST, Moving
from tests.e2e.kvm.site import LOCAL, OTHER
from tests.support import require_rig

if TYPE_CHECKING:
    from pathlib import Path

    from tests.e2e.kvm.site import Site


def test_a_file_system_that_hangs_is_asked_once_and_holds_up_its_own_vms_only(hosts: Site, tmp_path: Path) -> None:
    """With one process for all. libvirt answers nothing about that pool, and finds no other one by its directory."""
    host = hosts.hosts["h1"]
    with require_rig():
        settings = {**QUICK, "concurrency": 1, "call_seconds": 3}
        fleet = Fleet(tmp_path / "fleet", hosts.inventory, hypervisor="kvm", settings=settings)
        hangs = HangingFiles(hosts.directory / OTHER, tmp_path / "asked", host.within)
    with fleet:
        bad, good = ([Moving(hosts, fleet, hosts.directory / root) for _ in range(3)] for root in (OTHER, LOCAL))
        for vm in (*bad, *good):
            vm.define()
        for vm in good:
            assert vm.send("start", guest=GUEST).status is Status.APPLIED
        with hangs:
            waiting = [fleet.publisher.publish(vm.script.event("start", hypervisor="kvm", guest=GUEST)) for vm in bad]
            parked = [fleet.publisher.wait(event, 300) for event in waiting]
            for vm in good:
                outcome = vm.send("start", guest=GUEST)
                assert (outcome.status, outcome.attempts) == (Status.APPLIED, 1)
            assert hangs.waiting == 1, "and held one thread of libvirtd's"
        for vm, ended in zip(bad, parked, strict=True):
            assert ended is not None
            assert (ended.status, ended.code) == (Status.PARKED, TransientCode.STORAGE_UNAVAILABLE)
            assert vm.goes_on(ended).status is Status.APPLIED
            assert vm.media("h1") == set(map(str, vm.images("h1")))
