"""Attaching, exchanging and detaching: the right medium, now and after the next power-on, no other drive touched."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import pytest

from configdrive.errors import FleetError, PermanentCode, TransientCode
from configdrive.model import AttachBy, Generation, ImageName, InstanceName, PowerState, StoredImage
from configdrive.ports import AttachedHow, EmptyDrive, Inserted, NoDrive
from tests.contract.rig import Feature, image_name, make_image, new_vm

if TYPE_CHECKING:
    from configdrive.model import Vm
    from configdrive.ports import Attachment, HypervisorDriver
    from tests.contract.rig import DriverRig

pytestmark = pytest.mark.needs(Feature.DRIVES)

POWERS = [PowerState.HALTED, PowerState.RUNNING]


def give(driver: HypervisorDriver, rig: DriverRig, vm: Vm, generation: int = 1) -> Attachment:
    driver.upload(vm, make_image(vm, generation), rig.home)
    return driver.attach(vm, image_name(vm, generation), rig.home)


def next_boot_medium(rig: DriverRig, vm: Vm, power: PowerState) -> bytes | None:
    if power is PowerState.RUNNING:
        rig.stop_vm(vm)
    rig.start_vm(vm)
    return rig.medium(vm)


@pytest.mark.parametrize("power", POWERS)
def test_an_attached_image_is_there_now_and_after_the_next_power_on(
    rig: DriverRig, driver: HypervisorDriver, power: PowerState
) -> None:
    vm = rig.define_vm(power)
    attached = give(driver, rig, vm)
    assert attached.how is AttachedHow.INSERTED
    assert attached.device
    assert attached.path.endswith(str(image_name(vm)))
    assert rig.medium(vm) == make_image(vm).content
    assert rig.is_read_only(vm)
    assert next_boot_medium(rig, vm, power) == make_image(vm).content
    assert driver.observe(vm).drive == Inserted(image_name(vm), rig.home)


def test_a_halted_vm_without_a_slot_gets_one(rig: DriverRig, driver: HypervisorDriver) -> None:
    vm = rig.define_vm(drive=False)
    assert give(driver, rig, vm).how in {AttachedHow.INSERTED, AttachedHow.HOT_ADDED}
    rig.start_vm(vm)
    assert rig.medium(vm) == make_image(vm).content


def test_a_running_vm_without_a_slot_gets_it_now_or_with_its_next_boot(
    rig: DriverRig, driver: HypervisorDriver
) -> None:
    vm = rig.define_vm(PowerState.RUNNING, drive=False)
    how = give(driver, rig, vm).how
    assert how in {AttachedHow.HOT_ADDED, AttachedHow.NEXT_BOOT}
    assert rig.medium(vm) == (make_image(vm).content if how is AttachedHow.HOT_ADDED else None)
    assert next_boot_medium(rig, vm, PowerState.RUNNING) == make_image(vm).content


@pytest.mark.parametrize("power", POWERS)
def test_attaching_again_changes_nothing(rig: DriverRig, driver: HypervisorDriver, power: PowerState) -> None:
    vm = rig.define_vm(power)
    first = give(driver, rig, vm)
    seen = driver.observe(vm)
    again = driver.attach(vm, image_name(vm), rig.home)
    assert again == replace(first, how=AttachedHow.ALREADY)
    assert driver.observe(vm) == seen


@pytest.mark.parametrize("power", POWERS)
def test_a_newer_image_takes_the_older_one_s_place(rig: DriverRig, driver: HypervisorDriver, power: PowerState) -> None:
    vm = rig.define_vm(power)
    give(driver, rig, vm, 1)
    give(driver, rig, vm, 2)
    assert rig.medium(vm) == make_image(vm, 2).content
    assert driver.observe(vm).drive == Inserted(image_name(vm, 2), rig.home)
    driver.delete(vm, StoredImage(image_name(vm, 1), rig.home))  # nobody has it any more
    assert next_boot_medium(rig, vm, power) == make_image(vm, 2).content


@pytest.mark.parametrize("power", POWERS)
@pytest.mark.parametrize("drive", [True, False])
def test_the_orchestrator_s_attach_touches_nothing(
    rig: DriverRig, driver: HypervisorDriver, power: PowerState, *, drive: bool
) -> None:
    vm = replace(rig.define_vm(power, drive=drive), attach_by=AttachBy.ORCHESTRATOR)
    driver.upload(vm, make_image(vm), rig.home)
    before = driver.observe(vm)
    attached = driver.attach(vm, image_name(vm), rig.home)
    assert attached.how is AttachedHow.ORCHESTRATOR
    assert attached.device
    assert attached.path.endswith(str(image_name(vm)))
    assert driver.observe(vm) == before
    assert rig.medium(vm) is None


def test_the_orchestrator_gets_its_answer_before_the_vm_is_defined(rig: DriverRig, driver: HypervisorDriver) -> None:
    vm = replace(new_vm(driver.name, rig.host), attach_by=AttachBy.ORCHESTRATOR)
    driver.upload(vm, make_image(vm), rig.home)
    assert driver.attach(vm, image_name(vm), rig.home).path.endswith(str(image_name(vm)))


@pytest.mark.parametrize("attach_by", list(AttachBy))
@pytest.mark.parametrize("power", POWERS)
def test_another_vm_s_image_is_never_attached(
    rig: DriverRig, driver: HypervisorDriver, power: PowerState, attach_by: AttachBy
) -> None:
    vm, other = replace(rig.define_vm(power), attach_by=attach_by), rig.define_vm()
    driver.upload(other, make_image(other), rig.home)
    before = driver.observe(vm)
    with pytest.raises(FleetError) as caught:
        driver.attach(vm, image_name(other), rig.home)
    assert caught.value.code is PermanentCode.NOT_ITS_DRIVE
    assert driver.observe(vm) == before
    assert rig.medium(vm) is None


@pytest.mark.parametrize("power", POWERS)
def test_another_vm_s_image_in_the_slot_goes_out_of_it_and_stays_where_it_lies(
    rig: DriverRig, driver: HypervisorDriver, power: PowerState
) -> None:
    vm, other = rig.define_vm(power), rig.define_vm()
    driver.upload(other, make_image(other), rig.home)
    rig.insert(vm, image_name(other), rig.home)
    assert driver.observe(vm).drive == Inserted(image_name(other), rig.home)

    driver.detach(vm, [image_name(other)])
    assert rig.medium(vm) is None
    give(driver, rig, vm)
    assert rig.medium(vm) == make_image(vm).content
    assert rig.file(rig.home, image_name(other)) == make_image(other).content


def test_a_vm_that_the_host_does_not_know_gets_no_drive(rig: DriverRig, driver: HypervisorDriver) -> None:
    vm = new_vm(driver.name, rig.host)
    with pytest.raises(FleetError) as caught:
        give(driver, rig, vm)
    assert caught.value.code is PermanentCode.VM_NOT_FOUND


@pytest.mark.parametrize("power", POWERS)
def test_a_user_s_iso_stays_where_it_is(rig: DriverRig, driver: HypervisorDriver, power: PowerState) -> None:
    vm = rig.define_vm(drive=True)
    rig.insert_user_iso(vm)
    if power is PowerState.RUNNING:
        rig.start_vm(vm)
    give(driver, rig, vm, 1)
    give(driver, rig, vm, 2)
    assert rig.has_user_iso(vm)
    driver.detach(vm)
    assert rig.has_user_iso(vm)


@pytest.mark.parametrize("power", POWERS)
def test_detach_leaves_no_image_now_nor_after_the_next_power_on(
    rig: DriverRig, driver: HypervisorDriver, power: PowerState
) -> None:
    vm = rig.define_vm(power)
    give(driver, rig, vm)
    for _ in range(2):
        driver.detach(vm)
        assert driver.observe(vm).drive in (EmptyDrive(), NoDrive())
        assert rig.medium(vm) is None
    assert rig.file(rig.home, image_name(vm)) == make_image(vm).content
    assert next_boot_medium(rig, vm, power) is None


@pytest.mark.parametrize("power", POWERS)
def test_only_the_images_that_are_named_are_taken_out(
    rig: DriverRig, driver: HypervisorDriver, power: PowerState
) -> None:
    """A worker that was frozen between its look and its change: a later event has put its own image in."""
    vm = rig.define_vm(power)
    give(driver, rig, vm, 1)
    seen = driver.observe(vm).media
    give(driver, rig, vm, 2)
    for media in (seen, ()):
        driver.detach(vm, media)
    assert rig.medium(vm) == make_image(vm, 2).content
    assert next_boot_medium(rig, vm, power) == make_image(vm, 2).content
    driver.detach(vm, [image_name(vm, 2)])
    assert rig.medium(vm) is None


@pytest.mark.parametrize("name", ["Web 01 (prod)", "Büro-Server übermorgen", "rack[3] 50% \"x'", "x" * 80])
def test_a_vm_is_known_by_its_uuid_whatever_it_is_called(rig: DriverRig, driver: HypervisorDriver, name: str) -> None:
    vm = rig.define_vm(name=name)
    for event in (vm, replace(vm, instance_name=InstanceName("another"))):
        named = ImageName.of(event.instance_name, vm.uuid, Generation(1), "f" * 16, "fleet234")
        image = replace(make_image(event), name=named)
        driver.upload(event, image, rig.home)
        driver.attach(event, image.name, rig.home)
        assert rig.medium(vm) == image.content
        seen = driver.observe(event)
        assert (seen.drive, seen.media) == (Inserted(image.name, rig.home), (image.name,))
        assert seen.images == driver.observe(event, (), [image.name]).images == (StoredImage(image.name, rig.home),)
        driver.detach(event, [image.name])
        driver.delete(event, StoredImage(image.name, rig.home), anyones=False)
        assert (rig.medium(vm), rig.leftovers(vm)) == (None, [])


@pytest.mark.parametrize("power", POWERS)
@pytest.mark.parametrize("drive", [True, False])
def test_detach_without_an_image_is_success(
    rig: DriverRig, driver: HypervisorDriver, power: PowerState, *, drive: bool
) -> None:
    vm = rig.define_vm(power, drive=drive)
    driver.detach(vm)
    assert driver.observe(vm).drive in (EmptyDrive(), NoDrive())


def test_detach_from_a_vm_that_the_host_does_not_know_is_success(rig: DriverRig, driver: HypervisorDriver) -> None:
    vm = new_vm(driver.name, rig.host)
    driver.detach(vm)
    assert driver.observe(vm).power is PowerState.UNDEFINED


@pytest.mark.needs(Feature.TRAY_LOCK)
def test_a_locked_tray_is_forced_open(rig: DriverRig, driver: HypervisorDriver) -> None:
    vm = rig.define_vm(PowerState.RUNNING)
    give(driver, rig, vm, 1)
    rig.lock_tray(vm)
    give(driver, rig, vm, 2)
    assert rig.medium(vm) == make_image(vm, 2).content
    rig.lock_tray(vm)
    driver.detach(vm)
    assert rig.medium(vm) is None


@pytest.mark.needs(Feature.TRAY_LOCK)
def test_a_locked_tray_stays_shut_when_force_is_turned_off(rig: DriverRig) -> None:
    driver = rig.make_driver(force_eject=False)
    vm = rig.define_vm(PowerState.RUNNING)
    give(driver, rig, vm, 1)
    rig.lock_tray(vm)
    before = driver.observe(vm)
    driver.attach(vm, image_name(vm, 1), rig.home)  # is in already
    with pytest.raises(FleetError) as exchanging:
        give(driver, rig, vm, 2)
    with pytest.raises(FleetError) as ejecting:
        driver.detach(vm)
    assert exchanging.value.code is ejecting.value.code is TransientCode.DRIVE_LOCKED
    assert driver.observe(vm).drive == before.drive
    assert rig.medium(vm) == make_image(vm, 1).content
    driver.close()
