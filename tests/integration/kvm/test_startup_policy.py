"""VMs that come up while libvirt cannot look at their image: they come up, and their drive is filled afterwards."""

from __future__ import annotations

import subprocess
from typing import TYPE_CHECKING
from xml.etree import ElementTree as ET

import libvirt
import pytest

from configdrive.ports import AttachedHow, EmptyDrive, Inserted
from tests.contract.rig import image_name, make_image
from tests.integration.kvm.cloud import disk, image_at

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from configdrive.model import Place, Vm
    from tests.integration.kvm.cloud import Cloud
    from tests.integration.kvm.conftest import MakeDriver
    from workers.hypervisors.kvm.driver import KvmDriver

SCSI = "<controller type='scsi' index='0' model='virtio-scsi'/>"
INACTIVE = libvirt.VIR_DOMAIN_XML_INACTIVE


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
    taken = domain.snapshotCreateXML("<domainsnapshot/>", 0)

    def revert() -> None:
        domain.revertToSnapshot(taken)
        taken.delete(libvirt.VIR_DOMAIN_SNAPSHOT_DELETE_METADATA_ONLY)

    return revert


def policies(domain: libvirt.virDomain, flags: int = 0) -> list[str | None]:
    """What libvirt is to do when it cannot look at an image, for each that is in a drive."""
    sources = ET.fromstring(domain.XMLDesc(flags)).iterfind("devices/disk/source")  # noqa: S314  # the test's libvirtd
    return [found.get("startupPolicy") for found in sources if found.get("file", "").endswith(".iso")]


def define(cloud: Cloud, slot: str, devices: str = "") -> Vm:
    """Define a VM whose root disk can have snapshots."""
    vm = cloud.new_vm()
    root = cloud.pool / f"{vm.uuid}.qcow2"
    argv = ["qemu-img", "create", "-q", "-f", "qcow2", str(cloud.host.outside(root)), "8M"]
    subprocess.run(argv, check=True)
    element = disk(root, "vda", "virtio", "disk").replace("type='raw'", "type='qcow2'")
    return cloud.define(slot, root=element, devices=devices, vm=vm)


def give(driver: KvmDriver, vm: Vm, home: Place, generation: int = 1) -> str:
    driver.upload(vm, make_image(vm, generation), home)
    return driver.attach(vm, image_name(vm, generation), home).path


def in_drives(cloud: Cloud, vm: Vm) -> list[str]:
    """The images that the guest has, as QEMU says."""
    return [drive.path for drive in cloud.drives(vm).values() if drive.path and drive.path.endswith(".iso")]


@pytest.mark.parametrize(
    ("slot", "come_back"),
    [(disk(None, "hdc", "ide"), power_on), ("", power_on), ("", managed_save), ("", plain_save), ("", snapshot)],
)
def test_a_vm_comes_up_without_its_image_and_the_drive_is_filled_when_it_is_there_again(  # noqa: PLR0913, PLR0917
    cloud: Cloud, make_driver: MakeDriver, home: Place, tmp_path: Path, slot: str, come_back: Callable[..., object]
) -> None:
    vm = define(cloud, slot)
    path = give(make_driver(cd_targets=["hdc"]), vm, home)  # hdc is no place of a drive that is not there before
    driver = make_driver()
    again = come_back(cloud.domain(vm), tmp_path / "save")
    assert callable(again)
    cloud.host.outside(cloud.pool / image_at(image_name(vm))).unlink()
    again()
    assert (cloud.domain(vm).isActive(), in_drives(cloud, vm)) == (1, [])
    assert driver.observe(vm).drive == EmptyDrive()

    driver.upload(vm, make_image(vm), home)
    attachment = driver.attach(vm, image_name(vm), home)
    assert (attachment.how, attachment.path) == (AttachedHow.INSERTED, path)
    assert in_drives(cloud, vm) == [path]
    assert driver.observe(vm).drive == Inserted(image_name(vm), home)
    assert cloud.media(vm, inactive=True) == cloud.media(vm)


def test_a_running_vm_goes_back_to_a_snapshot_of_before_an_update_and_gets_the_newest_image(
    cloud: Cloud, driver: KvmDriver, home: Place, tmp_path: Path
) -> None:
    vm = define(cloud, disk(None, "hdd", "ide"))
    old = give(driver, vm, home, 1)
    revert = snapshot(cloud.domain(vm), tmp_path)
    new = give(driver, vm, home, 2)
    cloud.host.outside(cloud.pool / image_at(image_name(vm, 1))).unlink()
    revert()
    assert cloud.media(vm, inactive=True) == {"hdd": old}
    assert driver.observe(vm).drive == EmptyDrive()
    assert driver.attach(vm, image_name(vm, 2), home).path == new
    assert (in_drives(cloud, vm), cloud.media(vm, inactive=True)) == ([new], {"hdd": new})


@pytest.mark.parametrize(
    ("slot", "devices", "running"),
    [(disk(None, "hdd", "ide"), "", False), (disk(None, "hdd", "ide"), "", True), ("", SCSI, False), ("", SCSI, True)],
)
def test_the_policy_is_written_with_each_medium(  # noqa: PLR0913, PLR0917  # fixtures and cases
    cloud: Cloud, driver: KvmDriver, make_driver: MakeDriver, home: Place, slot: str, devices: str, *, running: bool
) -> None:
    vm = cloud.define(slot, devices=devices)
    if running:
        cloud.domain(vm).createWithFlags(libvirt.VIR_DOMAIN_START_PAUSED)
    for generation in (1, 2):
        give(driver, vm, home, generation)
        assert policies(cloud.domain(vm)) == policies(cloud.domain(vm), INACTIVE) == ["optional"]
    give(make_driver(startup_policy="requisite"), vm, home, 3)
    assert policies(cloud.domain(vm)) == policies(cloud.domain(vm), INACTIVE) == ["requisite"]


def test_a_drive_that_was_filled_without_a_policy_gets_it_with_the_next_look(
    cloud: Cloud, driver: KvmDriver, home: Place
) -> None:
    vm = cloud.define(disk(cloud.pool / image_at(image_name(cloud.new_vm())), "hdd", "ide"))
    driver.upload(vm, make_image(vm), home)
    cloud.define(disk(cloud.pool / image_at(image_name(vm)), "hdd", "ide"), vm=vm)
    assert policies(cloud.domain(vm)) == [None]
    driver.attach(vm, image_name(vm), home)
    assert policies(cloud.domain(vm)) == ["optional"]


def test_a_vm_that_must_not_start_without_its_drive_does_not(
    cloud: Cloud, make_driver: MakeDriver, home: Place
) -> None:
    vm = cloud.define(disk(None, "hdd", "ide"))
    path = give(make_driver(startup_policy="requisite"), vm, home)
    cloud.host.outside(cloud.pool / image_at(image_name(vm))).unlink()
    with pytest.raises(libvirt.libvirtError, match=f"Cannot access storage file '{path}'"):
        cloud.start(vm)
