"""A file system that hangs: libvirt's calls into it do not come back, and it waits for the pools that they hold."""

from __future__ import annotations

from typing import TYPE_CHECKING

from configdrive.errors import TransientCode
from configdrive.model import HostName, Place, StorageName
from configdrive.ports import EmptyDrive
from rigs.hanging_files import HangingFiles
from tests.contract.rig import failure_of, image_name, make_image
from tests.integration.kvm.cloud import disk
from tests.support import require_rig

if TYPE_CHECKING:
    from pathlib import Path

    from configdrive.model import Vm
    from tests.integration.kvm.cloud import Cloud
    from tests.integration.kvm.conftest import MakeDriver
    from workers.hypervisors.kvm.driver import KvmDriver

HOST = HostName("h1")
BAD = Place(StorageName("bad"), HOST)


def give(driver: KvmDriver, vm: Vm, place: Place, generation: int) -> None:
    driver.upload(vm, make_image(vm, generation), place)
    driver.attach(vm, image_name(vm, generation), place)


def test_a_storage_that_hangs_is_asked_once_and_all_that_lies_elsewhere_goes_on(
    cloud: Cloud, make_driver: MakeDriver, home: Place, tmp_path: Path
) -> None:
    cloud.add_pool("bad", tmp_path / "bad")
    with require_rig():
        hangs = HangingFiles(tmp_path / "bad", tmp_path / "asked", cloud.host.within)
    driver = make_driver(call_timeout=2.0)
    root = disk(tmp_path / "bad" / "root", "vda", "virtio", "disk")
    bad = [cloud.define(disk(None, "hdd", "ide"), root=root) for _ in range(3)]
    good = [cloud.define(disk(None, "hdd", "ide")) for _ in range(2)]
    for vm in (*bad, *good):
        give(driver, vm, BAD if vm in bad else home, 1)
    with hangs:
        for vm in bad:
            for verb in (lambda: driver.upload(vm, make_image(vm, 2), BAD),) * 2:  # noqa: B023 - called in this round
                failure = failure_of(verb)
                assert failure is not None
                assert (failure.code, "hangs" in failure.detail) == (TransientCode.STORAGE_UNAVAILABLE, True)
            driver.detach(vm, [image_name(vm)])
            seen = driver.observe(vm, (), [image_name(vm)])
            assert (seen.storage and seen.storage.storage, seen.drive) == (BAD.storage, EmptyDrive())
            assert seen.unreachable == (seen.storage,)
        for vm in good:
            assert driver.observe(vm, (), [image_name(vm)]).images != ()
            give(driver, vm, home, 2)
        assert hangs.waiting == 1, "and held one thread of libvirtd's"
    for vm in bad:
        give(driver, vm, BAD, 3)
