"""Where a VM's images belong: on the storage of its root disk."""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import pytest

from configdrive.errors import PermanentCode, TransientCode
from configdrive.model import Place, StorageName
from tests.contract.rig import image_name, make_image
from tests.integration.kvm.cloud import CACHE, HOST, SCSI, Cloud, MakeDriver, disk, give, image_at, on_h1, root_in
from tests.support import error_of
from workers.hypervisors.kvm.driver import KvmDriver


def other(kind: str, source: str, dev: str = "vda", bus: str = "virtio", device: str = "disk") -> str:
    """Write a disk that is no file."""
    driver = "<driver name='qemu' type='raw'/>"
    return f"<disk type='{kind}' device='{device}'>{driver}{source}<target dev='{dev}' bus='{bus}'/></disk>"


RBD = other("network", "<source protocol='rbd' name='pool/volume'><host name='127.0.0.1'/></source>")
LV = other("block", "<source dev='/dev/vg/root'/>")
LUN = other("block", "<source dev='/dev/loop7'/>", "sda", "scsi", "lun")


def root_of(case: str, pools: Path, ours: str) -> Sequence[str]:
    """Write the disks of a VM, below a directory with pools."""
    first, second = "<boot order='1'/>", "<boot order='2'/>"
    match case:
        case "a volume":
            return [other("volume", "<source pool='outer' volume='root'/>")]
        case "the boot order":
            data = disk(pools / "beside" / "data", "vda", "virtio", "disk", second)
            return [data, disk(pools / "outer" / "root.raw", "vdb", "virtio", "disk", first)]
        case "our own disk":
            image = disk(pools / "beside" / ours, "vdb", "virtio", "disk", first)
            return [image, disk(pools / "outer" / "root.raw", "vda", "virtio", "disk", second)]
        case "a LUN, and data":
            return [LUN, disk(pools / "outer" / "data", "vdb", "virtio", "disk")]
        case _:
            return [root_in(pools / case)]


@pytest.mark.parametrize(
    ("case", "storage"),
    [
        ("outer", "outer"),
        ("outer/inner/deep", "inner"),
        ("outer/inner-2", "beside"),
        ("linked/deep", "inner"),
        ("far", "by-link"),
        ("a volume", "outer"),
        ("the boot order", "outer"),
        ("our own disk", "outer"),
        ("a LUN, and data", "host-cache"),
    ],
)
def test_images_lie_on_the_pool_of_the_root_disk(  # noqa: PLR0913, PLR0917 - fixtures and cases
    cloud: Cloud, make_driver: MakeDriver, ssh_table: dict[str, object], tmp_path: Path, case: str, storage: str
) -> None:
    """On the innermost around it, be it by a symbolic link, which the host is asked about by SSH."""
    inner = tmp_path / "outer" / "inner"
    for name, path in {"outer": inner.parent, "inner": inner, "beside": tmp_path / "outer" / "inner-2"}.items():
        cloud.add_pool(name, path)
    for directory in (inner / "deep", tmp_path / "far"):
        directory.mkdir()
    (tmp_path / "linked").symlink_to(inner)
    (tmp_path / "by-link").symlink_to(tmp_path / "far")
    cloud.add_pool("by-link", tmp_path / "by-link")
    vm = cloud.new_vm()
    disks = root_of(case, tmp_path, image_at(image_name(vm)))
    cloud.define("".join(disks[1:]), root=disks[0], devices=SCSI, vm=vm)
    assert make_driver(ssh=ssh_table).observe(vm).storage == on_h1(storage)


@pytest.mark.parametrize("root", [RBD, LV, ""], ids=["rbd", "block", "no pool"])
def test_what_lies_on_no_pool_that_holds_files_goes_to_the_host_s_cache(
    cloud: Cloud, driver: KvmDriver, tmp_path: Path, root: str
) -> None:
    vm = cloud.define(root=root or root_in(tmp_path))
    assert driver.observe(vm).storage == CACHE
    assert give(driver, vm, CACHE).path == str(tmp_path / image_at(image_name(vm), "cache"))
    assert (tmp_path / image_at(image_name(vm), "cache")).read_bytes() == make_image(vm).content
    assert [image.name for image in driver.observe(vm).images] == [image_name(vm)]
    assert image_name(vm) in {image.name for image in driver.survey(HOST).images}


def test_what_is_named_is_its_storage_and_without_a_disk_or_a_name_there_is_none(
    cloud: Cloud, driver: KvmDriver, tmp_path: Path
) -> None:
    source = "<source><name>vg</name><format type='lvm2'/></source>"
    cloud.add_pool("blocks", tmp_path / "vg", "logical", source, active=False)
    vm = cloud.define()
    for name in ("blocks", CACHE.storage):
        assert driver.observe(replace(vm, primary_storage=StorageName(name))).storage == CACHE
    on_block = other("block", f"<source dev='{tmp_path}/vg/root'/>")
    assert driver.observe(cloud.define(root=on_block)).storage == CACHE
    assert driver.observe(cloud.define(root="")).storage is None


def test_a_pool_that_is_not_active_is_the_vm_s_storage_and_cannot_be_reached(
    cloud: Cloud, driver: KvmDriver, tmp_path: Path
) -> None:
    cloud.add_pool("asleep", tmp_path / "asleep", active=False)
    vm, place = cloud.define(root=root_in(tmp_path / "asleep")), on_h1("asleep")
    for names in (None, [image_name(vm)]):
        seen = driver.observe(vm, (), names)
        assert (seen.storage, seen.unreachable) == (place, (place,))
    failure = error_of(driver.upload, vm, make_image(vm), place)
    assert (failure.code, failure.remedy) == (TransientCode.STORAGE_UNAVAILABLE, "virsh pool-start asleep")
    assert not (tmp_path / "asleep" / "configdrive").exists()


def test_a_pool_can_be_declared_shared(cloud: Cloud, make_driver: MakeDriver, tmp_path: Path) -> None:
    cloud.add_pool("plain", tmp_path / "plain")
    driver = make_driver(pools={"plain": {"shared": True}})
    vm = cloud.define(root=root_in(tmp_path / "plain"))
    assert driver.observe(vm).storage == Place(StorageName("plain"))
    assert error_of(driver.upload, vm, make_image(vm), on_h1("plain")).code is PermanentCode.STORAGE_NOT_FOUND
