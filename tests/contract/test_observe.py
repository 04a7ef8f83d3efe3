"""What a driver sees of a VM and its images; of its drive: `test_drive.py`."""

from __future__ import annotations

from dataclasses import replace

from configdrive.errors import PermanentCode
from configdrive.model import HostName, Place, PowerState, StorageName, StoredImage
from configdrive.ports import HypervisorDriver, NoDrive
from tests.contract.rig import DriverRig, image_name, make_image, new_vm
from tests.support import error_of

GONE = StorageName("no-such-storage")


def test_a_vm_that_the_host_does_not_know_is_undefined_and_has_the_storage_that_the_event_names(
    rig: DriverRig, driver: HypervisorDriver
) -> None:
    vm = new_vm(driver.name, rig.host)
    seen = driver.observe(vm)
    assert (seen.power, seen.storage, seen.drive, seen.images) == (PowerState.UNDEFINED, None, NoDrive(), ())
    assert driver.observe(replace(vm, primary_storage=rig.home.storage)).storage == rig.home


def test_the_event_s_storage_goes_before_the_root_disk_s_and_has_to_exist(
    rig: DriverRig, driver: HypervisorDriver
) -> None:
    vm = rig.define_vm()
    assert driver.observe(vm).storage == rig.home
    assert driver.observe(replace(vm, primary_storage=rig.second.storage)).storage == rig.second
    assert error_of(driver.observe, replace(vm, primary_storage=GONE)).code is PermanentCode.STORAGE_NOT_FOUND


def test_images_of_this_vm_alone_are_found_on_its_storage_and_the_places_asked_for(
    rig: DriverRig, driver: HypervisorDriver
) -> None:
    vm, other = rig.define_vm(), rig.define_vm()
    for owner in (vm, other):
        driver.upload(owner, make_image(owner, 1), rig.home)
    driver.upload(vm, make_image(vm, 2), rig.second)
    for file_name in (f"{vm.instance_name}.iso", f"{vm.uuid}.iso", f"{image_name(vm)}.bak", f"x{vm.uuid}.1.iso"):
        rig.files.put(rig.home, file_name, b"not ours")

    here, there = StoredImage(image_name(vm, 1), rig.home), StoredImage(image_name(vm, 2), rig.second)
    assert driver.observe(vm).images == (here,)
    seen = driver.observe(vm, [rig.home, rig.second])
    assert sorted(seen.images, key=str) == sorted([here, there], key=str)
    gone = Place(GONE, HostName("no-such-host"))
    seen = driver.observe(vm, [gone, rig.second])
    assert (set(seen.images), seen.unreachable) == ({here, there}, (gone,))
