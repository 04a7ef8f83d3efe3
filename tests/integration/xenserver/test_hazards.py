"""What XAPI lets happen, and the driver does not."""

from concurrent.futures import ThreadPoolExecutor

import pytest

from configdrive.errors import FleetError, TransientCode
from configdrive.model import PowerState, StoredImage, Vm
from configdrive.ports import AttachedHow, NoDrive
from rigs.xapi import XapiError
from tests.contract.rig import image_name, make_image
from tests.integration.xenserver.cloud import NFS, A, Cloud, give, given
from tests.support import error_of
from workers.hypervisors.xenserver.driver import XenServerDriver
from workers.hypervisors.xenserver.names import VM_MARK


def vdi_of(cloud: Cloud, vm: Vm) -> str:
    (drive,) = cloud.config_drives(vm)
    return str(cloud.call("VBD.get_VDI", drive.reference))


def test_an_image_deleted_past_the_fleet_under_a_running_vm_is_reported_with_the_remedy(
    cloud: Cloud, driver: XenServerDriver
) -> None:
    vm = given(cloud, driver, running=True)
    (path,) = cloud.folder(NFS).iterdir()
    path.unlink()
    (iso_sr,) = cloud.iso_srs()
    cloud.call("SR.scan", cloud.call("SR.get_by_uuid", iso_sr["uuid"]))
    caught = error_of(give, driver, vm, 2)
    assert isinstance(caught.code, TransientCode)
    assert "XAPI empties the drive by itself" in str(caught)
    cloud.pool.collect_garbage()  # within half a minute
    assert give(driver, vm, 3).how is AttachedHow.INSERTED
    assert cloud.medium(vm) == make_image(vm, 3).content


def test_of_six_inserts_at_once_one_wins_and_nobody_gets_a_wrong_answer(cloud: Cloud) -> None:
    vm = cloud.vm()
    drivers = [cloud.driver(timeout=20.0) for _ in range(6)]
    drivers[0].upload(vm, make_image(vm), NFS)
    cloud.site.add_cd(vm.uuid, "2", {VM_MARK: vm.uuid})
    cloud.site.start_vm(vm.uuid, A)

    def attach(driver: XenServerDriver) -> object:
        try:
            return driver.attach(vm, image_name(vm), NFS).how
        except FleetError as error:
            return error.code

    with ThreadPoolExecutor(len(drivers)) as pool:
        answers = list(pool.map(attach, drivers))
    assert set(answers) <= {AttachedHow.INSERTED, AttachedHow.ALREADY}
    assert cloud.medium(vm) == make_image(vm).content


def test_an_insert_that_somebody_else_was_faster_with_is_looked_at(cloud: Cloud, driver: XenServerDriver) -> None:
    vm = cloud.vm()
    driver.upload(vm, make_image(vm), NFS)
    cloud.site.add_cd(vm.uuid, "2", {VM_MARK: vm.uuid})
    cloud.pool.faults.fail("VBD.insert", "VBD_NOT_EMPTY", "OpaqueRef:x")
    assert error_of(driver.attach, vm, image_name(vm), NFS).code is TransientCode.VM_BUSY
    assert cloud.medium(vm) is None


def test_a_name_that_xapi_s_unanchored_check_lets_pass_is_no_image(cloud: Cloud, driver: XenServerDriver) -> None:
    vm = given(cloud, driver)
    row = cloud.pool.world.db.row("VDI", vdi_of(cloud, vm))
    driver.survey(A)  # has the SR scanned; the next ones do not
    stem = row["location"].removesuffix(".iso")
    for tail in (".iso/../../evil", ".iso\n", ".ISO", "_.iso", ".iso.bak", ".iso.iso"):
        row["location"] = stem + tail
        assert (tail, driver.observe(vm).images, driver.survey(A).images) == (tail, (), ())


def test_a_suspended_vm_s_drive_is_left_alone_and_said_to_be_busy(cloud: Cloud, driver: XenServerDriver) -> None:
    vm = given(cloud, driver)
    cloud.pool.world.db.row("VM", cloud.ref(vm))["power_state"] = "Suspended"
    assert driver.observe(vm).power is PowerState.SUSPENDED
    assert error_of(give, driver, vm, 2).code is error_of(driver.detach, vm).code is TransientCode.VM_BUSY
    assert cloud.medium(vm) == make_image(vm).content


def test_a_vm_whose_operations_are_blocked_has_its_drive_all_the_same(cloud: Cloud, driver: XenServerDriver) -> None:
    """XAPI blocks what is done with a VM, not what is done with its drives; the driver does nothing with VMs."""
    vm = cloud.vm(running=True)
    allowed = cloud.call("VM.get_allowed_operations", cloud.ref(vm))
    cloud.pool.world.db.row("VM", cloud.ref(vm))["blocked_operations"] = dict.fromkeys(allowed, "backup")
    with pytest.raises(XapiError) as blocked:
        cloud.site.stop_vm(vm.uuid)
    assert blocked.value.description == ["OPERATION_BLOCKED", cloud.ref(vm), "backup"]
    assert cloud.call("VM.get_allowed_operations", cloud.ref(vm)) == []
    for generation in (1, 2):  # what comes with the next boot can be exchanged, and taken back
        assert give(driver, vm, generation).how is AttachedHow.NEXT_BOOT
        assert driver.attach(vm, image_name(vm, generation), NFS).how is AttachedHow.NEXT_BOOT
        assert cloud.medium(vm) == make_image(vm, generation).content
    driver.detach(vm)
    assert (cloud.medium(vm), driver.observe(vm).drive) == (None, NoDrive())


def test_a_snapshot_s_drive_does_not_keep_an_image_from_being_deleted(cloud: Cloud, driver: XenServerDriver) -> None:
    """XAPI puts the very same disc into a snapshot's CD drive."""
    vm, snapshot = cloud.vm(), cloud.vm()
    give(driver, vm)
    vbd = cloud.site.add_cd(snapshot.uuid, "1", {VM_MARK: vm.uuid})
    cloud.call("VBD.insert", vbd, vdi_of(cloud, vm))
    cloud.pool.world.db.row("VM", cloud.ref(snapshot))["is_a_snapshot"] = True
    image = StoredImage(image_name(vm), NFS)
    assert error_of(driver.delete, vm, image).code is TransientCode.IMAGE_IN_USE  # the VM itself still has it
    driver.detach(vm)
    driver.delete(vm, image)
    assert cloud.images(NFS) == {}
