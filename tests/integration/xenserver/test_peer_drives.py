"""Drives and images of the rig: what the hazards of the XenAPI look like to a guest and to an administrator."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from rigs.xapi import XapiPool, XapiSite
from tests.integration.xenserver.client import Failure
from tests.integration.xenserver.stage import Stage, vbd_record
from tests.support import wait_until

NOT_PAUSED = (False, False)
LOCATION = {"location": "/srv/isos", "legacy_mode": "true"}


@pytest.fixture
def stage(tmp_path: Path) -> Iterator[Stage]:
    with XapiPool(tmp_path / "pool") as pool, Stage.open(pool) as stage:
        stage.folder(pool.hosts[0], LOCATION["location"])
        yield stage


@pytest.fixture
def site(stage: Stage) -> XapiSite:
    return XapiSite(stage.pool)


@pytest.fixture
def sr(stage: Stage) -> str:
    return stage.iso_sr(LOCATION)


def details(stage: Stage, method: str, *arguments: object) -> list[str]:
    with pytest.raises(Failure) as failure:
        stage.master(method, *arguments)
    return failure.value.details


def test_a_guest_sees_cds_where_they_are_emulated_and_disks_with_drivers(stage: Stage, site: XapiSite, sr: str) -> None:
    root, image = site.add_local_sr("xapi-A", "root"), stage.vdi(sr, "a.iso")
    for drivers in (True, False):
        vm = site.define_vm("vm", root, pv_drivers=drivers)
        cds = [site.add_cd(vm, device) for device in ("2", "4", "xvdf")]
        stage.vbd(stage.master("VM.get_by_uuid", vm), "15", image, type="Disk")
        site.start_vm(vm)
        seen = {drive.userdevice: drive.seen for drive in site.drives(vm)[1:]}
        assert seen == {"2": True, "4": False, "xvdf": False, "15": drivers}
        stage.master("VBD.insert", cds[0], image)
        for cd, devid in ((cds[1], 51776), (cds[2], 51792)):
            wrong = ["INTERNAL_ERROR", f"unexpected disk for devid {devid}"]
            assert details(stage, "VBD.insert", cd, image) == wrong


@pytest.mark.parametrize("waits", [None, (0.0, 0.01)])
def test_one_at_a_time_is_at_a_storage(stage: Stage, sr: str, waits: tuple[float, float] | None) -> None:
    """Whoever comes second waits until it is free, or as with a real one a while at random."""
    stage.pool.exclusion.waits = waits
    with ThreadPoolExecutor(1) as threads:
        with stage.pool.exclusion.alone(sr, stage.pool.faults.wait):
            late = threads.submit(stage.vdi, sr, "a.iso")
            wait_until(lambda: stage.pool.exclusion.conflicts > 0, "the second to come", timeout=10)
            assert not late.done()
        assert late.result(600)


def test_a_vm_does_not_boot_from_a_file_that_is_gone(stage: Stage, sr: str) -> None:
    vm, image = stage.vm(), stage.vdi(sr, "a.iso")
    stage.vbd(vm, "1", image)
    (stage.folder(stage.pool.hosts[0], LOCATION["location"]) / "a.iso").unlink()
    assert details(stage, "VM.start", vm, *NOT_PAUSED)[0] == "SR_BACKEND_FAILURE_46"
    stage.master("SR.scan", sr)
    assert details(stage, "VM.start", vm, *NOT_PAUSED) == ["HANDLE_INVALID", "VDI", image]


def test_a_drive_is_busy_while_its_vm_starts(stage: Stage, site: XapiSite, sr: str) -> None:
    uuid = site.define_vm("vm", site.add_local_sr("xapi-A", "root"))
    drive, image = site.add_cd(uuid), stage.vdi(sr, "a.iso")
    vm = stage.master("VM.get_by_uuid", uuid)
    with site.starting(uuid):
        assert details(stage, "VBD.insert", drive, image) == ["OTHER_OPERATION_IN_PROGRESS", "VBD", drive, "attach"]
        wrong = ["OTHER_OPERATION_IN_PROGRESS", "VM", vm, "start"]
        assert details(stage, "VBD.create", vbd_record(vm, "1")) == wrong
        stage.pool.world.newer = True
        assert details(stage, "VM.start", vm, *NOT_PAUSED) == [*wrong, "OpaqueRef:start"]
        assert stage.master("VM.get_power_state", vm) == "Halted"
        assert stage.master("VM.get_allowed_operations", vm) == []
    stage.master("VBD.insert", drive, image)
    assert stage.master("VM.get_power_state", vm) == "Running"
