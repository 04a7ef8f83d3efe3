"""What a driver sees of a VM, its drive and its images."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import pytest

from configdrive.errors import PermanentCode
from configdrive.model import HostName, Place, PowerState, StorageName, StoredImage
from configdrive.ports import EmptyDrive, Inserted, NoDrive
from tests.contract.rig import image_name, make_image, new_vm
from tests.support import error_of

if TYPE_CHECKING:
    from configdrive.ports import HypervisorDriver
    from tests.contract.rig import DriverRig

GONE = StorageName("no-such-storage")


def test_a_vm_that_the_host_does_not_know_is_undefined(rig: DriverRig, driver: HypervisorDriver) -> None:
    seen = driver.observe(new_vm(driver.name, rig.host))
    assert (seen.power, seen.storage, seen.drive) == (PowerState.UNDEFINED, None, NoDrive())
    assert seen.images == ()


def test_a_vm_that_the_host_does_not_know_has_the_storage_that_the_event_names(
    rig: DriverRig, driver: HypervisorDriver
) -> None:
    vm = replace(new_vm(driver.name, rig.host), primary_storage=rig.home.storage)
    assert driver.observe(vm).storage == rig.home


@pytest.mark.parametrize("power", [PowerState.HALTED, PowerState.RUNNING])
@pytest.mark.parametrize("drive", [True, False])
def test_a_defined_vm_tells_power_root_storage_and_slot(
    rig: DriverRig, driver: HypervisorDriver, power: PowerState, *, drive: bool
) -> None:
    seen = driver.observe(rig.define_vm(power, drive=drive))
    assert (seen.power, seen.storage) == (power, rig.home)
    assert seen.drive == (EmptyDrive() if drive else NoDrive())


def test_the_event_s_storage_goes_before_the_root_disk_s(rig: DriverRig, driver: HypervisorDriver) -> None:
    vm = replace(rig.define_vm(), primary_storage=rig.second.storage)
    assert driver.observe(vm).storage == rig.second


def test_a_named_storage_that_does_not_exist_is_refused(rig: DriverRig, driver: HypervisorDriver) -> None:
    assert (
        error_of(driver.observe, replace(rig.define_vm(), primary_storage=GONE)).code is PermanentCode.STORAGE_NOT_FOUND
    )


def test_images_of_this_vm_alone_are_found_on_its_storage_and_the_places_asked_for(
    rig: DriverRig, driver: HypervisorDriver
) -> None:
    vm, other = rig.define_vm(), rig.define_vm()
    for owner in (vm, other):
        driver.upload(owner, make_image(owner, 1), rig.home)
    driver.upload(vm, make_image(vm, 2), rig.second)

    assert set(driver.observe(vm).images) == {StoredImage(image_name(vm, 1), rig.home)}
    assert sorted(driver.observe(vm, [rig.home, rig.second]).images, key=str) == sorted(
        [StoredImage(image_name(vm, 1), rig.home), StoredImage(image_name(vm, 2), rig.second)], key=str
    )


def test_a_place_that_cannot_be_listed_is_named_and_spoils_nothing(rig: DriverRig, driver: HypervisorDriver) -> None:
    vm = rig.define_vm()
    driver.upload(vm, make_image(vm), rig.home)
    gone = Place(GONE, HostName("no-such-host"))
    seen = driver.observe(vm, [gone, rig.second])
    assert seen.unreachable == (gone,)
    assert seen.images == (StoredImage(image_name(vm), rig.home),)


def test_a_file_that_is_not_named_like_an_image_is_none(rig: DriverRig, driver: HypervisorDriver) -> None:
    vm = rig.define_vm()
    for file_name in (f"{vm.instance_name}.iso", f"{vm.uuid}.iso", f"{image_name(vm)}.bak", f"x{vm.uuid}.1.iso"):
        rig.put_file(rig.home, file_name, b"not ours")
    assert driver.observe(vm).images == ()


@pytest.mark.parametrize("power", [PowerState.HALTED, PowerState.RUNNING])
def test_the_image_in_the_drive_is_reported_with_its_place(
    rig: DriverRig, driver: HypervisorDriver, power: PowerState
) -> None:
    vm = rig.define_vm(power)
    driver.upload(vm, make_image(vm), rig.home)
    driver.attach(vm, image_name(vm), rig.home)
    assert driver.observe(vm).drive == Inserted(image_name(vm), rig.home)


def test_another_vm_s_image_in_the_drive_is_reported(rig: DriverRig, driver: HypervisorDriver) -> None:
    vm, other = rig.define_vm(), rig.define_vm()
    driver.upload(other, make_image(other), rig.home)
    rig.insert(vm, image_name(other), rig.home)
    assert driver.observe(vm).drive == Inserted(image_name(other), rig.home)


@pytest.mark.parametrize("drive", [True, False])
def test_a_user_s_iso_in_its_own_slot_is_not_reported(rig: DriverRig, driver: HypervisorDriver, *, drive: bool) -> None:
    vm = rig.define_vm(drive=drive)
    rig.insert_user_iso(vm)
    assert driver.observe(vm).drive == (EmptyDrive() if drive else NoDrive())


def test_looking_changes_nothing(rig: DriverRig, driver: HypervisorDriver) -> None:
    vm = rig.define_vm()
    driver.upload(vm, make_image(vm), rig.home)
    first = driver.observe(vm, [rig.second])
    assert driver.observe(vm, [rig.second]) == first
