"""Which drive becomes the config drive, on VMs of all kinds, halted and running."""

from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace

import pytest

from configdrive.errors import FleetError, PermanentCode, TransientCode
from configdrive.model import PowerState, Presentation, Vm
from configdrive.ports import AttachedHow, Attachment, EmptyDrive
from rigs.process import wait_until
from tests.contract.rig import image_name, make_image
from tests.integration.vmware.conftest import MakeDriver, Site, give
from tests.support import error_of
from workers.hypervisors.vmware.driver import VmwareDriver

USER_ISO = "[shared] isos/user.iso"


def devices(site: Site, vm: Vm) -> list[tuple[str, int]]:
    """Every device of a VM: its type, and the key of its controller."""
    found = site.cloud.vm(vm.instance_name).config.hardware.device
    return sorted((type(one).__name__, one.controllerKey or 0) for one in found)


IDE = [(200, 0), (200, 1), (201, 0), (201, 1)]


@pytest.fixture(autouse=True)
def _user_iso(site: Site) -> None:
    path = site.cloud.file(USER_ISO)
    path.parent.mkdir(exist_ok=True)
    path.write_bytes(bytes(2048))


def attachment(driver: VmwareDriver, vm: Vm) -> Attachment:
    place = driver.observe(vm).storage
    assert place is not None
    driver.upload(vm, make_image(vm), place)
    attached = driver.attach(vm, image_name(vm), place)
    assert attached.path == f"[shared] configdrive/{image_name(vm)}"
    return attached


def attach(driver: VmwareDriver, vm: Vm) -> tuple[AttachedHow, str]:
    attached = attachment(driver, vm)
    return attached.how, attached.device


def test_where_ide_is_full_a_sata_controller_comes(site: Site, driver: VmwareDriver) -> None:
    vm = site.define(drive=False)
    for place in IDE:
        site.cloud.insert(vm.instance_name, USER_ISO, place)
    before = devices(site, vm)
    attached = attachment(driver, vm)
    assert (attached.how, attached.device) == (AttachedHow.INSERTED, "sata0:1")
    driver.detach(vm, added=attached.added)
    assert devices(site, vm) == before  # without the controller, too
    attach(driver, vm)
    driver.detach(vm)
    assert driver.observe(vm).drive == EmptyDrive()
    assert attachment(driver, vm).added is None


def test_a_running_vm_gets_a_sata_drive_and_keeps_it_until_it_is_off(site: Site, driver: VmwareDriver) -> None:
    vm = site.define(PowerState.RUNNING, drive=False)
    attached = attachment(driver, vm)
    assert (attached.how, attached.device) == (AttachedHow.HOT_ADDED, "sata0:1")
    for media in (None, [image_name(vm)]):
        driver.detach(vm, media, attached.added)
        assert driver.observe(vm).drive == EmptyDrive()
        assert attach(driver, vm) == (AttachedHow.INSERTED, "sata0:1")
    site.cloud.stop(vm.instance_name)
    driver.detach(vm, [image_name(vm)], attached.added)
    assert site.cloud.drives(vm.instance_name) == []


@pytest.mark.parametrize("power", [PowerState.HALTED, PowerState.RUNNING])
def test_the_user_s_own_drive_is_emptied_and_stays_as_it_was(
    site: Site, driver: VmwareDriver, power: PowerState
) -> None:
    vm = site.define(power)
    [drive] = site.cloud.drives(vm.instance_name)
    before, (key, guests) = devices(site, vm), (drive.key, drive.connectable.allowGuestControl)
    attached = attachment(driver, vm)
    assert (attached.device, attached.added) == ("ide1:1", None)
    driver.detach(vm, [image_name(vm)], attached.added)
    assert site.cloud.media(vm.instance_name) == {}
    assert devices(site, vm) == before
    [drive] = site.cloud.drives(vm.instance_name)
    assert (drive.key, drive.connectable.allowGuestControl) == (key, guests)


