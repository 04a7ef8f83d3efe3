"""Attaching, exchanging and detaching: the right medium, now and after the next power-on, no other drive touched."""

from dataclasses import replace

import pytest

from configdrive.errors import PermanentCode, TransientCode
from configdrive.model import AttachBy, Generation, ImageName, InstanceName, PowerState, StoredImage, Vm
from configdrive.ports import AttachedHow, Attachment, EmptyDrive, HypervisorDriver, Inserted, NoDrive
from tests.contract.rig import DriverRig, Feature, image_name, make_image, new_vm
from tests.support import error_of

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
    seen = driver.observe(vm)
    assert (seen.power, seen.storage, seen.drive) == (power, rig.home, EmptyDrive())
    attached = give(driver, rig, vm)
    assert attached.how is AttachedHow.INSERTED
    assert attached.device
    assert attached.path.endswith(str(image_name(vm)))
    assert rig.medium(vm) == make_image(vm).content
    assert rig.is_read_only(vm)
    seen = driver.observe(vm)
    assert seen.drive == Inserted(image_name(vm), rig.home)
    assert driver.attach(vm, image_name(vm), rig.home) == replace(attached, how=AttachedHow.ALREADY)
    assert driver.observe(vm) == seen
    assert next_boot_medium(rig, vm, power) == make_image(vm).content
    assert driver.observe(vm).drive == Inserted(image_name(vm), rig.home)


@pytest.mark.parametrize("power", POWERS)
def test_a_vm_without_a_slot_gets_it_now_or_with_its_next_boot(
    rig: DriverRig, driver: HypervisorDriver, power: PowerState
) -> None:
    vm = rig.define_vm(power, drive=False)
    seen = driver.observe(vm)
    assert (seen.power, seen.storage, seen.drive) == (power, rig.home, NoDrive())
    how = give(driver, rig, vm).how
    later = AttachedHow.INSERTED if power is PowerState.HALTED else AttachedHow.NEXT_BOOT
    assert how in {AttachedHow.HOT_ADDED, later}
    assert rig.medium(vm) == (None if how is AttachedHow.NEXT_BOOT else make_image(vm).content)
    assert next_boot_medium(rig, vm, power) == make_image(vm).content


@pytest.mark.parametrize("power", POWERS)
def test_a_newer_image_takes_the_older_one_s_place_and_only_images_that_are_named_are_taken_out(
    rig: DriverRig, driver: HypervisorDriver, power: PowerState
) -> None:
    """As by a worker that was frozen between its look and its change: a later event has put its own image in."""
    vm = rig.define_vm(power)
    give(driver, rig, vm, 1)
    seen = driver.observe(vm).media
    give(driver, rig, vm, 2)
    driver.delete(vm, StoredImage(image_name(vm, 1), rig.home))  # nobody has it any more
    for media in (seen, ()):
        driver.detach(vm, media)
    assert driver.observe(vm).drive == Inserted(image_name(vm, 2), rig.home)
    assert rig.medium(vm) == make_image(vm, 2).content
    assert next_boot_medium(rig, vm, power) == make_image(vm, 2).content
    driver.detach(vm, [image_name(vm, 2)])
    assert rig.medium(vm) is None


@pytest.mark.parametrize("power", POWERS)
@pytest.mark.parametrize("drive", [True, False])
def test_the_orchestrator_s_attach_and_another_vm_s_image_touch_nothing(
    rig: DriverRig, driver: HypervisorDriver, power: PowerState, *, drive: bool
) -> None:
    vm, other = rig.define_vm(power, drive=drive), rig.define_vm()
    handed = replace(vm, attach_by=AttachBy.ORCHESTRATOR)
    driver.upload(handed, make_image(vm), rig.home)
    driver.upload(other, make_image(other), rig.home)
    before = [driver.observe(one) for one in (vm, handed)]
    attached = driver.attach(handed, image_name(vm), rig.home)
    assert attached.how is AttachedHow.ORCHESTRATOR
    assert attached.device
    assert attached.path.endswith(str(image_name(vm)))
    for asked in (vm, handed):
        assert error_of(driver.attach, asked, image_name(other), rig.home).code is PermanentCode.NOT_ITS_DRIVE
    assert [driver.observe(one) for one in (vm, handed)] == before
    assert rig.medium(vm) is None
    driver.detach(vm)  # which has nothing to take out
    assert driver.observe(vm).drive in (EmptyDrive(), NoDrive())


def test_a_vm_that_the_host_does_not_know_gets_no_drive_but_the_orchestrator_its_answer(
    rig: DriverRig, driver: HypervisorDriver
) -> None:
    vm = new_vm(driver.name, rig.host)
    assert error_of(give, driver, rig, vm).code is PermanentCode.VM_NOT_FOUND
    handed = replace(vm, attach_by=AttachBy.ORCHESTRATOR)
    driver.upload(handed, make_image(vm), rig.home)
    assert driver.attach(handed, image_name(vm), rig.home).path.endswith(str(image_name(vm)))
    driver.detach(vm)
    assert driver.observe(vm).power is PowerState.UNDEFINED


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
    assert rig.files.read(rig.home, image_name(other)) == make_image(other).content


@pytest.mark.parametrize(
    ("power", "drive"), [(PowerState.HALTED, True), (PowerState.HALTED, False), (PowerState.RUNNING, True)]
)
def test_a_user_s_iso_is_not_reported_and_stays_where_it_is(
    rig: DriverRig, driver: HypervisorDriver, power: PowerState, *, drive: bool
) -> None:
    vm = rig.define_vm(drive=drive)
    rig.insert_user_iso(vm)
    assert driver.observe(vm).drive == (EmptyDrive() if drive else NoDrive())
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
    assert rig.files.read(rig.home, image_name(vm)) == make_image(vm).content
    assert next_boot_medium(rig, vm, power) is None


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
        assert (rig.medium(vm), rig.files.of(vm)) == (None, [])


@pytest.mark.needs(Feature.TRAY_LOCK)
def test_a_locked_tray_stays_shut_when_force_is_turned_off_and_is_forced_open_otherwise(
    rig: DriverRig, driver: HypervisorDriver
) -> None:
    gentle = rig.make_driver(force_eject=False)
    vm = rig.define_vm(PowerState.RUNNING)
    give(gentle, rig, vm, 1)
    rig.lock_tray(vm)
    before = gentle.observe(vm)
    gentle.attach(vm, image_name(vm, 1), rig.home)  # is in already
    assert error_of(give, gentle, rig, vm, 2).code is TransientCode.DRIVE_LOCKED
    assert error_of(gentle.detach, vm).code is TransientCode.DRIVE_LOCKED
    assert gentle.observe(vm).drive == before.drive
    assert rig.medium(vm) == make_image(vm, 1).content
    gentle.close()
    give(driver, rig, vm, 2)
    assert rig.medium(vm) == make_image(vm, 2).content
    rig.lock_tray(vm)
    driver.detach(vm)
    assert rig.medium(vm) is None
