"""Uploading, copying, deleting and listing image files, and what is seen of them; of drives: `test_drive.py`."""

from dataclasses import replace

import pytest

from configdrive.errors import PermanentCode, TransientCode
from configdrive.model import HostName, Place, PowerState, StorageName, StoredImage
from configdrive.ports import HypervisorDriver, Inserted, NoDrive
from tests.contract.rig import DriverRig, image_name, make_image, new_vm
from tests.support import error_of

GONE = StorageName("no-such-storage")
POWERS = [PowerState.HALTED, PowerState.RUNNING]


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


def test_an_upload_puts_exactly_these_bytes_there_once_and_needs_no_vm(
    rig: DriverRig, driver: HypervisorDriver
) -> None:
    for vm in (rig.define_vm(), new_vm(driver.name, rig.host)):
        image = make_image(vm)
        driver.upload(vm, image, rig.home)
        assert rig.files.read(rig.home, image.name) == image.content
        assert rig.files.of(vm) == [str(image.name)]
        stamp = rig.files.stamp(rig.home, image.name)
        driver.upload(vm, image, rig.home)
        assert rig.files.stamp(rig.home, image.name) == stamp


def test_an_upload_replaces_a_truncated_file_and_other_content(rig: DriverRig, driver: HypervisorDriver) -> None:
    vm = rig.define_vm()
    image = make_image(vm)
    for kept in (0, 1, 2048, 100_000):
        rig.files.put(rig.home, str(image.name), image.content[:kept])
        driver.upload(vm, image, rig.home)
        assert rig.files.read(rig.home, image.name) == image.content, kept
    for sectors in (90, 180, 270):
        driver.upload(vm, replace(make_image(vm, 2, sectors=sectors), name=image.name), rig.home)
        driver.upload(vm, image, rig.home)
        assert rig.files.read(rig.home, image.name) == image.content, sectors


def test_an_upload_under_another_vm_s_name_or_to_no_storage_is_refused(
    rig: DriverRig, driver: HypervisorDriver
) -> None:
    vm, other = rig.define_vm(), rig.define_vm()
    assert error_of(driver.upload, vm, make_image(other), rig.home).code is PermanentCode.NOT_ITS_DRIVE
    nowhere = Place(GONE, rig.home.host)
    assert error_of(driver.upload, vm, make_image(vm), nowhere).code is PermanentCode.STORAGE_NOT_FOUND
    assert rig.files.of(vm) == rig.files.of(other) == []


def test_a_copy_has_the_same_bytes_and_is_made_once(rig: DriverRig, driver: HypervisorDriver) -> None:
    vm = rig.define_vm()
    image = make_image(vm)
    driver.upload(vm, image, rig.home)
    for before in (None, b"", b"something else"):
        if before is not None:
            rig.files.put(rig.second, str(image.name), before)
        driver.copy(vm, image.name, rig.home, rig.second)
        assert rig.files.read(rig.home, image.name) == rig.files.read(rig.second, image.name) == image.content
        assert rig.files.of(vm) == [str(image.name)] * 2
    stamp = rig.files.stamp(rig.second, image.name)
    driver.copy(vm, image.name, rig.home, rig.second)
    driver.copy(vm, image.name, rig.second, rig.second)
    assert rig.files.stamp(rig.second, image.name) == stamp


def test_an_image_that_is_gone_or_was_tampered_with_does_not_travel(rig: DriverRig, driver: HypervisorDriver) -> None:
    vm = rig.define_vm()
    image, asked = make_image(vm), list[str]()
    assert error_of(driver.copy, vm, image.name, rig.home, rig.second).code is PermanentCode.IMAGE_LOST
    assert rig.files.of(vm) == []
    driver.upload(vm, image, rig.home)

    def genuine(sha256: str) -> bool:
        asked.append(sha256)
        return sha256 == image.sha256

    rig.files.put(rig.home, str(image.name), image.content.replace(b"swordfish", b"swordfisH"))
    for target in (rig.second, rig.home):
        assert error_of(driver.copy, vm, image.name, rig.home, target, genuine).code is PermanentCode.IMAGE_LOST
    assert image.sha256 not in asked
    assert rig.files.of(vm) == [str(image.name)]
    rig.files.put(rig.home, str(image.name), image.content)
    driver.copy(vm, image.name, rig.home, rig.second, genuine)
    assert rig.files.read(rig.second, image.name) == image.content
    assert asked[-1] == image.sha256


def test_delete_takes_one_file_and_gone_already_is_success(rig: DriverRig, driver: HypervisorDriver) -> None:
    vm = rig.define_vm()
    for place in (rig.home, rig.second):
        driver.upload(vm, make_image(vm), place)
    for _ in range(2):
        driver.delete(vm, StoredImage(image_name(vm), rig.home))
        assert rig.files.read(rig.home, image_name(vm)) is None
    assert rig.files.read(rig.second, image_name(vm)) is not None


