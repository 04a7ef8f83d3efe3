"""The folder of images on a storage: made once, private, verified, on every kind of pool, by either route."""

from __future__ import annotations

import itertools
import subprocess
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING

import asyncssh
import libvirt
import pytest

from configdrive.errors import FleetError, PermanentCode, TransientCode
from configdrive.model import HostName, Image, Place, StorageName, StoredImage
from tests.contract.rig import failure_of, image_name, make_image
from tests.integration.kvm.cloud import disk, image_at
from workers.hypervisors.kvm.image_folder import SftpFolder, VolumeFolder

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.integration.kvm.cloud import Cloud
    from tests.integration.kvm.conftest import MakeDriver
    from workers.hypervisors.kvm.driver import KvmDriver

HOST = HostName("h1")
CACHE = Place(StorageName("host-cache"), HOST)
EXPORT = "127.0.0.1:/export"


def in_use(volume: str) -> libvirt.libvirtError:
    """What libvirt 9.0 raises in the moment in which another connection opens the volume to read it (recorded)."""
    error = libvirt.libvirtError("virStorageVolUpload() failed")
    text = f"Requested operation is not valid: volume '{volume}' is still in use."
    error.err = (libvirt.VIR_ERR_OPERATION_INVALID, libvirt.VIR_FROM_STORAGE, text, 2, text, None, None, -1, -1)
    return error


@pytest.fixture(params=["volume", "sftp"])
def routed(request: pytest.FixtureRequest, make_driver: MakeDriver, ssh_table: dict[str, object]) -> KvmDriver:
    """A driver for each route."""
    route: str = request.param
    return make_driver(storage_route=route, ssh=ssh_table if route == "sftp" else None)


@pytest.fixture
def mounts(cloud: Cloud) -> Iterator[list[Path]]:
    """Directories that are mounted on the host, and unmounted in the end."""
    mounted: list[Path] = []
    yield mounted
    for path in mounted:
        subprocess.run(cloud.host.within(["umount", "-l", str(path)]), check=False, capture_output=True)


def mount(cloud: Cloud, path: Path, source: str, size: str) -> None:
    """Mount memory on the host under the name of a network export: libvirt takes it for that one, already mounted."""
    path.mkdir(parents=True)
    subprocess.run(cloud.host.within(["mount", "-t", "tmpfs", "-o", f"size={size}", source, str(path)]), check=True)


def seen_on_host(cloud: Cloud, path: Path) -> list[str]:
    listing = subprocess.run(
        cloud.host.within(["find", str(path), "-printf", "%P %m\\n"]), check=True, capture_output=True, text=True
    )
    return sorted(line for line in listing.stdout.splitlines() if not line.startswith(" "))


def test_images_are_private_and_their_folder_lists_nothing_to_others(
    cloud: Cloud, routed: KvmDriver, tmp_path: Path
) -> None:
    cloud.add_pool("fresh", tmp_path / "fresh")
    vm = cloud.new_vm()
    routed.upload(vm, make_image(vm), Place(StorageName("fresh"), HOST))
    where = image_at(image_name(vm))
    assert seen_on_host(cloud, tmp_path / "fresh") == sorted(
        ["configdrive 711", f"{Path(where).parent} 711", f"{where} 600", "configdrive/storage.id 600"]
    )


@pytest.mark.parametrize("looked", [False, True])
def test_a_folder_that_others_could_read_or_write_is_taken_from_them(
    cloud: Cloud, routed: KvmDriver, tmp_path: Path, *, looked: bool
) -> None:
    cloud.add_pool("open", tmp_path / "open")
    (tmp_path / "open" / "configdrive").mkdir()
    (tmp_path / "open" / "configdrive").chmod(0o777)
    vm = cloud.define(root=disk(tmp_path / "open" / "root", "vda", "virtio", "disk"))
    if looked:
        routed.observe(vm)
    routed.upload(vm, make_image(vm), Place(StorageName("open"), HOST))
    assert "configdrive 711" in seen_on_host(cloud, tmp_path / "open")


def test_looking_makes_no_folder(cloud: Cloud, routed: KvmDriver, tmp_path: Path) -> None:
    cloud.add_pool("fresh", tmp_path / "fresh")
    vm = cloud.define(root=disk(tmp_path / "fresh" / "root", "vda", "virtio", "disk"))
    assert routed.observe(vm, [CACHE]).images == ()
    routed.survey(HOST)
    routed.delete(vm, StoredImage(image_name(vm), Place(StorageName("fresh"), HOST)))
    assert seen_on_host(cloud, tmp_path / "fresh") == []


def test_a_file_that_came_or_went_past_libvirt_is_noticed(cloud: Cloud, routed: KvmDriver, home: Place) -> None:
    vm = cloud.define()
    routed.upload(vm, make_image(vm), home)
    path = cloud.pool / image_at(image_name(vm))
    path.unlink()
    assert routed.observe(vm).images == ()
    with pytest.raises(FleetError) as caught:
        routed.attach(vm, image_name(vm), home)
    assert caught.value.code is TransientCode.UPLOAD_CORRUPT
    path.write_bytes(make_image(vm).content)
    assert routed.observe(vm).images == (StoredImage(image_name(vm), home),)
    routed.delete(vm, StoredImage(image_name(vm), home))
    assert not path.exists()


