"""What is the user's own stays: a drive that was found is emptied and left as it was, one that was added goes again."""

import os
import signal
import subprocess
from pathlib import Path
from xml.etree import ElementTree as ET

import libvirt
import pytest

from configdrive.errors import TransientCode
from configdrive.model import Place, StoredImage, Vm
from configdrive.ports import AttachedHow
from tests.contract.rig import failure_of, image_name, make_image
from tests.integration.kvm.cloud import HDD, SCSI, Cloud, MakeDriver, blank, disk, give, image_at
from tests.support import error_of, find_program, wait_until
from workers.hypervisors.kvm.domain_xml import MARK
from workers.hypervisors.kvm.driver import KvmDriver

THEIRS = "<serial>THEIR-CD</serial><boot order='2'/><alias name='ua-theirs'/>"
CONFIG = libvirt.VIR_DOMAIN_XML_INACTIVE


def drives(cloud: Cloud, vm: Vm, flags: int) -> dict[str, str]:
    """The elements of a VM's drives without their media, by target."""
    found = {}
    for element in ET.fromstring(cloud.domain(vm).XMLDesc(flags)).iterfind("devices/disk"):  # noqa: S314  # our own
        for tag in ("source", "backingStore"):
            for child in element.findall(tag):
                element.remove(child)
        target, driver = element.find("target"), element.find("driver")
        assert target is not None
        assert driver is not None
        driver.attrib.pop("type", None)  # QEMU has none for an empty drive
        target.attrib.pop("tray", None)
        found[target.get("dev", "")] = ET.canonicalize(ET.tostring(element, encoding="unicode"), strip_text=True)
    return found


@pytest.mark.parametrize("running", [False, True])
@pytest.mark.parametrize("own", [True, False])
def test_a_drive_of_the_user_s_own_is_as_it_was_after_a_stop_and_one_that_was_added_is_marked_and_goes_again(
    cloud: Cloud, driver: KvmDriver, home: Place, *, running: bool, own: bool
) -> None:
    vm = cloud.new_vm()
    root = disk(cloud.root_disk(vm.uuid), "vda", "virtio", "disk", "<boot order='1'/>")
    theirs = disk(None, "hdd", "ide", extra=THEIRS) if own else ""
    cloud.define(theirs, root=root, devices=SCSI, running=running, vm=vm)
    layers = (0, CONFIG) if running else (0,)
    before = [drives(cloud, vm, flags) for flags in layers]
    for generation in (1, 2):
        attachment = give(driver, vm, home, generation)
        filled = [drives(cloud, vm, flags) for flags in layers]
        if own:
            assert (attachment.device, attachment.added, filled) == ("hdd", None, before)
        else:
            assert (attachment.added, {MARK in layer[attachment.device] for layer in filled}) == (MARK, {True})
    driver.detach(vm, driver.observe(vm).media)
    assert [drives(cloud, vm, flags) for flags in layers] == before
    assert cloud.media(vm) == cloud.media(vm, inactive=True) == ({"hdd": None} if own else {})


def test_our_drive_with_the_user_s_iso_in_it_is_the_user_s_until_it_is_empty(
    cloud: Cloud, driver: KvmDriver, home: Place, tmp_path: Path
) -> None:
    vm, user = cloud.define(), blank(tmp_path / "user.iso")
    assert give(driver, vm, home).device == "hdd"
    theirs = disk(user, "hdd", "ide", extra=f"<alias name='{MARK}'/>")
    cloud.domain(vm).updateDeviceFlags(theirs, libvirt.VIR_DOMAIN_AFFECT_CONFIG)
    assert give(driver, vm, home, 2).device == "hdb"
    driver.detach(vm, driver.observe(vm).media)
    assert cloud.media(vm) == {"hdd": str(user), "hdb": None}, "two drives cannot bear the mark"


def test_a_drive_is_looked_at_again_right_before_each_change(
    cloud: Cloud, driver: KvmDriver, home: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Frozen between the two changes of one detach: what came into the other definition meanwhile stays."""
    vm = cloud.define(HDD, running=True)
    give(driver, vm, home, 1)
    other = cloud.pool / image_at(image_name(vm, 2))
    driver.upload(vm, make_image(vm, 2), home)
    change = libvirt.virDomain.updateDeviceFlags
    changes = []

    def frozen(self: libvirt.virDomain, xml: str, flags: int = 0) -> int:
        changes.append(flags)
        done = change(self, xml, flags)
        if len(changes) == 1:  # a later event's, done by another worker
            change(self, disk(other, "hdd", "ide"), libvirt.VIR_DOMAIN_AFFECT_LIVE | libvirt.VIR_DOMAIN_AFFECT_CONFIG)
        return done

    monkeypatch.setattr(libvirt.virDomain, "updateDeviceFlags", frozen)
    driver.detach(vm, [image_name(vm, 1)])
    monkeypatch.undo()
    assert cloud.media(vm) == cloud.media(vm, inactive=True) == {"hdd": str(other)}


def test_a_start_after_a_stop_that_left_an_empty_drive_in_the_running_vm_uses_it(
    cloud: Cloud, driver: KvmDriver, home: Place
) -> None:
    vm = cloud.define()
    first = give(driver, vm, home)
    cloud.start(vm)
    driver.detach(vm, [image_name(vm)])
    assert (cloud.media(vm), cloud.media(vm, inactive=True)) == ({"hdd": None}, {})
    again = give(driver, vm, home, 2)
    assert (again.how, again.device, again.added) == (AttachedHow.INSERTED, first.device, MARK)
    assert cloud.media(vm) == cloud.media(vm, inactive=True) == {"hdd": again.path}


def test_a_qemu_that_hangs_is_given_up_in_time_and_the_drive_emptied_when_it_goes_on(
    cloud: Cloud, make_driver: MakeDriver, home: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("workers.hypervisors.kvm.sessions.DOMAIN_SECONDS", 3.0)
    driver = make_driver(call_timeout=3.0)
    vm = cloud.define(HDD, running=True)
    path = Path(give(driver, vm, home).path)
    qemu = int(subprocess.check_output([find_program("pgrep", "procps"), "--full", "--", f"-uuid {vm.uuid}"]))
    os.kill(qemu, signal.SIGSTOP)
    try:
        seen = driver.observe(vm, (), [image_name(vm)])
        assert (seen.media, [one.name for one in seen.images]) == ((image_name(vm),), [image_name(vm)])
        failure = error_of(driver.detach, vm, seen.media)
        assert failure.code in {TransientCode.HOST_UNREACHABLE, TransientCode.VM_BUSY}
        failure = error_of(driver.delete, vm, seen.images[0], anyones=False)
        assert failure.code in {TransientCode.IMAGE_IN_USE, TransientCode.HOST_UNREACHABLE}
    finally:
        os.kill(qemu, signal.SIGCONT)

    def emptied() -> bool:
        """Try as an event would that is tried again: libvirt may still be at what was given up."""
        if failure_of(lambda: driver.detach(vm, [image_name(vm)])) is not None:
            return False
        return failure_of(lambda: driver.delete(vm, StoredImage(image_name(vm), home), anyones=False)) is None

    wait_until(emptied, "the drive to be emptied and the image to go", timeout=60)
    assert (cloud.media(vm), path.exists()) == ({"hdd": None}, False)
