"""VMs that come back: from a snapshot, a saved state or the cold, with an image that libvirt cannot look at any more.

They come up, and their drive is filled afterwards; it is exchanged and emptied as any other's.
"""

import subprocess
from collections.abc import Callable
from pathlib import Path
from xml.etree import ElementTree as ET

import libvirt
import pytest

from configdrive.model import Place, StoredImage, Vm
from configdrive.ports import AttachedHow, EmptyDrive, Inserted
from tests.contract.rig import image_name, make_image
from tests.integration.kvm.cloud import HDD, SCSI, Cloud, MakeDriver, disk, give, image_at
from workers.hypervisors.kvm.driver import KvmDriver

INACTIVE = libvirt.VIR_DOMAIN_XML_INACTIVE
INTERNAL, EXTERNAL = 0, libvirt.VIR_DOMAIN_SNAPSHOT_CREATE_DISK_ONLY
SNAPSHOT = "<domainsnapshot><name>before</name></domainsnapshot>"


def power_on(domain: libvirt.virDomain, _file: Path) -> Callable[[], object]:
    """As a person does, or libvirt itself after a reboot of the host."""
    return domain.create


def managed_save(domain: libvirt.virDomain, _file: Path) -> Callable[[], object]:
    domain.create()
    domain.managedSave()
    return domain.create


def plain_save(domain: libvirt.virDomain, file: Path) -> Callable[[], object]:
    domain.create()
    connection: libvirt.virConnect = domain.connect()  # type: ignore[no-untyped-call]
    domain.save(str(file))
    return lambda: connection.restore(str(file))


def snapshot(domain: libvirt.virDomain, _file: Path) -> Callable[[], object]:
    domain.create()
    taken = domain.snapshotCreateXML(SNAPSHOT, INTERNAL)
    return lambda: domain.revertToSnapshot(taken)


def policies(cloud: Cloud, vm: Vm) -> set[str | None]:
    """What libvirt is to do when it cannot look at an image, for each that is in a drive."""
    found = set()
    for flags in (0, INACTIVE):
        sources = ET.fromstring(cloud.domain(vm).XMLDesc(flags)).iterfind("devices/disk/source")  # noqa: S314  # ours
        found |= {one.get("startupPolicy") for one in sources if one.get("file", "").endswith(".iso")}
    return found


def define(cloud: Cloud, slot: str = HDD) -> Vm:
    """Define a VM whose root disk can have snapshots."""
    vm = cloud.new_vm()
    root = cloud.pool / f"{vm.uuid}.qcow2"
    argv = ["qemu-img", "create", "-q", "-f", "qcow2", str(root), "8M"]
    subprocess.run(argv, check=True)
    element = disk(root, "vda", "virtio", "disk").replace("type='raw'", "type='qcow2'")
    return cloud.define(slot, root=element, vm=vm)


@pytest.mark.parametrize("running", [True, False], ids=["running", "halted"])
@pytest.mark.parametrize("kind", [INTERNAL, EXTERNAL], ids=["internal", "external"])
def test_a_drive_is_exchanged_and_emptied_although_there_is_a_snapshot(
    cloud: Cloud, driver: KvmDriver, home: Place, kind: int, *, running: bool
) -> None:
    vm = define(cloud)
    give(driver, vm, home, 1)
    if running:
        cloud.start(vm)
    cloud.domain(vm).snapshotCreateXML(SNAPSHOT, kind)

    assert driver.observe(vm).storage == home, "the root disk is found below its snapshot"
    path = give(driver, vm, home, 2).path
    assert cloud.media(vm) == {"hdd": path}
    driver.delete(vm, StoredImage(image_name(vm, 1), home))
    driver.detach(vm)
    driver.delete(vm, StoredImage(image_name(vm, 2), home))
    assert driver.observe(vm).images == ()
    assert set(cloud.media(vm).values()) <= {None}


