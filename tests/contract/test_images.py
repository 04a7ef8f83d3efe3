"""Uploading, copying, deleting and listing image files."""

from __future__ import annotations

from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING

import pytest

from configdrive.errors import PermanentCode, TransientCode
from configdrive.model import Place, PowerState, StorageName, StoredImage
from configdrive.ports import Inserted
from tests.contract.rig import Feature, image_name, make_image, new_vm
from tests.support import error_of

if TYPE_CHECKING:
    from configdrive.ports import HypervisorDriver
    from tests.contract.rig import DriverRig

POWERS = [PowerState.HALTED, PowerState.RUNNING]


def test_an_upload_puts_exactly_these_bytes_there(rig: DriverRig, driver: HypervisorDriver) -> None:
    vm = rig.define_vm()
    image = make_image(vm)
    driver.upload(vm, image, rig.home)
    assert rig.file(rig.home, image.name) == image.content
    assert rig.leftovers(vm) == [str(image.name)]


def test_an_upload_needs_no_vm_on_the_host(rig: DriverRig, driver: HypervisorDriver) -> None:
    vm = new_vm(driver.name, rig.host)
    image = make_image(vm)
    driver.upload(vm, image, rig.home)
    assert rig.file(rig.home, image.name) == image.content


def test_the_same_upload_again_writes_nothing(rig: DriverRig, driver: HypervisorDriver) -> None:
    vm = rig.define_vm()
    image = make_image(vm)
    driver.upload(vm, image, rig.home)
    stamp = rig.stamp(rig.home, image.name)
    driver.upload(vm, image, rig.home)
    assert rig.stamp(rig.home, image.name) == stamp


@pytest.mark.parametrize("kept", [0, 1, 2048, 100_000])
def test_an_upload_replaces_a_truncated_file(rig: DriverRig, driver: HypervisorDriver, kept: int) -> None:
    vm = rig.define_vm()
    image = make_image(vm)
    rig.put_file(rig.home, str(image.name), image.content[:kept])
    driver.upload(vm, image, rig.home)
    assert rig.file(rig.home, image.name) == image.content


@pytest.mark.parametrize("sectors", [90, 180, 270])
def test_an_upload_replaces_other_content(rig: DriverRig, driver: HypervisorDriver, sectors: int) -> None:
    vm = rig.define_vm()
    image = make_image(vm)
    driver.upload(vm, replace(make_image(vm, 2, sectors=sectors), name=image.name), rig.home)
    driver.upload(vm, image, rig.home)
    assert rig.file(rig.home, image.name) == image.content


@pytest.mark.parametrize("power", POWERS)
def test_an_upload_does_not_replace_what_a_vm_has_in_its_drive(
    rig: DriverRig, driver: HypervisorDriver, power: PowerState
) -> None:
    vm = rig.define_vm(power)
    image = make_image(vm)
    driver.upload(vm, image, rig.home)
    driver.attach(vm, image.name, rig.home)
    driver.upload(vm, image, rig.home)  # the same bytes are no change
    assert (
        error_of(driver.upload, vm, replace(make_image(vm, 2), name=image.name), rig.home).code
        is TransientCode.IMAGE_IN_USE
    )
    assert rig.file(rig.home, image.name) == image.content
    assert rig.leftovers(vm) == [str(image.name)]


def test_an_upload_under_another_vm_s_name_is_refused(rig: DriverRig, driver: HypervisorDriver) -> None:
    vm, other = rig.define_vm(), rig.define_vm()
    assert error_of(driver.upload, vm, make_image(other), rig.home).code is PermanentCode.NOT_ITS_DRIVE
    assert rig.leftovers(other) == []


def test_an_upload_to_a_storage_that_does_not_exist_is_refused(rig: DriverRig, driver: HypervisorDriver) -> None:
    vm = rig.define_vm()
    assert (
        error_of(driver.upload, vm, make_image(vm), Place(StorageName("no-such-storage"), rig.home.host)).code
        is PermanentCode.STORAGE_NOT_FOUND
    )
    assert rig.leftovers(vm) == []


