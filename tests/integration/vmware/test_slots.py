"""Which drive becomes the config drive, on VMs of all kinds, halted and running."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import pytest

from configdrive.errors import FleetError, PermanentCode, TransientCode
from configdrive.model import PowerState, Presentation
from configdrive.ports import AttachedHow, EmptyDrive, NoDrive
from tests.contract.rig import image_name, make_image
from tests.integration.vmware.conftest import SHARED, give

if TYPE_CHECKING:
    from configdrive.model import Vm
    from tests.integration.vmware.conftest import MakeDriver, Site
    from workers.hypervisors.vmware.driver import VmwareDriver

USER_ISO = "[shared] isos/user.iso"
IDE = [(200, 0), (200, 1), (201, 0), (201, 1)]


@pytest.fixture(autouse=True)
def _user_iso(site: Site) -> None:
    path = site.cloud.file(USER_ISO)
    path.parent.mkdir(exist_ok=True)
    path.write_bytes(bytes(2048))


def attach(driver: VmwareDriver, vm: Vm) -> tuple[AttachedHow, str]:
    driver.upload(vm, make_image(vm), SHARED)
    attached = driver.attach(vm, image_name(vm), SHARED)
    assert attached.path == f"[shared] configdrive/{image_name(vm)}"
    return attached.how, attached.device


def test_a_halted_vm_gets_the_last_ide_drive(site: Site, driver: VmwareDriver) -> None:
    assert attach(driver, site.define(drive=False)) == (AttachedHow.INSERTED, "ide1:1")


def test_the_user_s_place_is_left_free(site: Site, driver: VmwareDriver) -> None:
    vm = site.define(drive=False)
    site.cloud.insert(vm.instance_name, USER_ISO, (201, 1))
    site.cloud.insert(vm.instance_name, USER_ISO, (200, 1))
    assert attach(driver, vm) == (AttachedHow.INSERTED, "ide0:0")
    assert list(site.cloud.media(vm.instance_name).values()).count(USER_ISO) == 2


def test_where_ide_is_full_a_sata_controller_comes(site: Site, driver: VmwareDriver) -> None:
    vm = site.define(drive=False)
    for place in IDE:
        site.cloud.insert(vm.instance_name, USER_ISO, place)
    assert attach(driver, vm) == (AttachedHow.INSERTED, "sata0:1")
    driver.detach(vm)
    assert driver.observe(vm).drive == NoDrive()
    assert attach(driver, vm) == (AttachedHow.INSERTED, "sata0:1")  # on the controller that is there now


def test_a_running_vm_gets_a_sata_drive_and_loses_the_image_only(site: Site, driver: VmwareDriver) -> None:
    vm = site.define(PowerState.RUNNING, drive=False)
    assert attach(driver, vm) == (AttachedHow.HOT_ADDED, "sata0:1")
    driver.detach(vm)
    assert driver.observe(vm).drive == EmptyDrive()
    assert attach(driver, vm) == (AttachedHow.INSERTED, "sata0:1")


def test_a_running_vm_s_ide_drive_is_used_when_it_has_one(site: Site, driver: VmwareDriver) -> None:
    assert attach(driver, site.define(PowerState.RUNNING)) == (AttachedHow.INSERTED, "ide1:1")


def test_a_halted_vm_loses_the_drive_with_the_image(site: Site, driver: VmwareDriver) -> None:
    vm = site.define()
    give(driver, vm)
    driver.detach(vm)
    assert site.cloud.drives(vm.instance_name) == []


@pytest.mark.parametrize("power", [PowerState.HALTED, PowerState.RUNNING])
def test_without_any_place_nothing_is_touched(site: Site, make_driver: MakeDriver, power: PowerState) -> None:
    driver = make_driver(hosts={"h1": {"esxi": "esx-01", "cd_slots": ["ide:1:1"]}})
    vm = site.define(drive=False)
    if power is PowerState.HALTED:
        site.cloud.insert(vm.instance_name, USER_ISO)
    else:
        site.cloud.start(vm.instance_name)
    before = site.cloud.media(vm.instance_name)
    with pytest.raises(FleetError) as caught:
        attach(driver, vm)
    assert caught.value.code is PermanentCode.NO_FREE_SLOT
    assert site.cloud.media(vm.instance_name) == before


def test_a_place_on_sata_can_be_asked_for(site: Site, make_driver: MakeDriver) -> None:
    driver = make_driver(hosts={"h1": {"esxi": "esx-01", "cd_slots": ["sata:1:29"]}})
    assert attach(driver, site.define()) == (AttachedHow.INSERTED, "sata1:29")


def test_an_image_is_never_presented_as_a_disk(site: Site, driver: VmwareDriver) -> None:
    vm = replace(site.define(), presentation=Presentation.DISK)
    with pytest.raises(FleetError) as caught:
        attach(driver, vm)
    assert caught.value.code is PermanentCode.NOT_SUPPORTED


def test_a_medium_that_the_guest_has_ejected_is_connected_again(site: Site, driver: VmwareDriver) -> None:
    vm = site.define(PowerState.RUNNING)
    give(driver, vm)
    site.cloud.disconnect(vm.instance_name)
    assert driver.attach(vm, image_name(vm), SHARED).how is AttachedHow.INSERTED
    assert driver.attach(vm, image_name(vm), SHARED).how is AttachedHow.ALREADY


def test_a_question_that_a_dead_worker_left_is_answered(site: Site, driver: VmwareDriver) -> None:
    vm = site.define(PowerState.RUNNING)
    give(driver, vm)
    site.center.lock_tray(site.cloud.reference(vm.instance_name))
    impatient = {"method": "RetrievePropertiesEx", "close": True, "skip": 1, "times": 1}
    with site.center.broken(impatient), pytest.raises(FleetError) as caught:
        driver.detach(vm)
    assert caught.value.code is TransientCode.HOST_UNREACHABLE
    assert site.cloud.vm(vm.instance_name).runtime.question is not None
    driver.detach(vm)
    assert site.cloud.vm(vm.instance_name).runtime.question is None
    assert site.cloud.media(vm.instance_name) == {}


def test_what_a_vm_of_another_cloud_has_in_its_drives_is_left_alone(site: Site, driver: VmwareDriver) -> None:
    vm = site.define()
    site.cloud.insert(vm.instance_name, USER_ISO, (201, 0))
    give(driver, vm)
    driver.detach(vm)
    assert site.cloud.media(vm.instance_name) == {(201, 0): USER_ISO}
