"""What is the user's own stays: a drive that was found is emptied and left as it was, one that was added goes again."""

from __future__ import annotations

import os
import signal
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING
from xml.etree import ElementTree as ET

import libvirt
import pytest

from configdrive.errors import TransientCode
from configdrive.model import StoredImage
from configdrive.ports import AttachedHow
from tests.contract.rig import failure_of, image_name, make_image
from tests.integration.kvm.cloud import disk, image_at
from tests.support import wait_until
from workers.hypervisors.kvm.domain_xml import MARK

if TYPE_CHECKING:
    from configdrive.model import Place, Vm
    from configdrive.ports import Attachment
    from tests.integration.kvm.cloud import Cloud
    from tests.integration.kvm.conftest import MakeDriver
    from workers.hypervisors.kvm.driver import KvmDriver

SCSI = "<controller type='scsi' index='0' model='virtio-scsi'/>"
THEIRS = "<serial>THEIR-CD</serial><boot order='2'/><alias name='ua-theirs'/>"
CONFIG = libvirt.VIR_DOMAIN_XML_INACTIVE


def give(driver: KvmDriver, vm: Vm, home: Place, generation: int = 1) -> Attachment:
    driver.upload(vm, make_image(vm, generation), home)
    return driver.attach(vm, image_name(vm, generation), home)


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
        target.attrib.pop("tray", None)  # a firmware plays with it
        found[target.get("dev", "")] = ET.canonicalize(ET.tostring(element, encoding="unicode"), strip_text=True)
    return found


def process_of(vm: Vm) -> int:
    """Find a VM's QEMU."""
    for entry in Path("/proc").iterdir():
        with suppress(OSError):
            words = (entry / "cmdline").read_bytes().split(b"\0")
            if b"qemu" in words[0] and f"guest={vm.instance_name},debug-threads=on".encode() in words:
                return int(entry.name)
    raise LookupError(vm.instance_name)


def with_their_cd(cloud: Cloud, *, running: bool) -> Vm:
    vm = cloud.new_vm()
    root = disk(cloud.root_disk(vm.uuid), "vda", "virtio", "disk", "<boot order='1'/>")
    xml = (
        f"<domain type='qemu'><name>{vm.instance_name}</name><uuid>{vm.uuid}</uuid><memory unit='MiB'>32</memory>"
        "<os><type arch='x86_64' machine='pc'>hvm</type></os>"
        f"<devices>{root}{disk(None, 'hdd', 'ide', extra=THEIRS)}</devices></domain>"
    )
    cloud.connection.defineXML(xml)
    if running:
        cloud.start(vm)
    return vm


@pytest.mark.parametrize("running", [False, True])
def test_the_user_s_own_cd_drive_is_as_it_was_after_start_and_stop(
    cloud: Cloud, driver: KvmDriver, home: Place, *, running: bool
) -> None:
    vm = with_their_cd(cloud, running=running)
    layers = (0, CONFIG) if running else (0,)
    before = [drives(cloud, vm, flags) for flags in layers]
    for generation in (1, 2):
        attachment = give(driver, vm, home, generation)
        assert (attachment.device, attachment.added) == ("hdd", None)
        assert [drives(cloud, vm, flags) for flags in layers] == before
    driver.detach(vm, driver.observe(vm).media)
    assert [drives(cloud, vm, flags) for flags in layers] == before
    assert cloud.media(vm) == cloud.media(vm, inactive=True) == {"hdd": None}


@pytest.mark.parametrize("running", [False, True])
def test_a_drive_that_was_added_is_marked_and_goes_again(
    cloud: Cloud, driver: KvmDriver, home: Place, *, running: bool
) -> None:
    vm = cloud.define(devices=SCSI, running=running)
    layers = (0, CONFIG) if running else (0,)
    before = [drives(cloud, vm, flags) for flags in layers]
    for generation in (1, 2):
        attachment = give(driver, vm, home, generation)
        assert attachment.added == MARK
        assert [MARK in drives(cloud, vm, flags)[attachment.device] for flags in layers] == [True] * len(layers)
    driver.detach(vm, driver.observe(vm).media)
    assert [drives(cloud, vm, flags) for flags in layers] == before


def test_our_drive_with_the_user_s_iso_in_it_is_the_user_s_until_it_is_empty(
    cloud: Cloud, driver: KvmDriver, home: Place, tmp_path: Path
) -> None:
    (tmp_path / "user.iso").write_bytes(bytes(4096))
    vm = cloud.define()
    assert give(driver, vm, home).device == "hdd"
    theirs = disk(tmp_path / "user.iso", "hdd", "ide", extra=f"<alias name='{MARK}'/>")
    cloud.domain(vm).updateDeviceFlags(theirs, libvirt.VIR_DOMAIN_AFFECT_CONFIG)
    assert give(driver, vm, home, 2).device == "hdb"
    driver.detach(vm, driver.observe(vm).media)
    assert cloud.media(vm) == {"hdd": str(tmp_path / "user.iso"), "hdb": None}, "two drives cannot bear the mark"


def test_a_drive_is_looked_at_again_right_before_each_change(
    cloud: Cloud, driver: KvmDriver, home: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Frozen between the two changes of one detach: what came into the other definition meanwhile stays."""
    vm = cloud.define(disk(None, "hdd", "ide"))
    cloud.domain(vm).createWithFlags(libvirt.VIR_DOMAIN_START_PAUSED)  # no firmware that resets its drives meanwhile
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
    vm = cloud.define(disk(None, "hdd", "ide"), running=True)
    path = Path(give(driver, vm, home).path)
    qemu = process_of(vm)
    os.kill(qemu, signal.SIGSTOP)
    try:
        seen = driver.observe(vm, (), [image_name(vm)])
        assert (seen.media, [one.name for one in seen.images]) == ((image_name(vm),), [image_name(vm)])
        failure = failure_of(lambda: driver.detach(vm, seen.media))
        assert failure is not None
        assert failure.code in {TransientCode.HOST_UNREACHABLE, TransientCode.VM_BUSY}
        failure = failure_of(lambda: driver.delete(vm, seen.images[0], anyones=False))
        assert failure is not None
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
