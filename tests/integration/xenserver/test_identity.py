"""VMs, images, drives, storages and hosts are known by what they are: not by a label, a slot or an inventory's name."""

import threading
from collections.abc import Callable
from dataclasses import replace

import pytest

from configdrive.errors import PermanentCode, TransientCode
from configdrive.model import (
    AttachBy,
    HostName,
    InstanceName,
    Place,
    PowerState,
    Presentation,
    StorageName,
    StoredImage,
    Vm,
)
from configdrive.ports import AttachedHow, Inserted, NoDrive, SurveyedVm
from tests.contract.rig import image_name, make_image, new_vm
from tests.integration.xenserver.cloud import BLOCK_A, LOCAL_A, NFS, A, B, Cloud, give, given
from tests.support import error_of, wait_until
from workers.hypervisors.xenserver.driver import XenServerDriver
from workers.hypervisors.xenserver.names import VM_MARK


def refused(verb: Callable[[], object]) -> str:
    return str(error_of(verb).code)


def namesake(vm: Vm) -> Vm:
    """A VM of the same name that the pool does not have."""
    return replace(new_vm("xenserver", A), instance_name=vm.instance_name)


# --- VMs --------------------------------------------------------------------------------------------------------------


def test_another_vm_of_the_same_label_is_not_touched(cloud: Cloud, driver: XenServerDriver) -> None:
    there = cloud.vm()
    give(driver, there)
    vm = namesake(there)
    seen = driver.observe(vm)
    assert (seen.power, seen.drive, seen.vm_ref) == (PowerState.UNDEFINED, NoDrive(), None)
    driver.upload(vm, make_image(vm), NFS)
    assert refused(lambda: driver.attach(vm, image_name(vm), NFS)) == PermanentCode.VM_NOT_FOUND
    driver.detach(vm)
    assert cloud.medium(there) == make_image(there).content


def test_where_the_inventory_says_so_a_vm_with_another_uuid_is_found_by_its_label(cloud: Cloud) -> None:
    driver, vm = cloud.driver(identify_by="uuid-or-label"), new_vm("xenserver", A)
    xapis = cloud.site.define_vm(vm.instance_name, cloud.storages[NFS])
    assert driver.observe(vm).power is PowerState.HALTED
    give(driver, vm)
    (drive,) = [drive for drive in cloud.site.drives(xapis) if drive.kind == "CD"]
    assert drive.content == make_image(vm).content
    seen = driver.observe(vm)
    assert (seen.drive, seen.vm_ref) == (Inserted(image_name(vm), NFS), xapis)
    assert [found.uuid for found in driver.survey(A).vms] == [vm.uuid]


def test_a_vm_that_bears_another_s_mark_is_not_taken_for_its_label(cloud: Cloud) -> None:
    driver, there = cloud.driver(identify_by="uuid-or-label"), cloud.vm()
    give(driver, there)
    vm = namesake(there)
    driver.upload(vm, make_image(vm), NFS)
    for verb in (
        lambda: driver.observe(vm),
        lambda: driver.attach(vm, image_name(vm), NFS),
        lambda: driver.detach(vm),
    ):
        assert refused(verb) == PermanentCode.NOT_ITS_DRIVE
    assert cloud.medium(there) == make_image(there).content


def test_what_was_found_by_its_label_does_not_go_before_the_uuid(cloud: Cloud) -> None:
    driver, other = cloud.driver(identify_by="uuid-or-label"), cloud.vm()
    vm = namesake(other)
    assert driver.observe(vm).power is PowerState.HALTED  # such as its deploy, before it was made
    cloud.site.define_vm("renamed", cloud.storages[NFS], uuid=vm.uuid)
    give(driver, vm)
    assert cloud.medium(vm) == make_image(vm).content
    assert cloud.medium(other) is None


def test_a_template_is_no_vm(cloud: Cloud, driver: XenServerDriver) -> None:
    vm = cloud.vm()
    cloud.pool.world.db.row("VM", cloud.ref(vm))["is_a_template"] = True
    assert driver.observe(vm).power is PowerState.UNDEFINED


