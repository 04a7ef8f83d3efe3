"""Drives and images of the rig: what the hazards of the XenAPI look like to a guest and to an administrator."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING

import pytest

from rigs.xapi import XapiPool, XapiSite
from tests.integration.xenserver.client import Failure
from tests.integration.xenserver.stage import Stage, vbd_record
from tests.support import wait_until

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

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


@pytest.fixture(params=["ext", "lvm", "nfs"])
def vm(site: XapiSite, request: pytest.FixtureRequest) -> str:
    """The uuid of a halted VM."""
    kind = str(request.param)
    return site.define_vm(
        "vm", site.add_nfs_sr("root") if kind == "nfs" else site.add_local_sr("xapi-A", "root", kind=kind)
    )


def details(stage: Stage, method: str, *arguments: object) -> list[str]:
    with pytest.raises(Failure) as failure:
        stage.master(method, *arguments)
    return failure.value.details


def test_a_vm_has_its_root_disk_where_it_was_defined(stage: Stage, site: XapiSite, vm: str) -> None:
    drives = site.drives(vm)
    assert [(drive.userdevice, drive.kind, drive.mode) for drive in drives] == [("0", "Disk", "RW")]
    root = stage.master("VBD.get_VDI", drives[0].reference)
    assert stage.master("SR.get_uuid", stage.master("VDI.get_SR", root)) == drives[0].sr
    assert (site.folder(str(drives[0].sr)) / str(drives[0].location)).is_file()


def test_a_drive_vanishes_with_its_image(stage: Stage, site: XapiSite, sr: str) -> None:
    vm = site.define_vm("vm", site.add_local_sr("xapi-A", "root"))
    drive = site.add_cd(vm, "1")
    image = stage.vdi(sr, "a.iso")
    stage.master("VBD.insert", drive, image)
    stage.master("VDI.destroy", image)
    assert details(stage, "VBD.get_record", drive) == ["HANDLE_INVALID", "VBD", drive]
    assert [found.userdevice for found in site.drives(vm)] == ["0"]


def test_one_image_can_be_in_two_drives(stage: Stage, sr: str) -> None:
    image = stage.vdi(sr, "a.iso")
    for _ in range(2):
        vm = stage.vm()
        stage.vbd(vm, "3", image)
        stage.master("VM.start", vm, *NOT_PAUSED)
    assert len(stage.master("VDI.get_VBDs", image)) == 2


def test_a_guest_sees_what_is_in_its_drives(stage: Stage, site: XapiSite, sr: str) -> None:
    vm = site.define_vm("vm", site.add_local_sr("xapi-A", "root"))
    site.add_user_iso(vm)
    site.add_cd(vm, "1")
    place = stage.folder(stage.pool.hosts[0], LOCATION["location"])
    (place / "a.iso").write_bytes(b"config drive")
    stage.master("SR.scan", sr)
    site.start_vm(vm)
    site.insert(vm, "1", stage.master("SR.get_uuid", sr), "a.iso")
    disk, ours, users = site.drives(vm)
    assert (disk.userdevice, users.userdevice) == ("0", "3")
    assert (ours.content, ours.mode, ours.attached, ours.location) == (b"config drive", "RO", True, "a.iso")
    assert b"config drive" not in repr(ours).encode()
    assert site.has_user_iso(vm)
    stage.master("VBD.eject", users.reference)
    assert not site.has_user_iso(vm)


def test_a_drive_made_on_a_running_vm_comes_with_the_next_boot(stage: Stage, sr: str) -> None:
    vm = stage.vm()
    stage.master("VM.start", vm, *NOT_PAUSED)
    drive, image = stage.vbd(vm, "1"), stage.vdi(sr, "a.iso")
    assert details(stage, "VBD.insert", drive, image)[0] == "INTERNAL_ERROR"
    stage.master("VM.clean_reboot", vm)
    stage.master("VBD.insert", drive, image)


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


def test_ha_takes_no_image_that_binds_its_vm_to_a_host(stage: Stage, site: XapiSite, sr: str) -> None:
    vm = site.define_vm("vm", site.add_local_sr("xapi-A", "root"))
    cd, image = site.add_cd(vm, "2"), stage.vdi(sr, "a.iso")
    stage.pool.protect(vm)
    assert details(stage, "VBD.insert", cd, image) == ["HA_OPERATION_WOULD_BREAK_FAILOVER_PLAN"]
    stage.pool.world.newer = True
    ref = stage.master("VM.get_by_uuid", vm)
    wrong = ["HA_CONSTRAINT_VIOLATION_SR_NOT_SHARED", sr]
    assert details(stage, "VBD.create", vbd_record(ref, "1", image)) == wrong


@pytest.mark.parametrize("waits", [None, (0.0, 0.01)])
def test_one_at_a_time_is_at_a_storage(stage: Stage, sr: str, waits: tuple[float, float] | None) -> None:
    """Whoever comes second waits until it is free, or as with a real one a while at random."""
    stage.pool.exclusion.waits = waits
    with ThreadPoolExecutor(1) as threads:
        with stage.pool.exclusion.alone(stage.pool.world, "SR.scan", [sr]):
            late = threads.submit(stage.vdi, sr, "a.iso")
            wait_until(lambda: stage.pool.exclusion.conflicts > 0, "the second to come", timeout=10)
            assert not late.done()
        assert late.result(10)


def test_what_is_on_no_iso_storage_is_not_inserted(stage: Stage, site: XapiSite) -> None:
    uuid = site.define_vm("vm", site.add_local_sr("xapi-A", "root"))
    disk = stage.master("VBD.get_VDI", site.drives(uuid)[0].reference)
    assert details(stage, "VBD.insert", site.add_cd(uuid), disk) == ["VDI_IS_NOT_ISO", disk, "user"]


def test_a_suspended_vms_drives_stay_as_they_are(stage: Stage, site: XapiSite, sr: str) -> None:
    root = site.add_local_sr("xapi-A", "root")
    vm = stage.master("VM.get_by_uuid", site.define_vm("vm", root))
    drive, image = stage.vbd(vm, "1"), stage.vdi(sr, "a.iso")
    pool = stage.master("pool.get_all")[0]
    stage.master("pool.set_suspend_image_SR", pool, stage.master("SR.get_by_uuid", root))
    stage.master("VM.start", vm, *NOT_PAUSED)
    stage.master("VM.suspend", vm)
    assert details(stage, "VBD.insert", drive, image) == ["VM_BAD_POWER_STATE", vm, "halted, running", "suspended"]
    stage.master("VM.resume", vm, *NOT_PAUSED)
    stage.master("VBD.insert", drive, image)


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


def test_a_snapshot_keeps_the_image_that_was_in_the_drive(stage: Stage, site: XapiSite, sr: str) -> None:
    uuid = site.define_vm("vm", site.add_local_sr("xapi-A", "root"))
    drive = site.add_cd(uuid, "1", {"mark": "ours"})
    first, second = stage.vdi(sr, "1.iso"), stage.vdi(sr, "2.iso")
    stage.master("VBD.insert", drive, first)
    site.start_vm(uuid)
    vm = stage.master("VM.get_by_uuid", uuid)
    snapshot = stage.master("VM.snapshot", vm, "kept")
    assert stage.master("VM.get_snapshots", vm) == [snapshot]
    assert details(stage, "VM.start", snapshot, *NOT_PAUSED) == ["VM_IS_TEMPLATE", snapshot]
    stage.master("VBD.eject", drive)
    stage.master("VBD.insert", drive, second)
    stage.master("VM.revert", snapshot)
    assert [found.location for found in site.drives(uuid)][1:] == ["1.iso"]
    assert site.power(uuid) == "Halted"
    reverted = site.drives(uuid)[1].reference
    assert reverted != drive
    assert stage.master("VBD.get_other_config", reverted) == {"mark": "ours"}
    stage.master("VDI.destroy", first)
    assert len(stage.master("VM.get_VBDs", snapshot)) == len(stage.master("VM.get_VBDs", vm)) == 1
    stage.master("VM.destroy", snapshot)
    assert stage.master("VM.get_snapshots", vm) == []


@pytest.mark.parametrize("name", ["a.iso.tmp", "A.ISO", "a..iso", "-.img"])
def test_names_that_the_driver_takes(stage: Stage, sr: str, name: str) -> None:
    """Its rule is not anchored at the end; the next scan forgets what is no image by its end."""
    image = stage.vdi(sr, name)
    stage.master("SR.scan", sr)
    assert (image in stage.master("VDI.get_all")) == (name != "a.iso.tmp")


def test_an_exported_image_is_what_was_imported(stage: Stage, sr: str) -> None:
    image = stage.vdi(sr, "a.iso", size=4)
    task = stage.master("task.create", "import", "")
    assert stage.master.put(b"data", vdi=image, task=task)[0] == 200
    connection = stage.master.connect()
    connection.request("GET", f"/export_raw_vdi?session_id={stage.master.session}&vdi={image}&format=raw")
    assert connection.getresponse().read() == b"data"
    connection.close()


def test_a_short_import_succeeds_and_leaves_the_rest_as_it_was(stage: Stage, sr: str) -> None:
    image = stage.vdi(sr, "a.iso", size=8)
    for content in (b"12345678", b"abc"):
        task = stage.master("task.create", "import", "")
        assert stage.master.put(content, vdi=image, task=task)[-4] == "success"
    place = stage.folder(stage.pool.hosts[0], LOCATION["location"])
    assert (place / "a.iso").read_bytes() == b"abc45678"


def test_records_are_found_by_their_fields(stage: Stage, sr: str) -> None:
    one, other = stage.vdi(sr, "a.iso", name="one"), stage.vdi(sr, "b.iso", name='the "other"')
    ask = "VDI.get_all_records_where"
    assert list(stage.master(ask, f'field "SR" = "{sr}" and not field "name__label" = "one"')) == [other]
    assert list(stage.master(ask, r'field "name__label" = "the \"other\""')) == [other]
    assert set(stage.master(ask, '(field "location" = "a.iso") or (field "location" = "b.iso")')) == {one, other}
    assert stage.master(ask, 'field "read_only" = "true"') == {}
    assert details(stage, ask, 'field "name_label" = "one"')[0] == "INTERNAL_ERROR"
    assert details(stage, ask, 'field "SR" =')[0] == "INTERNAL_ERROR"