def test_threads_that_begin_at_once_make_one_folder(cloud: Cloud, driver: KvmDriver, tmp_path: Path) -> None:
    for round_ in range(3):
        place = Place(StorageName(f"busy-{round_}"), HOST)
        cloud.add_pool(place.storage, tmp_path / str(round_))
        vms = [cloud.new_vm() for _ in range(8)]
        with ThreadPoolExecutor(len(vms)) as pool:
            for done in [pool.submit(driver.upload, vm, make_image(vm), place) for vm in vms]:
                done.result(timeout=300)
        assert len(list((tmp_path / str(round_) / "configdrive").rglob("*.iso"))) == len(vms)
        cloud.clean()


def test_a_file_that_others_just_begin_to_read_is_written_and_deleted_all_the_same(
    cloud: Cloud, driver: KvmDriver, home: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    vm = cloud.define()
    refused: list[str] = []

    def refusing(method: str) -> None:
        real = getattr(libvirt.virStorageVol, method)

        def once(volume: libvirt.virStorageVol, *arguments: object) -> object:
            if method not in refused:
                refused.append(method)
                raise in_use(volume.name())
            return real(volume, *arguments)

        monkeypatch.setattr(libvirt.virStorageVol, method, once)

    refusing("upload")
    refusing("delete")
    driver.upload(vm, make_image(vm), home)
    driver.delete(vm, StoredImage(image_name(vm), home))
    assert refused == ["upload", "delete"]
    assert driver.observe(vm, [home]).images == ()


def test_somebody_else_s_pool_in_that_directory_is_used(cloud: Cloud, driver: KvmDriver, tmp_path: Path) -> None:
    cloud.add_pool("other", tmp_path / "other")
    cloud.add_pool("their-iso-pool", tmp_path / "other" / "configdrive")
    vm = cloud.define()
    place = Place(StorageName("other"), HOST)
    driver.upload(vm, make_image(vm), place)
    assert [image.name for image in driver.observe(vm, [place]).images] == [image_name(vm)]


def test_a_pool_that_bears_our_name_elsewhere_is_refused(cloud: Cloud, driver: KvmDriver, tmp_path: Path) -> None:
    cloud.add_pool("other", tmp_path / "other")
    cloud.add_pool("configdrive-other", tmp_path / "elsewhere")
    vm = cloud.define()
    with pytest.raises(FleetError) as caught:
        driver.upload(vm, make_image(vm), Place(StorageName("other"), HOST))
    assert caught.value.code is PermanentCode.MISCONFIGURED
    assert list((tmp_path / "elsewhere").iterdir()) == []


def test_our_pool_is_started_when_somebody_has_made_it_last(cloud: Cloud, driver: KvmDriver, tmp_path: Path) -> None:
    cloud.add_pool("other", tmp_path / "other")
    cloud.add_pool("configdrive-other", tmp_path / "other" / "configdrive", active=False)
    vm = cloud.define()
    driver.upload(vm, make_image(vm), Place(StorageName("other"), HOST))
    assert (tmp_path / "other" / image_at(image_name(vm))).exists()


def test_the_folder_outlives_libvirtd(cloud: Cloud, driver: KvmDriver, home: Place) -> None:
    vm = cloud.define()
    driver.upload(vm, make_image(vm), home)
    cloud.host.stop_daemon()
    cloud.host.start_daemon()
    cloud.reconnect()
    assert driver.observe(vm).images == (StoredImage(image_name(vm), home),)
    driver.attach(vm, image_name(vm), home)


def test_a_link_under_an_image_s_name_is_neither_written_through_nor_taken_for_the_image(
    cloud: Cloud, driver: KvmDriver, home: Place, tmp_path: Path
) -> None:
    """By volumes, too, where libvirt follows it: what it leads to is not what the image's name promises."""
    vm, victim = cloud.define(disk(None, "hdd", "ide")), tmp_path / "victim"
    victim.write_bytes(b"root:$6$only-root-may-read-this" + bytes(4096))
    path, image = cloud.pool / image_at(image_name(vm)), make_image(vm)
    path.parent.mkdir(exist_ok=True)
    path.symlink_to(victim)
    failure = failure_of(lambda: driver.copy(vm, image.name, home, CACHE, lambda sha256: sha256 == image.sha256))
    assert failure is not None
    assert failure.code is PermanentCode.IMAGE_LOST
    driver.upload(vm, image, home)
    assert (path.is_symlink(), path.read_bytes()) == (False, image.content)
    assert victim.read_bytes().startswith(b"root:")


def test_a_network_pool_is_shared_and_its_folder_lies_on_it(
    cloud: Cloud, routed: KvmDriver, tmp_path: Path, mounts: list[Path]
) -> None:
    mounts.append(tmp_path / "nfs")
    mount(cloud, tmp_path / "nfs", EXPORT, "20m")
    source = "<source><host name='127.0.0.1'/><dir path='/export'/></source>"
    cloud.add_pool("nfs", tmp_path / "nfs", "netfs", source)
    vm = cloud.define(root=disk(tmp_path / "nfs" / "root", "vda", "virtio", "disk"))
    place = Place(StorageName("nfs"))
    assert routed.observe(vm).storage == place
    routed.upload(vm, make_image(vm), place)
    attachment = routed.attach(vm, image_name(vm), place)
    assert attachment.path == str(tmp_path / "nfs" / image_at(image_name(vm)))
    assert f"{image_at(image_name(vm))} 600" in seen_on_host(cloud, tmp_path / "nfs")

    # Unmounted, nothing is written into the directory below.
    cloud.connection.storagePoolLookupByName("nfs").destroy()
    assert routed.observe(vm).unreachable == (place,)
    with pytest.raises(FleetError) as caught:
        routed.upload(vm, make_image(vm, 2), place)
    assert caught.value.code is TransientCode.STORAGE_UNAVAILABLE
    assert list((tmp_path / "nfs").iterdir()) == []


def test_a_full_storage_is_reported_and_nothing_half_done_is_left(
    cloud: Cloud, routed: KvmDriver, tmp_path: Path, mounts: list[Path]
) -> None:
    mounts.append(tmp_path / "small")
    mount(cloud, tmp_path / "small", "small", "300k")
    cloud.add_pool("small", tmp_path / "small")
    vm = cloud.new_vm()
    with pytest.raises(FleetError) as caught:
        routed.upload(vm, make_image(vm), Place(StorageName("small"), HOST))
    assert caught.value.code is TransientCode.STORAGE_FULL
    assert [line for line in seen_on_host(cloud, tmp_path / "small") if vm.uuid in line] == []


def test_a_read_only_storage_is_reported(cloud: Cloud, routed: KvmDriver, tmp_path: Path, mounts: list[Path]) -> None:
    mounts.append(tmp_path / "sealed")
    mount(cloud, tmp_path / "sealed", "sealed", "1m")
    subprocess.run(cloud.host.within(["mount", "-o", "remount,ro", str(tmp_path / "sealed")]), check=True)
    cloud.add_pool("sealed", tmp_path / "sealed")
    vm = cloud.new_vm()
    with pytest.raises(FleetError) as caught:
        routed.upload(vm, make_image(vm), Place(StorageName("sealed"), HOST))
    assert caught.value.code in {PermanentCode.ACCESS_DENIED, TransientCode.STORAGE_UNAVAILABLE}


@pytest.mark.parametrize("folder", [VolumeFolder, SftpFolder])
def test_what_reads_back_otherwise_is_not_left_there(
    cloud: Cloud,
    make_driver: MakeDriver,
    ssh_table: dict[str, object],
    monkeypatch: pytest.MonkeyPatch,
    folder: type,
) -> None:
    """A storage that damages what it stores: the bytes are damaged on their way out."""
    vm = cloud.define()
    if folder is VolumeFolder:
        driver, place = make_driver(), Place(StorageName("local"), HOST)
        sent = VolumeFolder._upload
        monkeypatch.setattr(VolumeFolder, "_upload", lambda self, volume, data: sent(self, volume, b"\0" * len(data)))
    else:
        driver, place = make_driver(ssh=ssh_table), CACHE
        written = asyncssh.SFTPClientFile.write
        monkeypatch.setattr(asyncssh.SFTPClientFile, "write", lambda self, data: written(self, data[:-1]))
    with pytest.raises(FleetError) as caught:
        driver.upload(vm, make_image(vm), place)
    assert caught.value.code is TransientCode.UPLOAD_CORRUPT
    assert driver.observe(vm, [place]).images == ()


def test_the_largest_image_goes_through(cloud: Cloud, routed: KvmDriver, home: Place) -> None:
    vm = cloud.define()
    image = make_image(vm, sectors=64 * 1024 * 1024 // 2048)
    routed.upload(vm, image, home)
    assert (cloud.pool / image_at(image.name)).read_bytes() == image.content
    routed.copy(vm, image.name, home, CACHE)
    routed.delete(vm, StoredImage(image.name, home))
    assert [found.place.storage for found in routed.observe(vm, [CACHE]).images] == [CACHE.storage]
    routed.delete(vm, StoredImage(image.name, CACHE))


@pytest.mark.parametrize("size", [0, 1, 511, 2048, 262_080, 262_081])
def test_every_size_is_written_exactly(cloud: Cloud, routed: KvmDriver, home: Place, size: int) -> None:
    vm = cloud.new_vm()
    content = bytes(itertools.islice(itertools.cycle(range(251)), size))
    routed.upload(vm, Image(image_name(vm), "config", content, ""), home)
    assert (cloud.pool / image_at(image_name(vm))).read_bytes() == content