@pytest.mark.parametrize("before", [None, b"", b"something else"])
def test_a_copy_has_the_same_bytes(rig: DriverRig, driver: HypervisorDriver, before: bytes | None) -> None:
    vm = rig.define_vm()
    image = make_image(vm)
    driver.upload(vm, image, rig.home)
    if before is not None:
        rig.put_file(rig.second, str(image.name), before)
    driver.copy(vm, image.name, rig.home, rig.second)
    assert rig.file(rig.home, image.name) == rig.file(rig.second, image.name) == image.content
    assert rig.leftovers(vm) == [str(image.name)] * 2


def test_the_same_copy_again_writes_nothing(rig: DriverRig, driver: HypervisorDriver) -> None:
    vm = rig.define_vm()
    image = make_image(vm)
    driver.upload(vm, image, rig.home)
    driver.copy(vm, image.name, rig.home, rig.second)
    stamp = rig.stamp(rig.second, image.name)
    driver.copy(vm, image.name, rig.home, rig.second)
    driver.copy(vm, image.name, rig.second, rig.second)
    assert rig.stamp(rig.second, image.name) == stamp


def test_a_copy_of_what_is_not_there_is_refused(rig: DriverRig, driver: HypervisorDriver) -> None:
    vm = rig.define_vm()
    assert error_of(driver.copy, vm, image_name(vm), rig.home, rig.second).code is PermanentCode.IMAGE_LOST
    assert rig.leftovers(vm) == []


def test_a_tampered_image_does_not_travel(rig: DriverRig, driver: HypervisorDriver) -> None:
    vm = rig.define_vm()
    image, asked = make_image(vm), list[str]()
    driver.upload(vm, image, rig.home)

    def genuine(sha256: str) -> bool:
        asked.append(sha256)
        return sha256 == image.sha256

    rig.put_file(rig.home, str(image.name), image.content.replace(b"swordfish", b"swordfisH"))
    for target in (rig.second, rig.home):
        assert error_of(driver.copy, vm, image.name, rig.home, target, genuine).code is PermanentCode.IMAGE_LOST
    assert image.sha256 not in asked
    assert rig.leftovers(vm) == [str(image.name)]
    rig.put_file(rig.home, str(image.name), image.content)
    driver.copy(vm, image.name, rig.home, rig.second, genuine)
    assert rig.file(rig.second, image.name) == image.content
    assert asked[-1] == image.sha256


@pytest.mark.parametrize("power", POWERS)
def test_an_image_that_is_not_there_is_not_attached(
    rig: DriverRig, driver: HypervisorDriver, power: PowerState
) -> None:
    vm = rig.define_vm(power)
    driver.upload(vm, make_image(vm), rig.home)
    driver.attach(vm, image_name(vm), rig.home)
    before = driver.observe(vm)
    assert error_of(driver.attach, vm, image_name(vm, 2), rig.home).code is TransientCode.UPLOAD_CORRUPT
    assert driver.observe(vm) == before
    assert rig.medium(vm) == make_image(vm).content


def test_delete_takes_one_file_and_gone_already_is_success(rig: DriverRig, driver: HypervisorDriver) -> None:
    vm = rig.define_vm()
    for place in (rig.home, rig.second):
        driver.upload(vm, make_image(vm), place)
    for _ in range(2):
        driver.delete(vm, StoredImage(image_name(vm), rig.home))
        assert rig.file(rig.home, image_name(vm)) is None
    assert rig.file(rig.second, image_name(vm)) is not None


@pytest.mark.parametrize("power", POWERS)
def test_an_image_in_a_drive_is_not_deleted(rig: DriverRig, driver: HypervisorDriver, power: PowerState) -> None:
    vm = rig.define_vm(power)
    image = make_image(vm)
    driver.upload(vm, image, rig.home)
    driver.attach(vm, image.name, rig.home)
    for anyones in (True, False):
        delete = partial(driver.delete, vm, StoredImage(image.name, rig.home), anyones=anyones)
        assert error_of(delete).code is TransientCode.IMAGE_IN_USE
    assert rig.medium(vm) == image.content
    driver.detach(vm)
    driver.delete(vm, StoredImage(image.name, rig.home))
    assert rig.leftovers(vm) == []


