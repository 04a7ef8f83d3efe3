"""A real Linux reads what the driver has put into its drive, and lets go of what the driver takes away."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from configdrive.iso import build as image
from configdrive.model import Image, Presentation, StoredImage, Vm
from configdrive.ports import AttachedHow
from rigs.guest import Disk, GuestKernel, Machine, domain_xml, wait_for_report
from tests.contract.rig import image_name
from tests.integration.kvm.cloud import Cloud, on_h1
from tests.support import require_rig
from workers.hypervisors.kvm.driver import KvmDriver

HOME = on_h1("local")


@pytest.fixture(scope="module")
def guest() -> GuestKernel:
    with require_rig():
        return GuestKernel.prepare()


def build(vm: Vm, generation: int, text: str) -> Image:
    files = {"cloudstack/metadata/vm_id.txt": text.encode()}
    return image.build(image_name(vm, generation), files, label="config", built_at=1_700_000_000)


def define(cloud: Cloud, guest: GuestKernel, console: Path, machine: Machine) -> Vm:
    vm = cloud.new_vm()
    root = Disk("vda", "virtio", cloud.root_disk(vm.uuid))
    cloud.connection.defineXML(domain_xml(vm.instance_name, vm.uuid, guest, console, disks=[root], machine=machine))
    return vm


def test_a_guest_reads_each_medium_and_lets_go_of_it(
    cloud: Cloud, driver: KvmDriver, guest: GuestKernel, tmp_path: Path
) -> None:
    """A CD from its start, the next one while it runs, then disks that are plugged in and out."""
    console = tmp_path / "console"
    vm = define(cloud, guest, console, Machine(type="q35", wait=0))
    driver.upload(vm, build(vm, 1, "one"), HOME)
    driver.attach(vm, image_name(vm, 1), HOME)
    cloud.start(vm)
    report = wait_for_report(console, 1)
    assert report.files == {"cloudstack/metadata/vm_id.txt": b"one"}
    assert (report.device, "ro" in report.mount_options) == ("/dev/sr0", True)

    driver.upload(vm, build(vm, 2, "two"), HOME)
    assert driver.attach(vm, image_name(vm, 2), HOME).how is AttachedHow.INSERTED
    driver.delete(vm, StoredImage(image_name(vm, 1), HOME))
    assert wait_for_report(console, 2).files == {"cloudstack/metadata/vm_id.txt": b"two"}

    vm = replace(vm, presentation=Presentation.DISK)
    for generation, text in ((3, "three"), (4, "four")):
        driver.upload(vm, build(vm, generation, text), HOME)
        attachment = driver.attach(vm, image_name(vm, generation), HOME)
        assert (attachment.how, attachment.device) == (AttachedHow.HOT_ADDED, "vdz")
        report = wait_for_report(console, generation)
        assert report.files == {"cloudstack/metadata/vm_id.txt": text.encode()}
        assert report.device.startswith("/dev/vd")
    driver.detach(vm)
    assert set(cloud.media(vm).values()) <= {None}
    assert set(cloud.media(vm, inactive=True).values()) <= {None}
    for generation in (2, 3, 4):
        driver.delete(vm, StoredImage(image_name(vm, generation), HOME))
