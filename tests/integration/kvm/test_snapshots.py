"""VMs with snapshots: their drives are exchanged and emptied as any other's."""

from __future__ import annotations

import subprocess
from typing import TYPE_CHECKING

import libvirt
import pytest

from configdrive.model import StoredImage
from tests.contract.rig import image_name, make_image
from tests.integration.kvm.cloud import disk

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from configdrive.model import Place, Vm
    from tests.integration.kvm.cloud import Cloud
    from workers.hypervisors.kvm.driver import KvmDriver

INTERNAL, EXTERNAL = 0, libvirt.VIR_DOMAIN_SNAPSHOT_CREATE_DISK_ONLY
SNAPSHOT = "<domainsnapshot><name>before</name></domainsnapshot>"


@pytest.fixture
def define(cloud: Cloud) -> Iterator[Callable[[], Vm]]:
    """Makes VMs whose root disks can have snapshots, which are gone afterwards."""
    made: list[Vm] = []

    def new() -> Vm:
        vm = cloud.new_vm()
        root = cloud.pool / f"{vm.uuid}.qcow2"
        argv = ["qemu-img", "create", "-q", "-f", "qcow2", str(cloud.host.outside(root)), "8M"]
        subprocess.run(argv, check=True)
        element = disk(root, "vda", "virtio", "disk").replace("type='raw'", "type='qcow2'")
        cloud.define(disk(None, "hdd", "ide"), root=element, vm=vm)
        made.append(vm)
        return vm

    yield new
    for vm in made:
        for snapshot in cloud.domain(vm).listAllSnapshots():
            snapshot.delete(libvirt.VIR_DOMAIN_SNAPSHOT_DELETE_METADATA_ONLY)


def give(driver: KvmDriver, vm: Vm, home: Place, generation: int) -> str:
    driver.upload(vm, make_image(vm, generation), home)
    return driver.attach(vm, image_name(vm, generation), home).path


@pytest.mark.parametrize("running", [True, False], ids=["running", "halted"])
@pytest.mark.parametrize("kind", [INTERNAL, EXTERNAL], ids=["internal", "external"])
def test_a_drive_is_exchanged_and_emptied_although_there_is_a_snapshot(  # noqa: PLR0913  # fixtures and cases
    cloud: Cloud, driver: KvmDriver, home: Place, define: Callable[[], Vm], kind: int, *, running: bool
) -> None:
    vm = define()
    give(driver, vm, home, 1)
    if running:
        cloud.start(vm)
    cloud.domain(vm).snapshotCreateXML(SNAPSHOT, kind)

    seen = driver.observe(vm)
    assert seen.storage == home, "the root disk is found below its snapshot"
    path = give(driver, vm, home, 2)
    assert cloud.media(vm) == {"hdd": path}
    driver.delete(vm, StoredImage(image_name(vm, 1), home))
    driver.detach(vm)
    driver.delete(vm, StoredImage(image_name(vm, 2), home))
    assert driver.observe(vm).images == ()
    assert set(cloud.media(vm).values()) <= {None}


def test_a_halted_vm_goes_back_to_a_snapshot_with_an_image_that_is_gone_and_gets_its_drive_again(
    cloud: Cloud, driver: KvmDriver, home: Place, define: Callable[[], Vm]
) -> None:
    vm = define()
    old = give(driver, vm, home, 1)
    snapshot = cloud.domain(vm).snapshotCreateXML(SNAPSHOT, INTERNAL)
    give(driver, vm, home, 2)
    driver.delete(vm, StoredImage(image_name(vm, 1), home))
    cloud.domain(vm).revertToSnapshot(snapshot)
    assert cloud.media(vm) == {"hdd": old}
    path = give(driver, vm, home, 3)
    assert cloud.media(vm) == {"hdd": path}
    cloud.start(vm)
    assert [drive.path for drive in cloud.drives(vm).values() if drive.path and drive.path.endswith(".iso")] == [path]