@pytest.mark.needs(Feature.IN_USE_BY_OTHERS)
def test_an_image_in_another_vm_s_drive_is_not_deleted_by_the_storage_sweep(
    rig: DriverRig, driver: HypervisorDriver
) -> None:
    vm, other = rig.define_vm(), rig.define_vm()
    image = make_image(vm)
    driver.upload(vm, image, rig.home)
    rig.insert(other, image.name, rig.home)
    assert (
        error_of(driver.delete, vm, StoredImage(image.name, rig.home), anyones=True).code is TransientCode.IMAGE_IN_USE
    )
    assert rig.file(rig.home, image.name) == image.content
    driver.detach(other)
    driver.delete(vm, StoredImage(image.name, rig.home), anyones=True)
    assert rig.leftovers(vm) == []


def test_a_copy_beside_the_one_in_the_drive_may_go(rig: DriverRig, driver: HypervisorDriver) -> None:
    vm = rig.define_vm()
    driver.upload(vm, make_image(vm), rig.home)
    driver.copy(vm, image_name(vm), rig.home, rig.second)
    driver.attach(vm, image_name(vm), rig.home)
    driver.delete(vm, StoredImage(image_name(vm), rig.second))
    assert rig.medium(vm) == make_image(vm).content


def test_a_listing_has_every_image_of_the_host_and_nothing_else(rig: DriverRig, driver: HypervisorDriver) -> None:
    known, unknown = rig.define_vm(), new_vm(driver.name, rig.host)
    driver.upload(known, make_image(known), rig.home)
    driver.upload(unknown, make_image(unknown, 7), rig.second)
    junk = ["notes.txt", "config.iso", f"{known.instance_name}.iso", f"{image_name(known, 3)}.part", "a.b.1.iso"]
    for file_name in junk:
        rig.put_file(rig.home, file_name, b"not ours")

    survey = driver.survey(rig.host)
    listed = survey.images

    assert survey.unreachable == ()
    assert StoredImage(image_name(known), rig.home) in listed
    assert StoredImage(image_name(unknown, 7), rig.second) in listed
    assert len(listed) == len(set(listed))
    for image in listed:
        assert rig.file(image.place, image.name) is not None
    assert image_name(known, 3) not in {image.name for image in listed}


@pytest.mark.parametrize("cleaner", ["observe", "upload"])
def test_what_a_killed_upload_leaves_is_no_image_and_goes_away(
    rig: DriverRig, driver: HypervisorDriver, cleaner: str
) -> None:
    vm = rig.define_vm()
    rig.leave_half_upload(make_image(vm, 1), rig.home)
    if cleaner == "observe":
        for image in driver.observe(vm).images:  # a storage that cannot rename shows a file, which is then deleted
            driver.delete(vm, image)
        assert rig.leftovers(vm) == []
    driver.upload(vm, make_image(vm, 1), rig.home)
    assert rig.leftovers(vm) == [str(image_name(vm, 1))]
    assert rig.file(rig.home, image_name(vm, 1)) == make_image(vm, 1).content


def test_a_survey_has_every_vm_with_whatever_is_in_its_drives(rig: DriverRig, driver: HypervisorDriver) -> None:
    halted, running, bare = rig.define_vm(), rig.define_vm(PowerState.RUNNING), rig.define_vm(drive=False)
    for vm in (halted, running):
        driver.upload(vm, make_image(vm), rig.home)
        driver.attach(vm, image_name(vm), rig.home)

    vms = {one.uuid: one for one in driver.survey(rig.host).vms}

    assert [vms[vm.uuid].name for vm in (halted, running, bare)] == [vm.instance_name for vm in (halted, running, bare)]
    assert vms[halted.uuid].power is PowerState.HALTED
    assert vms[running.uuid].power is PowerState.RUNNING
    assert vms[halted.uuid].media == (Inserted(image_name(halted), rig.home),)
    assert vms[running.uuid].media == (Inserted(image_name(running), rig.home),)
    assert vms[bare.uuid].media == ()


@pytest.mark.needs(Feature.IN_USE_BY_OTHERS)
def test_a_survey_shows_a_vm_with_another_vm_s_image(rig: DriverRig, driver: HypervisorDriver) -> None:
    owner, thief = rig.define_vm(), rig.define_vm()
    driver.upload(owner, make_image(owner), rig.home)
    rig.insert(thief, image_name(owner), rig.home)
    found = next(one for one in driver.survey(rig.host).vms if one.uuid == thief.uuid)
    assert [medium.name for medium in found.media] == [image_name(owner)]