def test_a_vm_that_was_destroyed_and_made_again_is_found_again(cloud: Cloud, driver: XenServerDriver) -> None:
    vm = cloud.vm()
    assert driver.observe(vm).power is PowerState.HALTED
    cloud.call("VM.destroy", cloud.ref(vm))
    assert driver.observe(vm).power is PowerState.UNDEFINED
    cloud.site.define_vm(vm.instance_name, cloud.storages[NFS], uuid=vm.uuid)
    assert driver.observe(vm).power is PowerState.HALTED


# --- images -----------------------------------------------------------------------------------------------------------


def test_exact_names_are_asked_for_with_one_call_and_nothing_is_listed(cloud: Cloud, driver: XenServerDriver) -> None:
    vm, other = cloud.vm(), cloud.vm()
    for generation in (1, 2):
        driver.upload(vm, make_image(vm, generation), NFS)
    driver.upload(other, make_image(other), NFS)
    driver.observe(vm)
    cloud.pool.calls.clear()
    seen = driver.observe(vm, [LOCAL_A], names=[image_name(vm, 1), image_name(vm, 3), image_name(other)])
    assert seen.images == (StoredImage(image_name(vm, 1), NFS),)
    assert cloud.pool.calls["VDI.get_all_records_where"] == 1
    assert driver.observe(vm, names=[]).images == ()
    assert cloud.pool.calls["VDI.get_all_records_where"] == 1


def test_an_image_that_only_a_scan_has_seen_is_found_by_its_name(cloud: Cloud, driver: XenServerDriver) -> None:
    """As a worker leaves it that was killed between the scan and the naming."""
    vm = cloud.vm()
    driver.upload(vm, make_image(vm), NFS)
    (iso_sr,) = cloud.iso_srs()
    (cloud.folder(NFS) / image_name(vm, 2).file).write_bytes(b"half")
    cloud.call("SR.scan", cloud.call("SR.get_by_uuid", iso_sr["uuid"]))
    assert driver.observe(vm, names=[image_name(vm, 2)]).images == (StoredImage(image_name(vm, 2), NFS),)


# --- drives -----------------------------------------------------------------------------------------------------------


def test_a_drive_that_was_found_with_an_image_is_emptied_and_stays(cloud: Cloud, driver: XenServerDriver) -> None:
    vm = cloud.vm()
    found = cloud.site.add_cd(vm.uuid, "1", {"theirs": "yes"})
    driver.upload(vm, make_image(vm), NFS)
    (iso_sr,) = cloud.iso_srs()
    cloud.site.insert(vm.uuid, "1", iso_sr["uuid"], image_name(vm).file)
    assert driver.attach(vm, image_name(vm), NFS).how is AttachedHow.ALREADY
    driver.detach(vm, [image_name(vm)])
    (left,) = [drive for drive in cloud.site.drives(vm.uuid) if drive.kind == "CD"]
    assert (left.reference, left.location) == (found, None)
    assert cloud.call("VBD.get_other_config", found) == {"theirs": "yes"}


def test_of_a_running_vm_the_drive_is_emptied_and_goes_when_it_is_off(cloud: Cloud, driver: XenServerDriver) -> None:
    vm = given(cloud, driver, running=True)
    driver.detach(vm, [image_name(vm)])
    assert [drive.location for drive in cloud.site.drives(vm.uuid) if drive.kind == "CD"] == [None]
    cloud.site.stop_vm(vm.uuid)
    driver.detach(vm, [])
    assert [drive.kind for drive in cloud.site.drives(vm.uuid)] == ["Disk"]


@pytest.mark.parametrize("running", [True, False])
def test_what_came_into_the_drive_since_it_was_looked_at_stays(
    cloud: Cloud, driver: XenServerDriver, *, running: bool
) -> None:
    vm = cloud.vm()
    driver.upload(vm, make_image(vm, 2), NFS)
    give(driver, vm)
    if running:
        cloud.site.start_vm(vm.uuid, A)
    cloud.pool.calls.clear()
    cloud.pool.faults.delay("VBD.get_record", 1.0)  # the worker sleeps between its look and its eject
    late = threading.Thread(target=driver.detach, args=(vm, [image_name(vm)]))
    late.start()
    wait_until(lambda: cloud.pool.calls["VBD.get_record"] == 1, "the late worker to have looked", timeout=10)
    (drive,) = cloud.config_drives(vm)
    cloud.site.insert(vm.uuid, drive.userdevice, str(drive.sr), image_name(vm, 2).file)
    late.join(300)
    assert cloud.medium(vm) == make_image(vm, 2).content