@pytest.mark.parametrize("power", POWERS)
def test_an_image_in_a_drive_stays_there_and_as_it_is(
    rig: DriverRig, driver: HypervisorDriver, power: PowerState
) -> None:
    vm = rig.define_vm(power)
    image = make_image(vm)
    driver.upload(vm, image, rig.home)
    driver.copy(vm, image.name, rig.home, rig.second)
    driver.attach(vm, image.name, rig.home)
    before = driver.observe(vm)

    driver.upload(vm, image, rig.home)  # the same bytes are no change
    other = replace(make_image(vm, 2), name=image.name)
    assert error_of(driver.upload, vm, other, rig.home).code is TransientCode.IMAGE_IN_USE
    for anyones in (True, False):
        deleted = error_of(driver.delete, vm, StoredImage(image.name, rig.home), anyones=anyones)
        assert deleted.code is TransientCode.IMAGE_IN_USE
    assert error_of(driver.attach, vm, image_name(vm, 2), rig.home).code is TransientCode.UPLOAD_CORRUPT  # not there
    driver.delete(vm, StoredImage(image.name, rig.second))  # which is in no drive
    assert driver.observe(vm) == before
    assert rig.medium(vm) == rig.files.read(rig.home, image.name) == image.content
    assert rig.files.of(vm) == [str(image.name)]

    driver.detach(vm)
    driver.delete(vm, StoredImage(image.name, rig.home))
    assert rig.files.of(vm) == []


def test_an_image_in_another_vm_s_drive_is_not_deleted_by_the_storage_sweep(
    rig: DriverRig, driver: HypervisorDriver
) -> None:
    vm, other = rig.define_vm(), rig.define_vm()
    image = StoredImage(image_name(vm), rig.home)
    driver.upload(vm, make_image(vm), rig.home)
    rig.insert(other, image.name, rig.home)
    assert error_of(driver.delete, vm, image, anyones=True).code is TransientCode.IMAGE_IN_USE
    assert rig.files.read(rig.home, image.name) == make_image(vm).content
    driver.detach(other)
    driver.delete(vm, image, anyones=True)
    assert rig.files.of(vm) == []


@pytest.mark.parametrize("cleaner", ["observe", "upload"])
def test_what_a_killed_upload_leaves_is_no_image_and_goes_away(
    rig: DriverRig, driver: HypervisorDriver, cleaner: str
) -> None:
    vm = rig.define_vm()
    rig.leave_half_upload(make_image(vm, 1), rig.home)
    if cleaner == "observe":
        for image in driver.observe(vm).images:  # a storage that cannot rename shows a file, which is then deleted
            driver.delete(vm, image)
        assert rig.files.of(vm) == []
    driver.upload(vm, make_image(vm, 1), rig.home)
    assert rig.files.of(vm) == [str(image_name(vm, 1))]
    assert rig.files.read(rig.home, image_name(vm, 1)) == make_image(vm, 1).content


def test_a_survey_has_every_image_and_every_vm_with_whatever_is_in_its_drives(
    rig: DriverRig, driver: HypervisorDriver
) -> None:
    halted, running, bare = rig.define_vm(), rig.define_vm(PowerState.RUNNING), rig.define_vm(drive=False)
    thief, unknown = rig.define_vm(), new_vm(driver.name, rig.host)
    driver.upload(unknown, make_image(unknown, 7), rig.second)
    for vm in (halted, running):
        driver.upload(vm, make_image(vm), rig.home)
        driver.attach(vm, image_name(vm), rig.home)
    rig.insert(thief, image_name(halted), rig.home)
    junk = ["notes.txt", "config.iso", f"{halted.instance_name}.iso", f"{image_name(halted, 3)}.part", "a.b.1.iso"]
    for file_name in junk:
        rig.files.put(rig.home, file_name, b"not ours")

    survey = driver.survey(rig.host)

    assert survey.unreachable == ()
    assert len(survey.images) == len(set(survey.images))
    assert {StoredImage(image_name(vm), rig.home) for vm in (halted, running)} <= set(survey.images)
    assert StoredImage(image_name(unknown, 7), rig.second) in survey.images
    for image in survey.images:
        assert rig.files.read(image.place, image.name) is not None
    assert image_name(halted, 3) not in {image.name for image in survey.images}
    vms = {one.uuid: one for one in survey.vms}
    for vm, power, owner in (
        (halted, PowerState.HALTED, halted),
        (running, PowerState.RUNNING, running),
        (bare, PowerState.HALTED, None),
        (thief, PowerState.HALTED, halted),
    ):
        seen = vms[vm.uuid]
        media = () if owner is None else (Inserted(image_name(owner), rig.home),)
        assert (seen.name, seen.power, seen.media) == (vm.instance_name, power, media)
