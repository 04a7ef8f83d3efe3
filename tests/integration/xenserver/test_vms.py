"""Finding VMs, their root disks and their drives; drives as disks; what a survey shows."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from configdrive.errors import PermanentCode
from configdrive.model import AttachBy, Place, PowerState, Presentation, StorageName, StoredImage
from configdrive.ports import AttachedHow, NoDrive
from tests.contract.rig import image_name, make_image
from tests.integration.xenserver.cloud import LOCAL_A, NFS, A, Cloud
from tests.support import error_of
from workers.hypervisors.xenserver.names import VM_MARK

if TYPE_CHECKING:
    from configdrive.model import Vm
    from workers.hypervisors.xenserver.driver import XenServerDriver


def give(driver: XenServerDriver, vm: Vm, generation: int = 1, place: Place = NFS) -> AttachedHow:
    driver.upload(vm, make_image(vm, generation), place)
    return driver.attach(vm, image_name(vm, generation), place).how


# --- which VM ---------------------------------------------------------------------------------------------------------


def test_the_uuid_goes_before_the_name(cloud: Cloud, driver: XenServerDriver) -> None:
    vm, other = cloud.vm(LOCAL_A), cloud.vm(NFS)
    assert driver.observe(replace(vm, instance_name=other.instance_name)).storage == LOCAL_A


def test_a_vm_that_was_destroyed_and_made_again_is_found_again(cloud: Cloud, driver: XenServerDriver) -> None:
    vm = cloud.vm()
    give(driver, vm)
    driver.detach(vm)
    cloud.call("VM.destroy", cloud.ref(vm))
    assert driver.observe(vm).power is PowerState.UNDEFINED
    cloud.site.define_vm(vm.instance_name, cloud.storages[NFS], uuid=vm.uuid)
    assert driver.observe(vm).power is PowerState.HALTED


# --- which storage ----------------------------------------------------------------------------------------------------


def test_a_storage_is_called_by_its_uuid_where_its_label_says_too_little(cloud: Cloud, driver: XenServerDriver) -> None:
    cloud.site.add_local_sr(A, "local")
    vm = cloud.vm(LOCAL_A)
    uuid = StorageName(cloud.storages[LOCAL_A])
    for asked in (vm, replace(vm, primary_storage=uuid)):
        storage = driver.observe(asked).storage
        assert (storage, storage and storage.storage) == (LOCAL_A, uuid)
    assert (
        error_of(driver.observe, replace(vm, primary_storage=LOCAL_A.storage)).code is PermanentCode.STORAGE_NOT_FOUND
    )


def test_a_uuid_in_the_event_means_the_storage_of_that_uuid(cloud: Cloud, driver: XenServerDriver) -> None:
    vm = replace(cloud.vm(), primary_storage=StorageName(cloud.storages[LOCAL_A]))
    assert driver.observe(vm).storage == LOCAL_A


def test_an_iso_library_is_no_primary_storage(cloud: Cloud, driver: XenServerDriver) -> None:
    cloud.site.add_user_iso(cloud.vm().uuid)
    assert (
        error_of(driver.observe, replace(cloud.vm(), primary_storage=StorageName("ISO library"))).code
        is PermanentCode.STORAGE_NOT_FOUND
    )


# --- which drive ------------------------------------------------------------------------------------------------------


def test_an_image_that_somebody_put_into_the_user_s_slot_goes_from_there(cloud: Cloud, driver: XenServerDriver) -> None:
    vm = cloud.vm()
    give(driver, vm)
    (own,) = cloud.config_drives(vm)
    user = cloud.site.add_cd(vm.uuid, "3")
    cloud.call("VBD.insert", user, cloud.call("VBD.get_VDI", own.reference))
    assert give(driver, vm, 2) is AttachedHow.INSERTED
    (left,) = cloud.config_drives(vm)
    assert (left.userdevice, left.content) == (own.userdevice, make_image(vm, 2).content)


def test_a_user_s_medium_in_the_config_drive_is_left_alone(cloud: Cloud, driver: XenServerDriver) -> None:
    vm, other = cloud.vm(), cloud.vm()
    cloud.site.add_user_iso(other.uuid)
    (iso,) = [drive for drive in cloud.site.drives(other.uuid) if drive.kind == "CD"]
    own = cloud.site.add_cd(vm.uuid, "2", {VM_MARK: vm.uuid})
    cloud.call("VBD.insert", own, cloud.call("VBD.get_VDI", iso.reference))
    assert driver.observe(vm).drive == NoDrive()
    assert error_of(give, driver, vm).code is PermanentCode.NO_FREE_SLOT


def test_a_drive_that_comes_with_the_next_boot_can_be_exchanged_and_taken_back(
    cloud: Cloud, driver: XenServerDriver
) -> None:
    vm = cloud.vm(running=True)
    for generation in (1, 2):
        assert give(driver, vm, generation) is AttachedHow.NEXT_BOOT
        assert driver.attach(vm, image_name(vm, generation), NFS).how is AttachedHow.NEXT_BOOT
        assert cloud.medium(vm) == make_image(vm, generation).content
    driver.detach(vm)
    assert driver.observe(vm).drive == NoDrive()


# --- as a disk --------------------------------------------------------------------------------------------------------


def test_from_cd_to_disk_and_back(cloud: Cloud, driver: XenServerDriver) -> None:
    vm = cloud.vm()
    for generation, presentation in enumerate((Presentation.CDROM, Presentation.DISK, Presentation.CDROM), 1):
        now = replace(vm, presentation=presentation)
        give(driver, now, generation)
        assert cloud.medium(vm) == make_image(vm, generation).content


# --- described, not done ----------------------------------------------------------------------------------------------


def test_the_orchestrator_gets_the_free_slot_s_name(cloud: Cloud, driver: XenServerDriver) -> None:
    vm = replace(cloud.vm(), attach_by=AttachBy.ORCHESTRATOR)
    driver.upload(vm, make_image(vm), NFS)
    described = driver.attach(vm, image_name(vm), NFS)
    (iso_sr,) = cloud.iso_srs()
    assert (described.device, described.path) == ("xvdc", f"{iso_sr['uuid']}/{image_name(vm)}")
    (vdi,) = iso_sr["VDIs"]
    assert cloud.call("VDI.get_name_label", vdi) == str(image_name(vm))


def test_a_storage_that_is_not_attached_is_unreachable_and_spoils_nothing(
    cloud: Cloud, driver: XenServerDriver
) -> None:
    vm, other = cloud.vm(), cloud.vm(LOCAL_A)
    driver.upload(vm, make_image(vm), NFS)
    driver.upload(other, make_image(other), LOCAL_A)
    record = next(one for one in cloud.iso_srs() if not one["shared"])
    cloud.call("PBD.unplug", record["PBDs"][0])
    survey = cloud.driver().survey(A)
    assert survey.images == (StoredImage(image_name(vm), NFS),)
    assert survey.unreachable == (LOCAL_A,)