def test_an_image_that_somebody_put_into_the_user_s_slot_goes_from_there(cloud: Cloud, driver: XenServerDriver) -> None:
    vm = given(cloud, driver)
    (own,) = cloud.config_drives(vm)
    user = cloud.site.add_cd(vm.uuid, "3")
    cloud.call("VBD.insert", user, cloud.call("VBD.get_VDI", own.reference))
    assert give(driver, vm, 2).how is AttachedHow.INSERTED
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


def test_from_cd_to_disk_and_back(cloud: Cloud, driver: XenServerDriver) -> None:
    vm = cloud.vm()
    for generation, presentation in enumerate((Presentation.CDROM, Presentation.DISK, Presentation.CDROM), 1):
        now = replace(vm, presentation=presentation)
        give(driver, now, generation)
        assert cloud.medium(vm) == make_image(vm, generation).content


def test_the_orchestrator_gets_the_free_slot_s_name(cloud: Cloud, driver: XenServerDriver) -> None:
    vm = replace(cloud.vm(), attach_by=AttachBy.ORCHESTRATOR)
    driver.upload(vm, make_image(vm), NFS)
    described = driver.attach(vm, image_name(vm), NFS)
    (iso_sr,) = cloud.iso_srs()
    assert (described.device, described.path) == ("xvdc", f"{iso_sr['uuid']}/{image_name(vm)}")
    (vdi,) = iso_sr["VDIs"]
    assert cloud.call("VDI.get_name_label", vdi) == str(image_name(vm))


# --- clones -----------------------------------------------------------------------------------------------------------


def cloned(cloud: Cloud, vm: Vm) -> Vm:
    uuid = cloud.site.clone_vm(vm.uuid, "clone")
    return replace(vm, uuid=type(vm.uuid)(uuid), instance_name=InstanceName("clone"))


def test_a_clone_holds_nothing_up_and_its_drive_goes_with_the_image(cloud: Cloud, driver: XenServerDriver) -> None:
    vm = given(cloud, driver)
    clone = cloned(cloud, vm)
    assert driver.observe(clone).media == (image_name(vm),)
    driver.detach(vm, [image_name(vm)])
    old = StoredImage(image_name(vm), NFS)
    assert refused(lambda: driver.delete(vm, old)) == TransientCode.IMAGE_IN_USE  # the storage sweep leaves it
    driver.delete(vm, old, anyones=False)
    assert cloud.images(NFS) == {}
    assert [drive.kind for drive in cloud.site.drives(clone.uuid)] == ["Disk"]


def test_of_a_clone_that_runs_the_image_is_left_behind(cloud: Cloud, driver: XenServerDriver) -> None:
    vm = given(cloud, driver)
    clone = cloned(cloud, vm)
    cloud.site.start_vm(clone.uuid, A)
    assert give(driver, vm, 2).how is AttachedHow.INSERTED
    old = StoredImage(image_name(vm), NFS)
    assert refused(lambda: driver.delete(vm, old, anyones=False)) == TransientCode.IMAGE_IN_USE
    cloud.site.stop_vm(clone.uuid)
    driver.delete(vm, old, anyones=False)
    assert list(cloud.images(NFS)) == [image_name(vm, 2).file]


@pytest.mark.parametrize("running", [True, False])
def test_a_clone_is_emptied_by_its_own_start(cloud: Cloud, driver: XenServerDriver, *, running: bool) -> None:
    vm = given(cloud, driver)
    clone = cloned(cloud, vm)
    if running:
        cloud.site.start_vm(clone.uuid, A)
    seen = {found.uuid: found.media for found in driver.survey(A).vms}
    assert seen == {uuid: (Inserted(image_name(vm), NFS),) for uuid in (vm.uuid, clone.uuid)}
    assert give(driver, clone).how is AttachedHow.INSERTED
    assert cloud.medium(clone) == make_image(clone).content
    assert cloud.medium(vm) == make_image(vm).content
    (drive,) = cloud.config_drives(clone)
    assert cloud.call("VBD.get_other_config", drive.reference)[VM_MARK] == clone.uuid


