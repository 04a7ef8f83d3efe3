"""Where a VM's images belong: on the storage of its root disk."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import pytest

from configdrive.errors import FleetError, PermanentCode, TransientCode
from configdrive.model import HostName, Place, StorageName
from tests.contract.rig import image_name, make_image
from tests.integration.kvm.cloud import disk, image_at

if TYPE_CHECKING:
    from pathlib import Path

    from tests.integration.kvm.cloud import Cloud
    from tests.integration.kvm.conftest import MakeDriver
    from workers.hypervisors.kvm.driver import KvmDriver

HOST = HostName("h1")
CACHE = Place(StorageName("host-cache"), HOST)
RBD = (
    "<disk type='network' device='disk'><driver name='qemu' type='raw'/><source protocol='rbd' name='pool/volume'>"
    "<host name='127.0.0.1'/></source><target dev='vda' bus='virtio'/></disk>"
)
BLOCK = (
    "<disk type='block' device='disk'><driver name='qemu' type='raw'/><source dev='{}'/>"
    "<target dev='vda' bus='virtio'/></disk>"
)


def place(name: str) -> Place:
    return Place(StorageName(name), HOST)


def test_a_file_lies_on_the_innermost_pool_around_it(cloud: Cloud, driver: KvmDriver, tmp_path: Path) -> None:
    cloud.add_pool("outer", tmp_path / "outer")
    cloud.add_pool("inner", tmp_path / "outer" / "inner")
    cloud.add_pool("beside", tmp_path / "outer" / "inner-2")
    vm = cloud.define(root=disk(tmp_path / "outer" / "inner" / "deep" / "root.raw", "vda", "virtio", "disk"))
    assert driver.observe(vm).storage == place("inner")
    vm = cloud.define(root=disk(tmp_path / "outer" / "inner-2" / "root.raw", "vda", "virtio", "disk"))
    assert driver.observe(vm).storage == place("beside")


def test_a_path_through_a_symbolic_link_lies_on_the_pool_to_which_it_leads(
    cloud: Cloud, make_driver: MakeDriver, ssh_table: dict[str, object], tmp_path: Path
) -> None:
    cloud.add_pool("real", tmp_path / "real" / "pool")
    (tmp_path / "linked").symlink_to(tmp_path / "real" / "pool")
    (tmp_path / "real" / "pool" / "deep").mkdir()
    driver = make_driver(ssh=ssh_table)
    vm = cloud.define(root=disk(tmp_path / "linked" / "deep" / "root.raw", "vda", "virtio", "disk"))
    assert driver.observe(vm).storage == place("real")
    (tmp_path / "far").mkdir()
    (tmp_path / "by-link").symlink_to(tmp_path / "far")
    cloud.add_pool("by-link", tmp_path / "by-link")
    vm = cloud.define(root=disk(tmp_path / "far" / "root.raw", "vda", "virtio", "disk"))
    assert make_driver(ssh=ssh_table).observe(vm).storage == place("by-link")


def test_a_data_disk_is_not_the_root_of_a_vm_that_boots_from_a_lun(cloud: Cloud, driver: KvmDriver) -> None:
    lun = BLOCK.format("/dev/loop7").replace("'disk'", "'lun'", 1).replace("vda", "sda").replace("'virtio'", "'scsi'")
    vm = cloud.new_vm()
    data = disk(cloud.root_disk(vm.uuid), "vdb", "virtio", "disk")
    cloud.define(data, root=lun, devices="<controller type='scsi' model='virtio-scsi'/>", vm=vm)
    assert driver.observe(vm).storage == CACHE


def test_a_volume_lies_on_the_pool_that_it_names(cloud: Cloud, driver: KvmDriver, tmp_path: Path) -> None:
    cloud.add_pool("named", tmp_path / "named")
    root = (
        "<disk type='volume' device='disk'><driver name='qemu' type='raw'/><source pool='named' volume='root'/>"
        "<target dev='vda' bus='virtio'/></disk>"
    )
    assert driver.observe(cloud.define(root=root)).storage == place("named")


def test_the_boot_order_says_which_disk_is_the_root(cloud: Cloud, driver: KvmDriver, tmp_path: Path) -> None:
    cloud.add_pool("second", tmp_path / "second")
    vm = cloud.new_vm()
    first = disk(cloud.root_disk(vm.uuid), "vda", "virtio", "disk", "<boot order='2'/>")
    second = disk(tmp_path / "second" / "root.raw", "vdb", "virtio", "disk", "<boot order='1'/>")
    xml = (
        f"<domain type='qemu'><name>{vm.instance_name}</name><uuid>{vm.uuid}</uuid><memory unit='MiB'>32</memory>"
        f"<os><type arch='x86_64' machine='pc'>hvm</type></os><devices>{first}{second}</devices></domain>"
    )
    cloud.connection.defineXML(xml)
    assert driver.observe(vm).storage == place("second")


@pytest.mark.parametrize("root", [RBD, BLOCK.format("/dev/vg/root"), ""], ids=["rbd", "block", "no pool"])
def test_what_lies_on_no_pool_that_holds_files_goes_to_the_host_s_cache(
    cloud: Cloud, driver: KvmDriver, tmp_path: Path, root: str
) -> None:
    vm = cloud.define(root=root or disk(tmp_path / "alone.raw", "vda", "virtio", "disk"))
    assert driver.observe(vm).storage == CACHE
    driver.upload(vm, make_image(vm), CACHE)
    attachment = driver.attach(vm, image_name(vm), CACHE)
    assert attachment.path == str(tmp_path / image_at(image_name(vm), "cache"))
    assert (tmp_path / image_at(image_name(vm), "cache")).read_bytes() == make_image(vm).content
    assert [image.name for image in driver.observe(vm).images] == [image_name(vm)]
    assert image_name(vm) in {image.name for image in driver.survey(HOST).images}


def test_a_pool_that_holds_no_files_gives_the_host_s_cache(cloud: Cloud, driver: KvmDriver, tmp_path: Path) -> None:
    cloud.add_pool(
        "blocks", tmp_path / "vg", "logical", "<source><name>vg</name><format type='lvm2'/></source>", active=False
    )
    vm = cloud.define(root=BLOCK.format(tmp_path / "vg" / "root"))
    assert driver.observe(vm).storage == CACHE
    assert driver.observe(replace(cloud.define(), primary_storage=StorageName("blocks"))).storage == CACHE


def test_the_cache_can_be_named(cloud: Cloud, driver: KvmDriver) -> None:
    assert driver.observe(replace(cloud.define(), primary_storage=CACHE.storage)).storage == CACHE


def test_a_vm_without_any_disk_has_no_storage(cloud: Cloud, driver: KvmDriver) -> None:
    assert driver.observe(cloud.define(root="")).storage is None


def test_our_own_disk_is_never_the_root(cloud: Cloud, driver: KvmDriver, home: Place, tmp_path: Path) -> None:
    cloud.add_pool("other", tmp_path / "other")
    vm = cloud.new_vm()
    ours = disk(tmp_path / "other" / image_at(image_name(vm)), "vdb", "virtio", "disk", "<boot order='1'/>")
    root = disk(cloud.root_disk(vm.uuid), "vda", "virtio", "disk", "<boot order='2'/>")
    xml = (
        f"<domain type='qemu'><name>{vm.instance_name}</name><uuid>{vm.uuid}</uuid><memory unit='MiB'>32</memory>"
        f"<os><type arch='x86_64' machine='pc'>hvm</type></os><devices>{ours}{root}</devices></domain>"
    )
    cloud.connection.defineXML(xml)
    assert driver.observe(vm).storage == home


def test_a_pool_that_is_not_active_is_the_vm_s_storage_and_cannot_be_reached(
    cloud: Cloud, driver: KvmDriver, tmp_path: Path
) -> None:
    cloud.add_pool("asleep", tmp_path / "asleep", active=False)
    vm = cloud.define(root=disk(tmp_path / "asleep" / "root.raw", "vda", "virtio", "disk"))
    for names in (None, [image_name(vm)]):
        seen = driver.observe(vm, (), names)
        assert (seen.storage, seen.unreachable) == (place("asleep"), (place("asleep"),))
    with pytest.raises(FleetError) as caught:
        driver.upload(vm, make_image(vm), place("asleep"))
    assert caught.value.code is TransientCode.STORAGE_UNAVAILABLE
    assert caught.value.remedy == "virsh pool-start asleep"
    assert not (tmp_path / "asleep" / "configdrive").exists()


def test_a_mounted_pool_is_shared_and_a_pool_can_be_declared_so(
    cloud: Cloud, make_driver: MakeDriver, tmp_path: Path
) -> None:
    cloud.add_pool("plain", tmp_path / "plain")
    driver = make_driver(pools={"plain": {"shared": True}})
    vm = cloud.define(root=disk(tmp_path / "plain" / "root.raw", "vda", "virtio", "disk"))
    assert driver.observe(vm).storage == Place(StorageName("plain"))
    with pytest.raises(FleetError) as caught:
        driver.upload(vm, make_image(vm), place("plain"))
    assert caught.value.code is PermanentCode.STORAGE_NOT_FOUND