def test_a_drive_that_was_added_to_another_vm_object_counts_as_the_user_s(site: Site, driver: VmwareDriver) -> None:
    vm = site.define(drive=False)
    added = attachment(driver, vm).added
    site.cloud.destroy(vm.instance_name)
    site.cloud.define(vm.uuid, vm.instance_name, datastore="shared", drive=True)
    attach(driver, vm)
    driver.detach(vm, added=added)
    assert len(site.cloud.drives(vm.instance_name)) == 1


def test_an_iso_that_an_administrator_inserts_between_look_and_change_stays(site: Site, driver: VmwareDriver) -> None:
    vm = site.define(PowerState.RUNNING)
    driver.upload(vm, make_image(vm), site.shared)
    assert driver.observe(vm).drive == EmptyDrive()
    site.center.calls()
    slow = {"method": "ReconfigVM_Task", "hang": 2.0, "times": 1}
    with site.center.broken(slow), ThreadPoolExecutor(1) as pool:
        attaching = pool.submit(driver.attach, vm, image_name(vm), site.shared)
        wait_until(lambda: "ReconfigVM_Task" in site.center.calls(), "the change to be sent", timeout=20)
        site.cloud.insert(vm.instance_name, USER_ISO)
        assert attaching.result().device == "sata0:1"
    media = site.cloud.media(vm.instance_name)
    assert media[201, 1] == USER_ISO
    assert len(media) == 2


def test_a_change_is_decided_anew_when_somebody_was_faster_and_given_up_when_that_never_ends(
    site: Site, driver: VmwareDriver
) -> None:
    vm = site.define()
    driver.upload(vm, make_image(vm), site.shared)
    faster = {"method": "ReconfigVM_Task", "fault": "ConcurrentAccess", "task": True}
    with site.center.broken({**faster, "times": 2}):
        assert driver.attach(vm, image_name(vm), site.shared).how is AttachedHow.INSERTED
    with site.center.broken(faster), pytest.raises(FleetError) as caught:
        driver.detach(vm)
    assert caught.value.code is TransientCode.VM_BUSY


def test_a_vm_that_was_powered_on_since_the_look_gets_its_drive_all_the_same(site: Site, driver: VmwareDriver) -> None:
    vm = site.define(drive=False)
    driver.upload(vm, make_image(vm), site.shared)
    assert driver.observe(vm).power is PowerState.HALTED
    site.cloud.start(vm.instance_name)
    attached = driver.attach(vm, image_name(vm), site.shared)
    assert (attached.how, attached.device) == (AttachedHow.HOT_ADDED, "sata0:1")


@pytest.mark.parametrize("power", [PowerState.HALTED, PowerState.RUNNING])
def test_without_any_place_nothing_is_touched(site: Site, make_driver: MakeDriver, power: PowerState) -> None:
    driver = make_driver(hosts={"h1": {"esxi": "esx-01", "cd_slots": ["ide:1:1"]}})
    vm = site.define(drive=False)
    if power is PowerState.HALTED:
        site.cloud.insert(vm.instance_name, USER_ISO)
    else:
        site.cloud.start(vm.instance_name)
    before = site.cloud.media(vm.instance_name)
    assert error_of(attach, driver, vm).code is PermanentCode.NO_FREE_SLOT
    assert site.cloud.media(vm.instance_name) == before


def test_a_place_on_sata_can_be_asked_for(site: Site, make_driver: MakeDriver) -> None:
    driver = make_driver(hosts={"h1": {"esxi": "esx-01", "cd_slots": ["sata:1:29"]}})
    assert attach(driver, site.define()) == (AttachedHow.INSERTED, "sata1:29")


def test_an_image_is_never_presented_as_a_disk(site: Site, driver: VmwareDriver) -> None:
    vm = replace(site.define(), presentation=Presentation.DISK)
    assert error_of(attach, driver, vm).code is PermanentCode.NOT_SUPPORTED


def test_a_medium_that_the_guest_has_ejected_is_connected_again(site: Site, driver: VmwareDriver) -> None:
    vm = site.define(PowerState.RUNNING)
    give(driver, vm)
    site.cloud.disconnect(vm.instance_name)
    assert driver.attach(vm, image_name(vm), site.shared).how is AttachedHow.INSERTED
    assert driver.attach(vm, image_name(vm), site.shared).how is AttachedHow.ALREADY


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