def test_a_clone_whose_original_is_gone_is_no_other_vm(cloud: Cloud, driver: XenServerDriver) -> None:
    vm = given(cloud, driver)
    clone = cloned(cloud, vm)
    cloud.call("VM.destroy", cloud.ref(vm))
    medium = Inserted(image_name(vm), NFS)
    assert driver.survey(A).vms == (SurveyedVm(clone.uuid, "clone", PowerState.HALTED, (medium,)),)


# --- storages and hosts -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("place", [NFS, LOCAL_A, BLOCK_A])
def test_a_storage_that_was_renamed_is_found_by_its_uuid(cloud: Cloud, driver: XenServerDriver, place: Place) -> None:
    vm = given(cloud, driver, place)
    assert driver.observe(vm).storage == place
    cloud.call("SR.set_name_label", cloud.call("SR.get_by_uuid", cloud.storages[place]), "renamed")
    other = cloud.driver()
    seen = other.observe(vm, [place])
    assert seen.storage is not None
    assert (seen.storage, seen.storage.storage, seen.unreachable) == (place, "renamed", ())
    assert seen.images == (StoredImage(image_name(vm), place),)
    other.detach(vm)
    other.delete(vm, StoredImage(image_name(vm), place), anyones=False)
    assert cloud.images(place) == {}


def test_a_place_is_found_though_its_host_has_another_name_now(cloud: Cloud, driver: XenServerDriver) -> None:
    vm = given(cloud, driver, LOCAL_A)
    before = Place(StorageName("local"), HostName("as-it-was-called"), LOCAL_A.identity)
    driver.detach(vm)
    driver.delete(vm, StoredImage(image_name(vm), before), anyones=False)
    assert cloud.images(LOCAL_A) == {}


def test_a_host_says_who_it_is_by_whatever_name_it_is_asked(cloud: Cloud) -> None:
    section = cloud.section()
    twice = {**section["hosts"], "again": {**section["hosts"][A], "name_label": A}}
    driver, vm = type(cloud.driver()).from_inventory({**section, "hosts": twice}, call_timeout=5.0), cloud.vm()
    cloud.drivers.append(driver)
    uuid = cloud.pool.host(A).uuid
    seen, again = driver.observe(vm), driver.observe(replace(vm, host=HostName("again")))
    assert (seen.host_id, seen.vm_ref) == (again.host_id, again.vm_ref) == (uuid, vm.uuid)
    assert driver.survey(A).host_id == uuid
    assert driver.host_of(uuid) in {A, "again"}
    assert driver.host_of(cloud.pool.host(B).uuid) == B
    assert driver.host_of("nobody's") is None
    for name in (A, HostName("again")):
        wrong = [check for check in driver.check(name) if not check.ok]
        assert ["the same host" in check.detail for check in wrong] == [True]
        assert wrong[0].remedy
    assert all(check.ok for check in driver.check(B))


def test_a_storage_that_is_away_is_reported_and_holds_the_look_up_not(cloud: Cloud, driver: XenServerDriver) -> None:
    vm = given(cloud, driver, LOCAL_A)
    for sr in ("SR.get_by_uuid", "iso"):
        uuid = cloud.storages[LOCAL_A] if sr != "iso" else next(one["uuid"] for one in cloud.iso_srs())
        (pbd,) = cloud.call("SR.get_PBDs", cloud.call("SR.get_by_uuid", uuid))
        cloud.call("PBD.unplug", pbd)
    fresh, other = cloud.driver(), cloud.vm()
    seen = fresh.observe(vm, names=[image_name(vm)])
    assert (seen.storage, seen.unreachable, seen.images) == (LOCAL_A, (LOCAL_A,), ())
    assert (seen.power, seen.media) == (PowerState.HALTED, (image_name(vm),))
    fresh.upload(other, make_image(other), NFS)
    survey = fresh.survey(A)
    assert (survey.images, survey.unreachable) == ((StoredImage(image_name(other), NFS),), (LOCAL_A,))