@pytest.mark.parametrize(
    ("slot", "come_back"),
    [(disk(None, "hdc", "ide"), power_on), ("", power_on), ("", managed_save), ("", plain_save), ("", snapshot)],
)
def test_a_vm_comes_up_without_its_image_and_the_drive_is_filled_when_it_is_there_again(  # noqa: PLR0913, PLR0917
    cloud: Cloud, make_driver: MakeDriver, home: Place, tmp_path: Path, slot: str, come_back: Callable[..., object]
) -> None:
    vm = define(cloud, slot)
    path = give(make_driver(cd_targets=["hdc"]), vm, home).path  # hdc is no place of a drive that is not there before
    driver = make_driver()
    again = come_back(cloud.domain(vm), tmp_path / "save")
    assert callable(again)
    Path(path).unlink()
    again()
    assert (cloud.domain(vm).isActive(), cloud.guest_sees(vm)) == (1, [])
    assert driver.observe(vm).drive == EmptyDrive()

    attachment = give(driver, vm, home)
    assert (attachment.how, attachment.path) == (AttachedHow.INSERTED, path)
    assert cloud.guest_sees(vm) == [path]
    assert driver.observe(vm).drive == Inserted(image_name(vm), home)
    assert cloud.media(vm, inactive=True) == cloud.media(vm)


@pytest.mark.parametrize("running", [True, False], ids=["running", "halted"])
def test_a_vm_goes_back_to_a_snapshot_of_before_an_update_and_gets_the_newest_image(
    cloud: Cloud, driver: KvmDriver, home: Place, *, running: bool
) -> None:
    vm = define(cloud)
    old = give(driver, vm, home, 1).path
    if running:
        cloud.start(vm)
    taken = cloud.domain(vm).snapshotCreateXML(SNAPSHOT, INTERNAL)
    new = give(driver, vm, home, 2).path
    driver.delete(vm, StoredImage(image_name(vm, 1), home))
    cloud.domain(vm).revertToSnapshot(taken)
    assert cloud.media(vm, inactive=True) == {"hdd": old}
    assert not running or driver.observe(vm).drive == EmptyDrive()
    assert driver.attach(vm, image_name(vm, 2), home).path == new
    assert cloud.media(vm, inactive=True) == {"hdd": new}
    if not running:
        cloud.start(vm)
    assert cloud.guest_sees(vm) == [new]


@pytest.mark.parametrize(
    ("slot", "devices", "running"),
    [(HDD, "", False), (HDD, "", True), ("", SCSI, False), ("", SCSI, True)],
)
def test_the_policy_is_written_with_each_medium(  # noqa: PLR0913, PLR0917  # fixtures and cases
    cloud: Cloud, driver: KvmDriver, make_driver: MakeDriver, home: Place, slot: str, devices: str, *, running: bool
) -> None:
    vm = cloud.define(slot, devices=devices, running=running)
    for generation in (1, 2):
        give(driver, vm, home, generation)
        assert policies(cloud, vm) == {"optional"}
    give(make_driver(startup_policy="requisite"), vm, home, 3)
    assert policies(cloud, vm) == {"requisite"}


def test_a_drive_that_was_filled_without_a_policy_gets_it_with_the_next_look(
    cloud: Cloud, driver: KvmDriver, home: Place
) -> None:
    vm = cloud.new_vm()
    driver.upload(vm, make_image(vm), home)
    cloud.define(disk(cloud.pool / image_at(image_name(vm)), "hdd", "ide"), vm=vm)
    assert policies(cloud, vm) == {None}
    driver.attach(vm, image_name(vm), home)
    assert policies(cloud, vm) == {"optional"}


def test_a_vm_that_must_not_start_without_its_drive_does_not(
    cloud: Cloud, make_driver: MakeDriver, home: Place
) -> None:
    vm = cloud.define(HDD)
    path = give(make_driver(startup_policy="requisite"), vm, home).path
    Path(path).unlink()
    with pytest.raises(libvirt.libvirtError, match=f"Cannot access storage file '{path}'"):
        cloud.start(vm)
